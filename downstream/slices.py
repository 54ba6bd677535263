"""From a key slice to what a detector is shown, and from its boxes back to the slice.

    16-bit PNG  --load_hu-->  int16 HU  --key_volume-->  [C, H, W] HU at millimetres  --prepare-->  [C, H', W'] HU, boxes, Geometry

Neighbours are wanted at distances in mm, and lie between the slices that exist; each is
interpolated linearly between the two around its own position. `prepare` cuts the black border and
resamples once, straight to the final size: one interpolation, antialiased, on HU, before any
window. A `Geometry` carries boxes along and back. Lesions keep their size in mm, which is what
anchors are chosen for.

Coordinates are continuous edges, as torchvision's: x = 0 is the left edge of the first column, x =
W the right edge of the last. A crop subtracts, a scale multiplies, a flip is W - x.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F

from .deeplesion import KeySlice

OFFSET = 32768
"""Stored value of 0 HU."""
AIR_HU = -1024
BORDER_HU = -900
"""A row or column whose every pixel is below holds no body, table or blanket."""
BORDER_MARGIN_PX = 8


@dataclass(frozen=True)
class View:
    """What of a key slice a detector is shown.

    Args:
        channels: 1 is the key slice alone (which the input contract copies to three channels); 3,
            5, ... are the key slice in the middle of its neighbours, from head to foot.
        distance_mm: from channel to channel.
        mm_per_px: pixel size after resampling.
        longest_px: an image whose longer side would be larger is reduced to it, and its pixels are
            larger than `mm_per_px`.
        clip_border: cut rows and columns of air at the image's edges.
    """

    channels: int = 1
    distance_mm: float = 2.0
    mm_per_px: float = 0.8
    longest_px: int = 512
    clip_border: bool = True

    def __post_init__(self) -> None:
        if self.channels < 1 or self.channels % 2 == 0:
            raise ValueError(f"view.channels must be 1, 3, 5, ..., got {self.channels}")
        for name, low, high in (
            ("distance_mm", 0.1, 50),
            ("mm_per_px", 0.1, 20),
            ("longest_px", 32, 4096),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"view.{name} must be in {low}..{high}, got {getattr(self, name)}")


def load_hu(path: Path) -> NDArray[np.int16]:
    """A slice `[y, x]` in HU.

    Raises:
        ValueError: where the file is absent, damaged or not 16-bit grey. The message names it by
            folder and file only.
    """
    from PIL import Image

    name = f"{path.parent.name}/{path.name}"
    try:
        with Image.open(path) as image:
            if image.mode != "I;16":
                raise ValueError(
                    f"{name} is {image.mode} and not 16-bit grey, HU are lost: take DeepLesion's "
                    "own PNG, not a converted copy"
                )
            stored = np.asarray(image, np.uint16)
    except FileNotFoundError:
        raise ValueError(
            f"{name} is absent: get its archive, or leave its rows out of the table"
        ) from None
    except (OSError, SyntaxError, EOFError):  # Pillow's words for damaged
        raise ValueError(f"{name} is damaged or no PNG: get it again") from None
    # Flipping the highest bit subtracts 32768 and makes the type signed, in one pass.
    return (stored ^ np.uint16(OFFSET)).view(np.int16)


def slice_path(images: Path, folder: str, index: int) -> Path:
    """Where a slice lies under `Images_png`."""
    return images / folder / f"{index:03d}.png"


@dataclass(frozen=True)
class Channel:
    """What a channel is made of:

    `(1 - weight) * slice lower + weight * slice upper`. filled: a slice it wants does not exist.
    """

    lower: int
    upper: int
    weight: float
    filled: bool


def plan(key: KeySlice, view: View, exists: Callable[[int], bool]) -> list[Channel]:
    """The channels of a key slice, from the lowest slice number to the highest.

    exists: whether a slice number can be read. A channel at d mm lies d / spacing slices away,
    between two slices, and has the weights of its own place between them. A slice outside
    `Slice_range`, or absent, is replaced by the nearest one that exists, of two the one nearer the
    key slice.
    """
    first, last = key.slice_range

    def usable(index: int) -> bool:
        return index == key.index or (first <= index <= last and exists(index))

    def nearest(index: int) -> int:
        toward = 1 if index < key.index else -1
        for step in range(abs(key.index - index) + 1):
            for candidate in (index + toward * step, index - toward * step):
                if usable(candidate):
                    return candidate
        return key.index

    channels = []
    for c in range(view.channels):
        place = key.index + (c - view.channels // 2) * view.distance_mm / key.spacing_mm[2]
        whole = round(place)
        # 2 mm at a spacing of 0.4 mm is five slices, and not 4.9999.
        lower, weight = (
            (whole, 0.0)
            if abs(place - whole) < 1e-4
            else (math.floor(place), place - math.floor(place))
        )
        wanted = (lower, lower + 1) if weight else (lower, lower)
        low, high = (nearest(i) for i in wanted)
        channels.append(Channel(low, high, weight, (low, high) != wanted))
    return channels


def key_volume(images: Path, key: KeySlice, view: View) -> tuple[NDArray[np.float32], int]:
    """A key slice with its neighbours.

    Returns:
        `[C, H, W]` HU from head to foot, the key slice at C // 2, and in how many channels a slice
            had to stand in for an absent one.

    Raises:
        ValueError: where a slice cannot be read, or neighbours differ in size.
    """
    channels = plan(key, view, lambda i: slice_path(images, key.folder, i).is_file())
    slices = {
        i: load_hu(slice_path(images, key.folder, i)).astype(np.float32)
        for i in {n for c in channels for n in (c.lower, c.upper)}
    }
    if len({s.shape for s in slices.values()}) > 1:
        raise ValueError(f"{key.name}: neighbours differ in size; get folder {key.folder} again")
    return np.stack([_mixed(slices[c.lower], slices[c.upper], c.weight) for c in channels]), sum(
        c.filled for c in channels
    )


def _mixed(
    lower: NDArray[np.float32], upper: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    return (
        lower
        if weight == 0 or lower is upper
        else lower * np.float32(1 - weight) + upper * np.float32(weight)
    )


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
    """(left, top, right, bottom), half-open:

    what is not border in every channel, with a margin, and all boxes; else the whole slice.
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
