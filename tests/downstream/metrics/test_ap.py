"""Average precision against COCO's own code and torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made.detections import AWAY, BOX, seen, some
from ubr.downstream.metrics import (
    ImageResult,
    coco_ap,
    matched,
    recall_at,
    sensitivity_at,
)


def judged_by_coco(results: Sequence[ImageResult]) -> tuple[float, float]:
    """AP50 and AP50:95 by COCO's own code."""
    coco = pytest.importorskip("pycocotools.coco")
    judge = pytest.importorskip("pycocotools.cocoeval").COCOeval
    truth, found = coco.COCO(), coco.COCO()
    images = [{"id": i} for i in range(len(results))]

    def rows(i: int, boxes: NDArray[np.float64]) -> list[dict[str, object]]:
        sides = boxes[:, 2:] - boxes[:, :2]
        return [
            {
                "image_id": i,
                "category_id": 1,
                "bbox": [*box[:2].tolist(), *side.tolist()],
                "area": float(side.prod()),
                "iscrowd": 0,
            }
            for box, side in zip(boxes, sides, strict=True)
        ]

    lesions = [row for i, r in enumerate(results) for row in rows(i, r.truth)]
    detections = [
        {**row, "score": s}
        for i, r in enumerate(results)
        for row, s in zip(rows(i, r.predicted), r.scores.tolist(), strict=True)
    ]
    for data, boxes in ((truth, lesions), (found, detections)):
        numbered = [{**row, "id": n} for n, row in enumerate(boxes, 1)]
        data.dataset = {"images": images, "annotations": numbered, "categories": [{"id": 1}]}
        data.createIndex()
    evaluation = judge(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, -1]  # all areas, 100 detections
    return float(precision[0].mean()), float(precision.mean())


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_coco_ap__is_that_of_pycocotools(seed: int, ties: bool) -> None:
    results = some(seed, images=40, ties=ties)
    np.testing.assert_allclose(coco_ap(results), judged_by_coco(results), atol=1e-12)


def test_coco_ap__only_the_best_hundred_detections_of_an_image() -> None:
    results = [seen([BOX], [AWAY] * 100 + [BOX]), seen([BOX], [AWAY] * 99 + [BOX])]
    np.testing.assert_allclose(coco_ap(results), judged_by_coco(results), atol=1e-12)
    assert 0 < coco_ap(results).ap50 < 0.01 and coco_ap(results[:1]).ap50 == 0


def test_coco_ap__is_that_of_torchmetrics() -> None:
    detection = pytest.importorskip("torchmetrics.detection")
    pytest.importorskip("pycocotools")
    import torch

    results = some(3, images=40)
    judge = detection.MeanAveragePrecision(
        max_detection_thresholds=[1, 10, 100]
    )  # it takes three, no fewer
    for r in results:
        boxes, truth = torch.tensor(r.predicted), torch.tensor(r.truth)
        found = {
            "boxes": boxes,
            "scores": torch.tensor(r.scores),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
        }
        judge.update(
            [found], [{"boxes": truth, "labels": torch.ones(len(truth), dtype=torch.int64)}]
        )
    theirs = judge.compute()
    # Their boxes are float32.
    np.testing.assert_allclose(
        coco_ap(results), [float(theirs["map_50"]), float(theirs["map"])], atol=1e-5
    )


def test_definitions_differ__an_iou_of_exactly_one_half() -> None:
    """The paper asks for IoU > 0.5, COCO for IoU >= 0.5: a box of half the lesion finds it for COCO
    alone.
    """
    half = [seen([[0, 0, 20, 20]], [[0, 0, 20, 10]])]
    assert (
        recall_at(half) == 0
        and sensitivity_at(half).tolist() == [0] * 6
        and not matched(half[0]).any()
    )
    assert coco_ap(half).ap50 == 1 == pytest.approx(judged_by_coco(half)[0])
