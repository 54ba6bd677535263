"""The pixels that a view reads: every file of a key slice and its neighbours, and whether what they
hold can be HU.

A wrong conversion gives files that open without an error and from which nothing is learned: a
missing offset, signed values read as unsigned, a window, black slices. A CT slice holds soft
tissue, little that is denser than 700 HU, and no window's flat floor; a wide one holds air.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.deeplesion.images import OFFSET, load_hu, slice_path
from ubr.pretrain.data.deeplesion.table import KeySlice
from ubr.weights.common.progress import progress_bar

from .slices import View, plan

TISSUE_HU = (-200, 400)
"""Soft tissue and fat; what is below is lung or air."""
TISSUE_AT_LEAST = 0.01
"""Share of a slice's pixels. Real slices have 0.02 and more, near the vertex too."""
PADDING_HU = -1500
PADDED = (0.3, 0.05)
"""Where more than the first share is darker than `PADDING_HU`, tissue must be at least the second:
padding round the field is about 0.2, and air that is 1024 too low leaves bone alone as tissue.
"""
DENSE_HU = 700
DENSE_AT_MOST = 0.25
"""Share of pixels that may be denser than `DENSE_HU`; in slices through a skull it is up to 0.1."""
STORABLE_HU = (-4096, 4095)
OUTSIDE_AT_MOST = 0.4
"""Share of pixels that may lie beyond `STORABLE_HU`: padding outside a round field is 0.22."""
FLOOR_AT_MOST = 0.05
"""Share of pixels at the lowest value, where that is tissue."""
WIDE_MM = 250.0
"""From this width on a field holds air."""


@dataclass(frozen=True)
class KeyImage:
    """What reading the files of a key slice gave.

    size_px: (width, height). digest: of its pixels. absent: there is no file. error: why it could
    not be read. neighbour_error: the same of a neighbour. strange: why its pixels or those of a
    neighbour are not HU. filled: how many channels lack a neighbour.
    """

    size_px: tuple[int, int] = (0, 0)
    digest: str = ""
    absent: bool = False
    error: str = ""
    neighbour_error: str = ""
    strange: str = ""
    filled: int = 0

    @property
    def ok(self) -> bool:
        """Whether the key slice itself was read."""
        return not self.absent and not self.error

    @property
    def usable(self) -> bool:
        """Whether all that the view needs was read."""
        return self.ok and not self.neighbour_error


def read_images(
    images: Path, keys: Sequence[KeySlice], view: View, workers: int | None, progress: bool
) -> dict[str, KeyImage]:
    """Read all files that a view takes for these key slices; the result is by `KeySlice.name`.

    Takes about 5 ms of one core for each file of 512 x 512, spread over `workers` threads.
    """
    listed = {
        f: frozenset(p.name for p in (images / f).glob("*.png")) for f in {k.folder for k in keys}
    }

    def read(key: KeySlice) -> KeyImage:
        return _read(images, key, view, listed[key.folder])

    # Pillow, numpy and hashlib let other threads run while they work.
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        done = progress_bar(
            pool.map(read, keys), total=len(keys), title="check", unit="images", show=progress
        )
        return {key.name: image for key, image in zip(keys, done, strict=True)}


def _read(images: Path, key: KeySlice, view: View, listed: Collection[str]) -> KeyImage:
    channels = plan(key, view, lambda i: slice_path(images, key.folder, i).name in listed)
    filled = sum(channel.filled for channel in channels)
    path = slice_path(images, key.folder, key.index)
    if path.name not in listed:
        return KeyImage(absent=True, filled=filled)
    try:
        hu = load_hu(path)
    except ValueError as error:
        return KeyImage(error=str(error), filled=filled)
    why = not_hu(hu, key.spacing_mm)
    strange = f"{key.name}.png: {why}" if why else ""
    neighbour_error = ""
    for index in sorted({i for c in channels for i in (c.lower, c.upper)} - {key.index}):
        path = slice_path(images, key.folder, index)
        try:
            beside = load_hu(path)
        except ValueError as error:
            neighbour_error = neighbour_error or str(error)
            continue
        name = f"{key.folder}/{path.name}"
        if beside.shape != hu.shape:
            neighbour_error = neighbour_error or f"{name} differs in size from {key.name}.png"
        elif not strange and (why := not_hu(beside, key.spacing_mm)):
            strange = f"{name}: {why}"
    digest = hashlib.sha256(hu.tobytes()).hexdigest()
    size_px = (hu.shape[1], hu.shape[0])
    return KeyImage(size_px, digest, False, "", neighbour_error, strange, filled)


def not_hu(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> str:
    """Why a slice `[y, x]` of spacing (x, y, z), stored as HU + 32768, cannot be HU; empty if it
    can.
    """
    low, high = int(hu.min()), int(hu.max())
    if low == high:
        return f"every pixel is {low + OFFSET}"
    tissue = _share((hu >= TISSUE_HU[0]) & (hu <= TISSUE_HU[1]))
    seen = f"stored values {low + OFFSET}..{high + OFFSET} mean {low}..{high} HU"
    padded = _share(hu < PADDING_HU) > PADDED[0]
    if tissue < (PADDED[1] if padded else TISSUE_AT_LEAST):
        return f"{seen}, {tissue:.1%} of the pixels are soft tissue"
    outside = _share((hu < STORABLE_HU[0]) | (hu > STORABLE_HU[1]))
    if outside > OUTSIDE_AT_MOST:
        return f"{seen}, {outside:.0%} of the pixels lie beyond what CT stores"
    dense = _share(hu > DENSE_HU)
    if dense > DENSE_AT_MOST:
        return f"{seen}, {dense:.0%} of the pixels are denser than {DENSE_HU}"
    if low > TISSUE_HU[0]:
        floor = _share(hu == low)
        if floor > FLOOR_AT_MOST:
            return f"{seen}, {floor:.0%} of the pixels have the lowest value, as after a window"
        if min(hu.shape[1] * spacing_mm[0], hu.shape[0] * spacing_mm[1]) >= WIDE_MM:
            return f"{seen}, and a field of {WIDE_MM:g} mm holds air"
    return ""


def _share(pixels: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(pixels)) / pixels.size
