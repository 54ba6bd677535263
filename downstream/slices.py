"""A key slice with its neighbours, as the channels of an image.

Neighbours are wanted at distances in mm, and lie between the slices that exist. Each channel is
interpolated linearly between the two slices around its own position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.deeplesion.images import load_hu, slice_path
from ubr.pretrain.data.deeplesion.table import KeySlice


@dataclass(frozen=True)
class View:
    """What a detector is shown of a key slice.

    Args:
        channels: 1 is the key slice alone (which the input contract copies to three channels); 3,
            5, ... are the key slice in the middle of its neighbours, from head to foot.
        distance_mm: distance in mm from channel to channel.
        mm_per_px: pixel size after resampling.
        longest_px: an image whose longer side would be larger is scaled down to it, so its pixels
            are larger than `mm_per_px`.
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


@dataclass(frozen=True)
class Channel:
    """What a channel is made of.

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
        lower, weight = _between(place)
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


def scan_slice(
    hu: NDArray[np.int16], z_mm: NDArray[np.float64], index: int, view: View
) -> NDArray[np.float32]:
    """A slice of a whole scan with its neighbours.

    Positions are those of the slices, even where their steps differ. Beyond the ends of the scan
    the last slice is repeated.

    Args:
        hu: `[z, y, x]`.
        z_mm: `[z]`, where the slices lie.
        index: of the slice.
        view: how many neighbours, and how far away.

    Returns:
        `[C, y, x]` HU from head to foot, the slice at C // 2.
    """
    channels = []
    for c in range(view.channels):
        wanted = z_mm[index] + (c - view.channels // 2) * view.distance_mm
        lower, weight = _between(float(np.interp(wanted, z_mm, np.arange(len(z_mm)))))
        upper = lower + 1 if weight else lower
        channels.append(_mixed(hu[lower].astype(np.float32), hu[upper].astype(np.float32), weight))
    return np.stack(channels)


def _between(place: float) -> tuple[int, float]:
    """The slice above a place, and the weight of the next one."""
    whole = round(place)
    # 2 mm at a spacing of 0.4 mm is five slices, and not 4.9999.
    if abs(place - whole) < 1e-4:
        return whole, 0.0
    return math.floor(place), place - math.floor(place)


def _mixed(
    lower: NDArray[np.float32], upper: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    return (
        lower
        if weight == 0 or lower is upper
        else lower * np.float32(1 - weight) + upper * np.float32(weight)
    )
