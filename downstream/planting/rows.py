"""Planted lesions as rows: of DeepLesion's table, and of a table of where they lie in space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .lesions import Lesion
from .measurement import measure, measured_box
from .places import Spacing

RANGE_MM = 15.0
"""Neighbours that ship with a key slice, to either side; at least one."""


LESIONS = "lesions.csv"
"""The table of where lesions lie in space, beside DeepLesion's."""
LESION_COLUMNS = (
    *("folder", "kind", "coarse_lesion_type", "key_slice", "first_slice", "last_slice"),
    *("x1", "y1", "x2", "y2", "diameter_mm"),
)


def lesion_rows(
    lesions: Sequence[Lesion],
    size: tuple[int, ...],
    spacing_mm: Spacing,
    name: tuple[int, int, int],
) -> list[dict[str, Any]]:
    """Make the rows of `LESIONS` for a scan; arguments as `table_rows`.

    Slices are numbered as the files are. The edges, 0-based, are those of the boxes that DeepLesion
    would have in all slices that show more than the lesion's cap. The diameter is the longest in
    any of them.
    """
    rows = []
    for lesion in lesions:
        masks = {z: lesion.on(z) for z in range(size[0])}
        ends = {
            z: measure(mask) + np.array([lesion.origin[2], lesion.origin[1]])
            for z, mask in masks.items()
            if mask is not None
        }
        boxes = np.array([measured_box(e + 1, spacing_mm[1:], size[1:]) - 1 for e in ends.values()])
        pixel_mm = np.array([spacing_mm[2], spacing_mm[1]])
        longest = max(float(np.linalg.norm((e[0] - e[1]) * pixel_mm)) for e in ends.values())
        edges = (*boxes[:, :2].min(0), *boxes[:, 2:].max(0))
        rows.append(
            {
                "folder": "{:06d}_{:02d}_{:02d}".format(*name),
                "kind": lesion.kind,
                "coarse_lesion_type": lesion.coarse_type,
                "key_slice": lesion.key + 1,
                "first_slice": min(ends) + 1,
                "last_slice": max(ends) + 1,
                **{c: f"{v:.6g}" for c, v in zip(("x1", "y1", "x2", "y2"), edges, strict=True)},
                "diameter_mm": f"{longest:.6g}",
            }
        )
    return rows


def table_rows(
    lesions: Sequence[Lesion],
    size: tuple[int, ...],
    spacing_mm: Spacing,
    name: tuple[int, int, int],
) -> tuple[list[dict[str, Any]], list[int]]:
    """Make the rows of a scan, without their split, and list the slices that they need, in order.

    Args:
        lesions: of this scan.
        size: (z, y, x) in voxels.
        spacing_mm: (z, y, x).
        name: numbers of patient, study and series.
    """
    reach = max(1, round(RANGE_MM / spacing_mm[0]))
    rows: list[dict[str, Any]] = []
    needed: set[int] = set()
    for z in sorted({lesion.key for lesion in lesions}):
        first, last = max(0, z - reach), min(size[0] - 1, z + reach)
        needed |= set(range(first, last + 1))
        for lesion in lesions:
            mask = lesion.on(z)
            if mask is None:
                continue
            ends = measure(mask) + np.array([lesion.origin[2], lesion.origin[1]]) + 1
            box = measured_box(ends, spacing_mm[1:], size[1:])
            location = (*(box[:2] + box[2:]) / 2 / (size[2], size[1]), z / max(1, size[0] - 1))
            rows.append(
                {
                    "File_name": "{:06d}_{:02d}_{:02d}_{:03d}.png".format(*name, z + 1),
                    "Patient_index": name[0],
                    "Study_index": name[1],
                    "Series_ID": name[2],
                    "Key_slice_index": z + 1,
                    "Measurement_coordinates": _text(ends.ravel()),
                    "Bounding_boxes": _text(box),
                    "Lesion_diameters_Pixel_": _text(
                        np.linalg.norm(ends[0::2] - ends[1::2], axis=1)
                    ),
                    "Normalized_lesion_location": _text(location),
                    "Coarse_lesion_type": lesion.coarse_type,
                    "Possibly_noisy": 0,
                    "Slice_range": f"{first + 1}, {last + 1}",
                    "Spacing_mm_px_": _text((spacing_mm[2], spacing_mm[1], spacing_mm[0])),
                    "Image_size": f"{size[2]}, {size[1]}",
                    "DICOM_windows": "-1500, 500" if lesion.kind == "nodule" else "-175, 275",
                    "Patient_gender": "",
                    "Patient_age": "",
                }
            )
    return rows, sorted(needed)


def _text(values: Iterable[float]) -> str:
    """Six digits, as the official table writes them."""
    return ", ".join(f"{float(v):.6g}" for v in values)
