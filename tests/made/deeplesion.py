"""Rows, tables and slices in DeepLesion's layout."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FIRST = {
    "File_name": "000001_01_01_109.png",
    "Patient_index": "1",
    "Study_index": "1",
    "Series_ID": "1",
    "Key_slice_index": "109",
    "Measurement_coordinates": "233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, "
    "101.143",
    "Bounding_boxes": "226.169, 90.0204, 241.252, 111.977",
    "Lesion_diameters_Pixel_": "11.9677, 5.10387",
    "Normalized_lesion_location": "0.44666, 0.283794, 0.434454",
    "Coarse_lesion_type": "3",
    "Possibly_noisy": "0",
    "Slice_range": "103, 115",
    "Spacing_mm_px_": "0.488281, 0.488281, 5",
    "Image_size": "512, 512",
    "DICOM_windows": "-175, 275",
    "Patient_gender": "F",
    "Patient_age": "62.0",
    "Train_Val_Test": "3",
}
"""A row in the official table's form."""


def row(name: str = "000001_01_01_109.png", **values: object) -> dict[str, str]:
    """A row of an image, with other values than `FIRST` where given."""
    patient = str(int(name.split("_")[0]))
    return (
        FIRST
        | {"File_name": name, "Patient_index": patient}
        | {k: str(v) for k, v in values.items()}
    )


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "DL_info.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_slice(folder: Path, name: str, hu: NDArray[np.generic]) -> None:
    """`name`: `<folder>/<slice>`, as `KeySlice.name`."""
    path = folder / "Images_png" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((hu.astype(np.int32) + 32768).astype(np.uint16)).save(path)
