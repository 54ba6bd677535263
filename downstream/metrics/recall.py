"""Recall of the k best detections of each image, over all lesions or in groups of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ubr.pretrain.data.deeplesion.table import LESION_TYPES

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
    """Share of lesions that the k best detections of their image find: one value for each group of
    `among`.

    Detections are matched with all lesions, and a lesion counts in its group. One value, of all
    lesions, by default.
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


def recall_at(results: Sequence[ImageResult], k: int = 5, iou: float = 0.5) -> float:
    """Share of all lesions that the k best detections of their image find with IoU > `iou` (the
    paper's Fig. 3c: k = 5, 0.5).
    """
    return float(on_all(Recall(k, iou), results)[0])
