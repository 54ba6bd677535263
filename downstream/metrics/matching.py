"""Lesions, detections and which finds which; what every metric is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]
Value = Callable[[Floats], Floats]
"""How many times each image counts `[images]` -> a metric's values `[q]`."""


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The lesions and the detections of one image, or of one scan: then boxes are `[n, 6]`
    (x1, y1, z1, x2, y2, z2). Arrays are copied and read-only.

    Args:
        patient: key of the patient; images of one patient are drawn together.
        truth: lesions `[n, 4]` (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2.
        predicted: detections `[m, 4]`, x1 <= x2 and y1 <= y2.
        scores: `[m]`, larger is surer.
        types: coarse lesion type `[n]`, -1 where unknown; names in `TYPES`.
        sizes_mm: size of the lesion `[n]`, its long diameter or the side of its box; NaN where
            unknown.

    Raises:
        ValueError: an array of another shape; coordinates or scores that are not finite; corners in
            the wrong order; types that are no integers.
    """

    patient: str | int
    truth: NDArray[Any]
    predicted: NDArray[Any]
    scores: NDArray[Any]
    types: NDArray[Any]
    sizes_mm: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("truth", "predicted"):
            self._set(name, self._boxes(name))
        for name, of in (
            ("scores", self.predicted),
            ("types", self.truth),
            ("sizes_mm", self.truth),
        ):
            given = np.array(getattr(self, name))
            if given.shape != (len(of),):
                raise ValueError(
                    f"{name} has shape {list(given.shape)}, expected [{len(of)}]: one for each box"
                )
            if name == "types" and given.size and given.dtype.kind not in "iu":
                raise ValueError(
                    f"types are {given.dtype}, expected integers: -1 stands for unknown"
                )
            self._set(name, given.astype(np.int64 if name == "types" else np.float64))
        if not np.isfinite(self.scores).all():
            raise ValueError(
                f"{(~np.isfinite(self.scores)).sum()} of {len(self.scores)} scores are not "
                "finite: the detector has diverged"
            )

    def _boxes(self, name: str) -> Floats:
        boxes = np.array(getattr(self, name), dtype=np.float64)
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
            raise ValueError(
                f"{name} has shape {list(boxes.shape)}, expected [n, 4] (x1, y1, x2, y2): "
                "without boxes [0, 4]"
            )
        if not np.isfinite(boxes).all():
            raise ValueError(f"{name} has coordinates that are not finite: leave such boxes out")
        half = boxes.shape[1] // 2
        sides = boxes[:, half:] - boxes[:, :half]
        # A detector may shrink a box to nothing, a lesion has an area.
        wrong = (sides <= 0 if name == "truth" else sides < 0).any(1)
        if wrong.any():
            raise ValueError(
                f"{name} has the box {boxes[wrong][0].tolist()}, expected x1 < x2 and y1 < y2: "
                "give corners, not corner and size"
            )
        return boxes

    def _set(self, name: str, array: NDArray[Any]) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @cached_property
    def order(self) -> Indices:
        """Detections, best first."""
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def overlaps(self) -> Floats:
        """IoU of each detection, best first, with each lesion `[m, n]`."""
        return ious(self.predicted[self.order], self.truth)


def ious(a: Floats, b: Floats) -> Floats:
    """Overlap of boxes `[m, 2 d]` and `[n, 2 d]` in d dimensions, lower corner first: IoU `[m, n]`.

    Two boxes without a size do not overlap.
    """
    d = a.shape[1] // 2
    sides = np.minimum(a[:, None, d:], b[:, d:]) - np.maximum(a[:, None, :d], b[:, :d])
    common = sides.clip(min=0).prod(-1)
    whole = (a[:, d:] - a[:, :d]).prod(-1)[:, None] + (b[:, d:] - b[:, :d]).prod(-1) - common
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole > 0))


def taken_lesions(overlaps: Floats, iou: float, *, or_equal: bool = False) -> Indices:
    """The lesion that each detection takes, -1 for none.

    Of equally good ones it is the last, as in COCO's code. overlaps: IoU `[m, n]`, the best
    detection first.
    """
    reached = overlaps >= iou if or_equal else overlaps > iou
    taken = np.full(len(overlaps), -1, np.intp)
    free = np.ones(overlaps.shape[1], np.bool_)
    for detection in np.flatnonzero(reached.any(1)):
        lesions = np.flatnonzero(reached[detection] & free)[::-1]
        if lesions.size:
            taken[detection] = lesions[overlaps[detection, lesions].argmax()]
            free[taken[detection]] = False
    return taken


def matched(result: ImageResult, iou: float = 0.5) -> Flags:
    """Which detections find a lesion `[m]`, in the order of `result.predicted`.

    In order of score each detection takes the lesion that it overlaps best among those still free,
    if the IoU is greater than `iou`. So as many lesions are found as detections are marked.
    """
    flags = np.zeros(len(result.scores), np.bool_)
    flags[result.order] = taken_lesions(result.overlaps, iou) >= 0
    return flags


class Metric(Protocol):
    """One or several numbers that say how well a detector does on some images."""

    def on(self, results: Sequence[ImageResult]) -> Value:
        """The metric as a function of how many times each of the images counts."""
        ...


def on_all(metric: Metric, results: Sequence[ImageResult]) -> Floats:
    return metric.on(results)(np.ones(len(results)))


def ranked(results: Sequence[ImageResult], most: int | None = None) -> tuple[Indices, Floats]:
    """Image and score of each detection, image by image.

    In each image the best come first, and no more than `most`.
    """
    scores = [r.scores[r.order][:most] for r in results]
    return np.repeat(np.arange(len(results)), [len(s) for s in scores]), np.concatenate(scores)


def check_images(results: Sequence[ImageResult], iou: float) -> None:
    if not results:
        raise ValueError("no images, expected at least one: is the split empty?")
    if not 0 <= iou < 1:
        raise ValueError(f"iou={iou}, expected 0 <= iou < 1")


def share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # 0 of 0 is NaN, and meant
        return np.asarray(part / whole)
