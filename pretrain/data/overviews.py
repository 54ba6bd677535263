"""Coronal overviews: a series as a radiograph from the front, small enough for a page of many."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

OVERVIEW_MM = 4.0
"""Side of an overview's pixels."""
_DENSEST = 99.5
"""Percentile of the rays that is white: a few through metal would darken the rest."""


def rows_of(hu: NDArray[np.int16], pixel_mm: float) -> NDArray[np.int16]:
    """A row of the overview for each slice: the mean HU of the rays from front to back.

    hu: `[k, y, x]`. pixel_mm: between columns. Returns `[k, w]`, pixels of about `OVERVIEW_MM`.
    """
    rays = hu.mean(1, dtype=np.float32)
    width = max(1, round(rays.shape[1] * pixel_mm / OVERVIEW_MM))
    edges = np.linspace(0, rays.shape[1], width + 1).round().astype(int)
    narrow = np.add.reduceat(rays, edges[:-1].clip(max=rays.shape[1] - 1), axis=1)
    return np.asarray((narrow / np.diff(edges).clip(1)).round(), np.int16)


def overview_webp(
    rows: NDArray[np.int16], taken_mm: NDArray[np.float64], extent_mm: float
) -> bytes:
    """The overview as a picture with square pixels, head at the top, patient's right at the left.

    rows: of `rows_of`. taken_mm: `[k]`, where their slices lie below the first. extent_mm: where
    the last slice lies. What is far from any of the slices is black, so that gaps show.
    """
    from PIL import Image

    at = np.arange(max(1, round(extent_mm / OVERVIEW_MM) + 1)) * OVERVIEW_MM
    upper = np.searchsorted(taken_mm, at).clip(1, max(len(taken_mm) - 1, 1))
    before, after = upper - 1, upper.clip(max=len(taken_mm) - 1)
    span = np.maximum(taken_mm[after] - taken_mm[before], 1e-6)
    share = ((at - taken_mm[before]) / span).clip(0, 1)[:, None]
    picture = rows[before] * (1 - share) + rows[after] * share
    far = np.abs(taken_mm[None] - at[:, None]).min(1)
    usual = float(np.median(np.diff(taken_mm))) if len(taken_mm) > 1 else 0.0
    air = float(picture.min())
    picture[far > max(0.8 * usual, OVERVIEW_MM)] = air
    white = max(float(np.percentile(picture, _DENSEST)), air + 1)
    grey = (((picture - air) / (white - air)).clip(0, 1) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "webp", quality=60)
    return stream.getvalue()
