"""Recall of the k best detections of each image, over all lesions or in groups of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ubr.pretrain.data.deeplesion.table import LESION_TYPES

from .ap import COCO_IOUS
from .matching import Flags, ImageResult, Value, check_images, on_all, share, taken_lesions

Group = Callable[[ImageResult], Flags]
"""Which lesions of an image belong to a group `[n]`."""


def every_lesion(result: ImageResult) -> Flags:
    """The group of all lesions."""
    return np.ones(len(result.truth), np.bool_)


def _of_type(result: ImageResult, code: int) -> Flags:
    return np.asarray(result.types == code)


def _of_size(result: ImageResult, least: float, most: float) -> Flags:
    return np.asarray((result.sizes_mm >= least) & (result.sizes_mm <= most))


TYPES: Mapping[str, Group] = {
    name: partial(_of_type, code=code) for code, name in (*LESION_TYPES.items(), (-1, "unknown"))
}
"""DeepLesion's coarse lesion types, 1 to 8, and -1."""

SIZES: Mapping[str, Group] = {
    "< 10 mm": partial(_of_size, least=0, most=math.nextafter(10, 0)),
    "10-30 mm": partial(_of_size, least=10, most=30),
    "> 30 mm": partial(_of_size, least=math.nextafter(30, 31), most=math.inf),
}


@dataclass(frozen=True)
class Recall:
    """Share of lesions that the k best detections of their image find.

    There is one value for each group of `among`, by default one of all lesions. Detections are
    matched with all lesions, and a lesion counts in its group.
    """

    k: int = 5
    iou: float = 0.5
    among: tuple[Group, ...] = (every_lesion,)

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Raises ValueError without images, for k < 1 or an IoU outside [0, 1)."""
        check_images(results, self.iou)
        if self.k < 1:
            raise ValueError(f"k={self.k}, expected at least 1 detection an image")
        lesions = np.zeros((len(results), len(self.among)))
        found = np.zeros_like(lesions)
        for i, result in enumerate(results):
            # Matching goes down the scores, so the matches of the best k are the first k of all
            # matches.
            hit = np.zeros(len(result.truth), np.bool_)
            taken = taken_lesions(result.overlaps[: self.k], self.iou)
            hit[taken[taken >= 0]] = True
            for j, group in enumerate(self.among):
                members = group(result)
                lesions[i, j], found[i, j] = members.sum(), hit[members].sum()
        return lambda counts: share(counts @ found, counts @ lesions)


@dataclass(frozen=True)
class OtherRecalls:
    """The two readings of "average recall of the top k" that `recall_at` is not: the mean over the
    slices that have lesions of each slice's recall, and COCO's average recall, the mean over IoU >=
    0.50, 0.55, ..., 0.95 of the share of all lesions.
    """

    k: int = 5
    iou: float = 0.5

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Two values. Raises as `Recall.on` does."""
        check_images(results, self.iou)
        lesions = np.array([float(len(r.truth)) for r in results])
        best = [r.overlaps[: self.k] for r in results]
        own = np.array([(taken_lesions(o, self.iou) >= 0).sum() for o in best])
        of_slice = own / np.maximum(lesions, 1)
        over_ious = np.array(
            [
                np.mean([(taken_lesions(o, iou, or_equal=True) >= 0).sum() for iou in COCO_IOUS])
                for o in best
            ]
        )
        return lambda counts: np.append(
            share(counts @ of_slice, counts @ (lesions > 0)),
            share(counts @ over_ious, counts @ lesions),
        )


def recall_at(results: Sequence[ImageResult], k: int = 5, iou: float = 0.5) -> float:
    """Share of all lesions that the k best detections of their image find with IoU > `iou`.

    The paper's Fig. 3c has k = 5 and IoU > 0.5, and says "average recall of top-5 detections on
    each slice". That can be read in three ways: over all lesions, as here; as the mean of the
    slices' recalls; or as COCO's average recall, the mean over IoU thresholds. Most slices have one
    lesion, so the first two differ little. The third contradicts the paper's one threshold. A
    report has all three.
    """
    return float(on_all(Recall(k, iou), results)[0])
