"""From a slice to the image that a detector is shown, and from its boxes back to the slice.

    [C, H, W] HU at the slice's pixels  --prepare-->  [C, H', W'] HU, boxes, Geometry

`prepare` cuts the black border and resamples once, straight to the final size: one interpolation,
antialiased, on HU, before any window. A `Geometry` maps boxes there and back. Lesions keep their
size in mm, which is what anchors are chosen for.

Coordinates are continuous edges, as torchvision's: x = 0 is the left edge of the first column, x =
W the right edge of the last. A crop subtracts, a scale multiplies, a flip is W - x.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F

from ubr.weights.common.hu import AIR_HU

from .slices import View

BORDER_HU = -900
"""A row or column whose every pixel is below this holds no body, table or blanket."""
BORDER_MARGIN_PX = 8


@dataclass(frozen=True)
class Geometry:
    """The way from a slice to an image: crop, then scale, then perhaps a flip from left to right.

    left, top: the first column and row that are shown. crop_px: (width, height) of what is shown,
    in pixels of the slice. size_px: the same of the image. flipped: whether the image is mirrored.
    """

    left: int
    top: int
    crop_px: tuple[int, int]
    size_px: tuple[int, int]
    flipped: bool = False

    def __post_init__(self) -> None:
        if min(*self.crop_px, *self.size_px) < 1:
            raise ValueError(
                f"a geometry's sizes must be positive, got crop_px {self.crop_px} and size_px "
                f"{self.size_px}"
            )

    @property
    def scale(self) -> NDArray[np.float64]:
        """(x, y) pixels of the image to a pixel of the slice.

        They differ by spacing, and by the rounding of sizes to whole pixels.
        """
        return np.array(self.size_px, np.float64) / np.array(self.crop_px, np.float64)

    def flip(self) -> Geometry:
        """The same with the image mirrored; twice is the geometry itself."""
        return dataclasses.replace(self, flipped=not self.flipped)

    def to_image(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes `[n, 4]` (x1, y1, x2, y2) of the slice -> of the image.

        Nothing is clipped, so `to_slice` is the exact inverse.
        """
        out = (_pairs(boxes) - (self.left, self.top)) * self.scale
        return self._mirrored(out.reshape(-1, 4))

    def to_slice(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes `[n, 4]` of the image -> of the slice."""
        out = _pairs(self._mirrored(_pairs(boxes).reshape(-1, 4)))
        return (out / self.scale + (self.left, self.top)).reshape(-1, 4)

    def _mirrored(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.flipped:
            boxes = np.stack(
                [
                    self.size_px[0] - boxes[:, 2],
                    boxes[:, 1],
                    self.size_px[0] - boxes[:, 0],
                    boxes[:, 3],
                ],
                axis=1,
            )
        return boxes


def _pairs(boxes: ArrayLike) -> NDArray[np.float64]:
    """`[n, 4]` as corners `[n, 2, 2]`; an empty list is no boxes."""
    return np.asarray(boxes, np.float64).reshape(-1, 2, 2)


def prepare(
    hu: NDArray[np.float32], boxes: ArrayLike, spacing_mm: tuple[float, float, float], view: View
) -> tuple[NDArray[np.float32], NDArray[np.float64], Geometry]:
    """Cut the border and resample.

    Args:
        hu: `[C, H, W]`.
        boxes: `[n, 4]` in pixels of the slice, which no cut may touch; empty where none are known.
        spacing_mm: (x, y, z).
        view: pixel size, largest side, whether the border is cut.

    Returns:
        `[C, H', W']` HU, of at least -1024 (scanners fill what they did not see with less), the
            boxes in its pixels, and the way between.
    """
    height, width = hu.shape[1:]
    left, top, right, bottom = (
        _body(hu, _pairs(boxes).reshape(-1, 4)) if view.clip_border else (0, 0, width, height)
    )
    crop_px = (right - left, bottom - top)
    wanted = [side * mm / view.mm_per_px for side, mm in zip(crop_px, spacing_mm, strict=False)]
    reduce = min(1.0, view.longest_px / max(wanted))
    size_px = (max(1, round(wanted[0] * reduce)), max(1, round(wanted[1] * reduce)))
    image = torch.from_numpy(np.maximum(hu[:, top:bottom, left:right], np.float32(AIR_HU)))
    if size_px != crop_px:
        image = F.interpolate(
            image[None], size_px[::-1], mode="bilinear", antialias=True, align_corners=False
        )[0]
    geometry = Geometry(left, top, crop_px, size_px)
    return image.numpy(), geometry.to_image(boxes), geometry


def _body(hu: NDArray[np.float32], boxes: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), half-open, of the body.

    That is what is not border in every channel, with a margin, and all boxes; else the whole slice.
    """
    shown = np.asarray((hu >= BORDER_HU).any(axis=0), np.bool_)
    found = []
    for axis, size in ((0, hu.shape[2]), (1, hu.shape[1])):
        inside = np.flatnonzero(np.any(shown, axis=axis))
        if not len(inside):
            return 0, 0, hu.shape[2], hu.shape[1]
        low = min(inside[0] - BORDER_MARGIN_PX, *boxes[:, axis], size - 1)
        high = max(inside[-1] + 1 + BORDER_MARGIN_PX, *boxes[:, 2 + axis], 1)
        found.append((max(0, math.floor(low)), min(size, math.ceil(high))))
    (left, right), (top, bottom) = found
    return left, top, right, bottom
