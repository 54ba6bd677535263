"""Which detection finds which lesion, against a loop written from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from tests.made.detections import AWAY, BOX, found_by, seen, some
from ubr.downstream.metrics import (
    ImageResult,
    matched,
    recall_at,
)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_matched__is_the_greedy_loop(seed: int, iou: float) -> None:
    for result in some(seed):
        assert set(np.flatnonzero(matched(result, iou))) == set(
            found_by(result, range(len(result.scores)), iou)
        )


def test_one_lesion_with_two_hits_counts_once_and_the_second_may_find_another() -> None:
    assert recall_at([seen([BOX, AWAY], [BOX, BOX])]) == 0.5
    overlapping = [seen([BOX, [10, 10, 30, 36]], [BOX, BOX])]  # IoU 1 and 0.77
    assert matched(overlapping[0]).tolist() == [True, True] and recall_at(overlapping) == 1


def test_a_detection_takes_the_best_lesion_and_the_best_detection_chooses_first() -> None:
    """The surer box takes the lesion that only the other could have found, although a better
    assignment exists.
    """
    first, second = [0, 0, 20, 20], [0, 0, 20, 28]
    result = seen([first, second], [[0, 0, 20, 19], [0, 0, 20, 12]])
    assert matched(result).tolist() == [True, False]
    assert matched(
        seen([first, second], [[0, 0, 20, 19], [0, 0, 20, 12]], [0.1, 0.9])
    ).tolist() == [True, True]


def arrays(**changes: ArrayLike) -> dict[str, NDArray[np.float64]]:
    whole = {
        "truth": [BOX],
        "predicted": [BOX, AWAY],
        "scores": [0.5, 0.4],
        "types": [1],
        "sizes_mm": [12.0],
        **changes,
    }
    return {name: np.asarray(value) for name, value in whole.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": BOX}, r"truth has shape \[4\], expected \[n, 4\] .*: without boxes \[0, 4\]$"),
        ({"predicted": [[*BOX, 0.5]]}, r"predicted has shape \[1, 5\], expected \[n, 4\]"),
        ({"scores": [0.5]}, r"scores has shape \[1\], expected \[2\]: one for each box"),
        ({"types": [1, 2]}, r"types has shape \[2\], expected \[1\]"),
        ({"types": [1.0]}, r"types are float64, expected integers"),
        ({"sizes_mm": [[3.0]]}, r"sizes_mm has shape \[1, 1\], expected \[1\]"),
        ({"scores": [math.nan, 0.5]}, r"1 of 2 scores are not finite"),
        (
            {"predicted": [BOX, [0, 0, math.inf, 1]]},
            r"predicted has coordinates that are not finite",
        ),
        (
            {"truth": [[10, 10, 10, 30]]},
            r"truth has the box \[10.0, 10.0, 10.0, 30.0\], expected x1 < x2",
        ),
        (
            {"predicted": [[1, 1, 1, 1], [30, 30, 20, 40]]},
            r"predicted has the box \[30.0, 30.0, 20.0, 40.0\], expected",
        ),
    ],
)
def test_image_result__refuses(changes: dict[str, ArrayLike], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ImageResult("p", **arrays(**changes))
    assert "\n" not in str(caught.value)


def test_image_result__keeps_a_copy_that_cannot_change() -> None:
    given = arrays()
    result = ImageResult("p", **given)
    given["scores"][0] = 0
    assert result.scores[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        result.scores[0] = 0
