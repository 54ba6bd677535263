"""All metrics of a detector in one report, as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .ap import CocoAp
from .bootstrap import Interval, by_group, count_patients, interval, intervals
from .froc import FPS, Sensitivity
from .matching import ImageResult, matched
from .recall import SIZES, TYPES, Group, OtherRecalls, Recall


def report(
    results: Sequence[ImageResult],
    *,
    k: int = 5,
    iou: float = 0.5,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """All that is measured, as plain values for JSON: recall at k, FROC, AP, recall by type and by
    size, each as value, low, high.

    `recall` is that of `recall_at`; the two other readings of "average recall of the top k" are
    `recall_mean_of_slices` and `recall_mean_of_ious` (COCO's average recall).

    What does not exist is null. `false_positives_per_image` is what the detector makes without a
    threshold: from there on FROC is clamped.

    Raises:
        ValueError: as the metrics and `intervals` do.
    """
    options: dict[str, Any] = {"draws": draws, "seed": seed, "level": level}
    recall = Recall(k, iou)
    hits = sum(int(matched(r, iou).sum()) for r in results)
    lesions, detections = sum(len(r.truth) for r in results), sum(len(r.scores) for r in results)
    ap50, ap = intervals(results, CocoAp(), **options)
    of_slices, of_ious = intervals(results, OtherRecalls(k, iou), **options)
    sensitivities = intervals(results, Sensitivity(FPS, iou), **options)
    return {
        "images": len(results),
        "images_without_lesions": sum(not len(r.truth) for r in results),
        "patients": count_patients(results),
        "lesions": lesions,
        "detections": detections,
        "false_positives_per_image": (detections - hits) / len(results),
        "iou": iou,
        "k": k,
        "bootstrap": options,
        "recall": as_row(interval(results, recall, **options)),
        "recall_mean_of_slices": as_row(of_slices),
        "recall_mean_of_ious": as_row(of_ious),
        "froc": [
            {"fp_per_image": fp, **as_row(one)} for fp, one in zip(FPS, sensitivities, strict=True)
        ],
        "ap50": as_row(ap50),
        "ap50_95": as_row(ap),
        "recall_by_type": _rows(results, TYPES, by_group(results, recall, TYPES, **options)),
        "recall_by_size": _rows(results, SIZES, by_group(results, recall, SIZES, **options)),
    }


def as_row(one: Interval) -> dict[str, float | None]:
    """A value with its interval, null where there is none."""
    return {
        name: None if math.isnan(x) else x
        for name, x in (("value", one.value), ("low", one.low), ("high", one.high))
    }


def _rows(
    results: Sequence[ImageResult], groups: Mapping[str, Group], found: Mapping[str, Interval]
) -> dict[str, dict[str, float | None]]:
    return {
        name: {"lesions": sum(int(groups[name](r).sum()) for r in results), **as_row(one)}
        for name, one in found.items()
    }
