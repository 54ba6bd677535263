"""Pictures of a scan and its findings, made while its pixels are in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.overviews import OVERVIEW_MM, overview_webp, rows_of
from ubr.pretrain.data.volume import Volume

from .boxes import Boxes
from .linking import Finding, surest

DRAWN = 8
"""Findings of a series that have pictures: the surest."""
SLICE_PX, NEAR_PX = 256, 192
"""Longer sides of a picture of a slice, and of what lies around a finding."""
NEAR_MM = 80.0
"""Side of what is shown around a finding, or 2.5 times the finding's, if that is more."""
SOFT_HU, LUNG_HU = (-160, 240), (-1350, 150)
"""Windows of radiologists."""
IN_LUNG_HU = -400
"""The lung's window is taken where the median around a finding lies below."""

Region = tuple[int, int, int, int]
"""(x1, y1, x2, y2) of whole pixels, the ends not included."""


def pictures(volume: Volume, boxes: Boxes, findings: Sequence[Finding]) -> dict[str, NDArray[Any]]:
    """WebP pictures by name, as bytes: `overview`, and `slice_1`, `near_1` ... of the surest
    findings. `windows` `[k, 2]` says which HU are black and white in those.
    """
    height, width = volume.hu.shape[1:]
    whole: Region = (0, 0, width, height)
    made = {"overview": _overview(volume)}
    windows: list[tuple[int, int]] = []
    for number, one in enumerate(findings[:DRAWN], 1):
        hu = volume.hu[one.best]
        near = around(boxes.edges[surest(one, boxes)], volume.spacing_mm, (height, width))
        x1, y1, x2, y2 = near
        lung = float(np.median(hu[y1:y2, x1:x2])) < IN_LUNG_HU
        windows.append(LUNG_HU if lung else SOFT_HU)
        for name, region, px in (("slice", whole, SLICE_PX), ("near", near, NEAR_PX)):
            made[f"{name}_{number}"] = _webp(hu, region, volume.spacing_mm, windows[-1], px)
    stored = {name: np.frombuffer(webp, np.uint8) for name, webp in made.items()}
    return {**stored, "windows": np.array(windows, np.int16).reshape(-1, 2)}


def around(
    edges: NDArray[np.float64], spacing_mm: Sequence[float], size: tuple[int, int]
) -> Region:
    """What is shown around a box: the part of a square in mm that lies in the slice.

    edges: (x1, y1, x2, y2). spacing_mm: (z, y, x). size: (rows, columns).
    """
    mm = np.array([spacing_mm[2], spacing_mm[1]])
    middle, sides = (edges[:2] + edges[2:]) / 2, (edges[2:] - edges[:2]) * mm
    half = max(NEAR_MM, 2.5 * float(sides.max())) / 2 / mm
    ends = np.array([size[1], size[0]])
    first = np.floor(middle - half).clip(0, ends - 1).astype(int)
    last = np.ceil(middle + half).astype(int).clip(first + 1, ends)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def drawn(kept: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """The pictures among a series' arrays, by name; none of a series that an earlier version
    looked at.
    """
    names = [n for n in kept if n == "overview" or n.startswith(("slice_", "near_"))]
    return {name: kept[name].tobytes() for name in names}


def _overview(volume: Volume) -> bytes:
    from ubr.pretrain.data.gridding import spaced

    taken = spaced(volume.z_mm, OVERVIEW_MM)
    rows = [rows_of(volume.hu[i : i + 1], volume.spacing_mm[2]) for i in taken]
    return overview_webp(np.concatenate(rows), volume.z_mm[taken], float(volume.z_mm[-1]))


def _webp(
    hu: NDArray[np.int16],
    region: Region,
    spacing_mm: Sequence[float],
    window_hu: tuple[int, int],
    longer_px: int,
) -> bytes:
    """A region of a slice `[y, x]` in grey, with square pixels."""
    from PIL import Image

    x1, y1, x2, y2 = region
    low, high = window_hu
    grey = ((hu[y1:y2, x1:x2].astype(np.float32) - low) / (high - low)).clip(0, 1) * 255
    mm = (x2 - x1) * spacing_mm[2], (y2 - y1) * spacing_mm[1]
    width, height = (max(1, round(longer_px * side / max(mm))) for side in mm)
    picture = Image.fromarray(grey.round().astype(np.uint8))
    stream = io.BytesIO()
    picture.resize((width, height), Image.Resampling.BILINEAR).save(stream, "webp", quality=70)
    return stream.getvalue()
