"""FROC against a sweep over every threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.made.detections import AWAY, BOX, found_by, seen, some
from ubr.downstream.metrics import (
    ImageResult,
    sensitivity_at,
)


def swept(results: Sequence[ImageResult], fps: Sequence[float], iou: float) -> list[float]:
    """FROC from the definition:

    at every threshold all detections of at least that score are matched anew.
    """
    thresholds = sorted({s for r in results for s in r.scores.tolist()} | {math.inf})
    points = []
    for threshold in thresholds:
        kept = [np.flatnonzero(r.scores >= threshold).tolist() for r in results]
        hits = sum(len(found_by(r, keep, iou)) for r, keep in zip(results, kept, strict=True))
        points.append((sum(map(len, kept)) - hits, hits))
    lesions = sum(len(r.truth) for r in results)
    return [
        max(hits for false, hits in points if false / len(results) <= fp) / lesions for fp in fps
    ]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_froc__is_the_sweep_over_every_threshold(seed: int, ties: bool) -> None:
    results = some(seed, ties=ties)
    fps = (0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 16)
    np.testing.assert_allclose(sensitivity_at(results, fps), swept(results, fps, 0.5), atol=1e-12)


def test_froc__reaches_a_limit_that_no_binary_number_hits_exactly() -> None:
    """29 false positives in 100 images are 0.29 an image, though 0.29 * 100 is less than 29 in
    floating point.
    """
    results = (
        [seen([], [AWAY], [0.9]) for _ in range(29)]
        + [seen([]) for _ in range(70)]
        + [seen([BOX], [BOX], [0.5])]
    )
    np.testing.assert_array_equal(sensitivity_at(results, (0.28, 0.29)), [0, 1])


def test_froc__tail_is_clamped_and_its_beginning_needs_a_threshold() -> None:
    results = [seen([BOX], [AWAY, BOX], [0.9, 0.8]), seen([BOX], [], [])]
    # Half a false positive an image, and half of the lesions: before that no threshold finds
    # anything, after that there is no more to find.
    assert sensitivity_at(results, (0, 0.49, 0.5, 1, 1000)).tolist() == [0, 0, 0.5, 0.5, 0.5]
