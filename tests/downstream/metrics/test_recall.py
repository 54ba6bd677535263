"""Recall against a loop written from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.made.detections import AWAY, BOX, found_by, seen, some
from ubr.downstream.metrics import (
    SIZES,
    TYPES,
    ImageResult,
    Interval,
    OtherRecalls,
    Recall,
    by_group,
    intervals,
    recall_at,
)


def best_of(result: ImageResult, k: int) -> list[int]:
    return sorted(range(len(result.scores)), key=lambda d: -result.scores[d])[:k]


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_recall_at__is_the_loop_over_the_best_k(seed: int, k: int) -> None:
    results = some(seed)
    found = sum(len(found_by(r, best_of(r, k), 0.5)) for r in results)
    assert recall_at(results, k) == pytest.approx(
        found / sum(len(r.truth) for r in results), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(6))
def test_other_recalls__the_mean_of_slices_and_the_mean_of_ious(seed: int) -> None:
    """The one from a loop over slices, the other from COCO's own code."""
    coco = pytest.importorskip("pycocotools.coco").COCO
    judge = pytest.importorskip("pycocotools.cocoeval").COCOeval
    results = some(seed, images=40)
    with_lesions = [r for r in results if len(r.truth)]
    loop = [len(found_by(r, best_of(r, 5), 0.5)) / len(r.truth) for r in with_lesions]

    def rows(name: str) -> list[dict[str, object]]:
        return [
            {
                "image_id": i,
                "category_id": 1,
                "bbox": [*box[:2], *(box[2:] - box[:2])],
                "area": (box[2:] - box[:2]).prod(),
                "iscrowd": 0,
                "score": score,
            }
            for i, r in enumerate(results)
            for box, score in zip(
                getattr(r, name), r.scores if name == "predicted" else r.types, strict=True
            )
        ]

    data = [coco(), coco()]
    for one, name in zip(data, ("truth", "predicted"), strict=True):
        numbered = [{**row, "id": n} for n, row in enumerate(rows(name), 1)]
        images = [{"id": i} for i in range(len(results))]
        one.dataset = {"images": images, "annotations": numbered, "categories": [{"id": 1}]}
        one.createIndex()
    evaluation = judge(*data, "bbox")
    evaluation.params.maxDets = [5]
    evaluation.evaluate()
    evaluation.accumulate()
    theirs = float(evaluation.eval["recall"][:, 0, 0, 0].mean())
    of_slices, of_ious = intervals(results, OtherRecalls(), draws=2)
    assert of_slices.value == pytest.approx(np.mean(loop), abs=1e-12)
    assert of_ious.value == pytest.approx(theirs, abs=1e-12)


def test_other_recalls__differ_from_the_share_of_lesions() -> None:
    """A slice with one lesion that is found, and one with two that are not."""
    results = [seen([BOX], [[0, 0, 1, 1], BOX]), seen([BOX, AWAY], [[200, 0, 220, 20]])]
    of_slices, of_ious = intervals(results, OtherRecalls(), draws=2)
    assert (recall_at(results), of_slices.value, of_ious.value) == (1 / 3, 1 / 2, 1 / 3)


def test_recall_at__k_smaller_than_the_number_of_lesions() -> None:
    boxes = [[40.0 * i, 0, 40.0 * i + 20, 20] for i in range(8)]
    assert [recall_at([seen(boxes, boxes)], k) for k in (1, 5, 8, 50)] == [1 / 8, 5 / 8, 1, 1]


def test_equal_scores_keep_the_order_of_the_detector() -> None:
    assert recall_at([seen([BOX], [BOX, AWAY], [0.5, 0.5])], k=1) == 1
    assert recall_at([seen([BOX], [AWAY, BOX], [0.5, 0.5])], k=1) == 0


def test_definitions_differ__no_pixel_is_added_to_a_box() -> None:
    """3 by 2 pixels of 3 by 4 are an IoU of 0.5; with a pixel added to each side it would be 12 /
    20.
    """
    assert recall_at([seen([[0, 0, 3, 4]], [[0, 0, 3, 2]])]) == 0


def test_by_group__shares_of_lesions_of_each_type_and_size() -> None:
    row = [BOX, AWAY, [200, 0, 220, 20]]
    results = [
        seen(row, [BOX, AWAY], patient=0, types=[1, 4, 5], sizes_mm=[9.9, 10, 30]),
        seen(row, [AWAY, BOX], patient=1, types=[4, 5, -1], sizes_mm=[30.1, math.nan, 5]),
    ]
    by_type = by_group(results, Recall(5), TYPES, draws=20)
    assert {name: one.value for name, one in by_type.items() if not math.isnan(one.value)} == {
        "bone": 1,
        "liver": 1,
        "lung": 0.5,
        "unknown": 0,
    }
    assert math.isnan(by_type["bone"].low) and by_type["liver"] == Interval(
        1, 1, 1
    )  # one patient has bone lesions: no interval
    assert [one.value for one in by_group(results, Recall(5), SIZES, draws=20).values()] == [
        0.5,
        0.5,
        1,
    ]
    assert (
        by_group(results, Recall(1), TYPES, draws=20)["liver"].value == 0
    )  # those of other types compete for k
