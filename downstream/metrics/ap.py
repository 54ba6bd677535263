"""COCO's average precision, with all lesions as one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .matching import Floats, ImageResult, Value, check_images, on_all, ranked, taken_lesions

MAX_DETECTIONS = 100
"""Detections of an image, best first, that enter COCO's AP."""
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_COCO_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class CocoAp:
    """COCO's average precision, all lesions as one class: AP50 and AP50:95.

    IoU >= threshold, the 100 best detections of an image, precision made monotone and read at 101
    recalls; AP50:95 is the mean over the IoU thresholds 0.50, 0.55, ..., 0.95 (Lin et al., ECCV
    2014, and the evaluation code of the data set).
    """

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Raises ValueError without images."""
        check_images(results, COCO_IOUS[0])
        lesions = np.array([float(len(r.truth)) for r in results])
        image, scores = ranked(results, MAX_DETECTIONS)
        order = np.argsort(-scores, kind="stable")
        image = image[order]
        # Precision and recall only rise at hits, so a threshold needs no more than where its hits
        # stand in the ranking.
        places = []
        for iou in COCO_IOUS:
            taken = [
                taken_lesions(r.overlaps[:MAX_DETECTIONS], iou, or_equal=True) for r in results
            ]
            places.append(np.flatnonzero((np.concatenate(taken) >= 0)[order]))

        def value(counts: Floats) -> Floats:
            times = counts[image]
            whole, detections = counts @ lesions, times.cumsum()
            if whole == 0:
                return np.full(2, np.nan)
            precisions = [
                _average_precision(times[at].cumsum(), detections[at], whole) for at in places
            ]
            return np.array([precisions[0], np.mean(precisions)])

        return value


def _average_precision(hits: Floats, detections: Floats, lesions: float) -> float:
    """hits, detections: how many so far, at each hit; images that do not count leave both at 0."""
    precision = np.maximum.accumulate((hits / detections.clip(min=1))[::-1])[::-1]
    return float(np.append(precision, 0)[np.searchsorted(hits / lesions, _COCO_RECALLS)].mean())


class AveragePrecision(NamedTuple):
    """ap50: at IoU 0.5. ap: mean over IoU 0.50, 0.55, ..., 0.95."""

    ap50: float
    ap: float


def coco_ap(results: Sequence[ImageResult]) -> AveragePrecision:
    """COCO's average precision; see `CocoAp`."""
    return AveragePrecision(*on_all(CocoAp(), results).tolist())
