"""Landmarks of the trunk, and the body parts that they divide it into."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LANDMARKS = ("mandible", "lung_apex", "liver_dome", "iliac_crest", "femoral_head")
BONE = ("mandible", "iliac_crest", "femoral_head")
"""Landmarks that do not move with the breath."""
PARTS = ("chest", "abdomen", "pelvis")
THIGH_MM = 60.0
"""The pelvis ends this far below the centre of the femoral head."""
_BEGINS = {"lung_apex": "chest", "liver_dome": "abdomen", "iliac_crest": "pelvis"}


def parts_of(marks: Mapping[str, int], z_mm: NDArray[np.float64]) -> dict[int, str]:
    """The part of each slice between the landmarks of a series.

    The borders are lung apex, liver dome and iliac crest. Neck and thigh are left out.

    Args:
        marks: the slice of each landmark that the series shows.
        z_mm: positions of the slices.
    """
    parts: dict[int, str] = {}
    if not set(_BEGINS) & set(marks):
        return parts
    end = z_mm[marks["femoral_head"]] + THIGH_MM if "femoral_head" in marks else np.inf
    first = "neck" if "lung_apex" in marks else "chest" if "liver_dome" in marks else "abdomen"
    for i in range(len(z_mm)):
        part = first
        for name, below in _BEGINS.items():
            part = below if name in marks and i >= marks[name] else part
        if part != "neck" and z_mm[i] <= end:
            parts[i] = part
    return parts
