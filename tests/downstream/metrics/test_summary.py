"""The whole report, and cases in which all metrics are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.made.detections import AWAY, BOX, seen, some
from ubr.downstream.metrics import (
    CocoAp,
    ImageResult,
    OtherRecalls,
    Recall,
    coco_ap,
    interval,
    intervals,
    matched,
    recall_at,
    report,
    sensitivity_at,
)


def test_perfect_detector() -> None:
    results = [seen([BOX, AWAY], [BOX, AWAY], patient=i) for i in range(4)]
    assert recall_at(results) == 1
    assert sensitivity_at(results, (0, 0.5, 16)).tolist() == [1, 1, 1]
    np.testing.assert_allclose(coco_ap(results), 1)


def test_nothing_found() -> None:
    for results in ([seen([BOX]), seen([AWAY])], [seen([BOX], [AWAY])]):
        assert recall_at(results) == 0
        assert sensitivity_at(results).tolist() == [0] * 6
        assert coco_ap(results) == (0, 0)


def test_images_without_lesions_count_for_false_positives_only() -> None:
    with_lesion = [seen([BOX], [BOX], [0.5])]
    noise = [seen([], [AWAY, AWAY], [0.9, 0.8])]
    assert recall_at(with_lesion + noise) == 1
    assert sensitivity_at(with_lesion + noise, (0.5, 1)).tolist() == [0, 1]
    assert sensitivity_at(with_lesion + [seen([])] * 3, (0,)).tolist() == [1]
    assert coco_ap(with_lesion + noise).ap50 == pytest.approx(1 / 3)


def test_no_lesion_at_all_is_nan() -> None:
    results = [seen([], [AWAY], patient=i) for i in range(3)]
    assert math.isnan(recall_at(results))
    assert np.isnan(sensitivity_at(results)).all() and np.isnan(coco_ap(results)).all()
    assert all(math.isnan(x) for x in vars(interval(results, Recall(), draws=5)).values())


def test_definitions_differ__a_second_detection_of_a_lesion() -> None:
    """Here, as for COCO, it is a false positive, and no detection finds two lesions; published
    FROCs of DeepLesion do otherwise.
    """
    twice = [seen([BOX], [BOX, BOX])]
    assert matched(twice[0]).tolist() == [True, False]
    assert report(twice, draws=2)["false_positives_per_image"] == 1
    neighbours = [seen([BOX, [12, 10, 32, 30]], [[11, 10, 31, 30]])]  # IoU 0.9 with both
    assert recall_at(neighbours) == 0.5


def test_report__is_plain_json_and_agrees_with_its_parts() -> None:
    results = some(7, images=30)
    given = json.loads(json.dumps(report(results, k=3, draws=30), allow_nan=False))
    assert given["recall"]["value"] == recall_at(results, 3)
    other = intervals(results, OtherRecalls(3), draws=30)
    named = [given[f"recall_mean_of_{name}"]["value"] for name in ("slices", "ious")]
    assert named == [one.value for one in other]
    assert [row["value"] for row in given["froc"]] == sensitivity_at(results).tolist()
    assert (given["ap50"]["value"], given["ap50_95"]["value"]) == coco_ap(results)
    assert given["recall"]["low"] == interval(results, Recall(3), draws=30).low
    assert given["recall_by_type"]["kidney"] == {
        "lesions": 0,
        "value": None,
        "low": None,
        "high": None,
    }
    for groups in ("recall_by_type", "recall_by_size"):
        found = sum(
            row["lesions"] * row["value"] for row in given[groups].values() if row["lesions"]
        )
        assert found / given["lesions"] == pytest.approx(given["recall"]["value"])
    assert (
        given["images"] == 30
        and given["patients"] == 10
        and given["images_without_lesions"] == sum(not len(r.truth) for r in results)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: recall_at([]), r"no images, expected at least one"),
        (lambda r: recall_at(r, k=0), r"k=0, expected at least 1"),
        (lambda r: recall_at(r, iou=50), r"iou=50, expected 0 <= iou < 1"),
        (lambda r: sensitivity_at(r, fps=(-1.0,)), r"fps=\[-1.0\], expected"),
        (lambda r: interval(r, Recall(), draws=0), r"draws=0, expected at least 1"),
        (
            lambda r: interval(r, Recall(), draws=2, level=95),
            r"level=95, expected between 0 and 1",
        ),
        (
            lambda r: interval(r, CocoAp(), draws=2),
            r"the metric has 2 values, expected 1: use `intervals`",
        ),
    ],
)
def test_metrics__refuse(call: Callable[[list[ImageResult]], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(some(0))
