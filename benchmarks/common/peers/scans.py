"""The scans of the comparison: computed patients, as series of 512 px."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ubr.pretrain.data.volume import Volume
from ubr.pretrain.phantom import Case, Phantom, make
from ubr.pretrain.phantom.forms import write_phantom
from ubr.weights.common.disk import whole

FORMS = ("dicom", "nii.gz", "nii")
LENGTH_MM, DRAWN = 500, 25
"""Levels that a series covers, and slices that are drawn of it.

A series repeats each slice. What it shows does not change what reading and scoring it takes.
"""


def scans(work: Path, slices: int, form: str, series: int = 2, size_px: int = 512) -> Path:
    """A folder with a series of each of so many patients, made if it is not there."""
    folder = work / "scans" / f"{series}x{slices}-{form}"
    if folder.exists():
        return folder
    with whole(folder) as part:
        part.mkdir(parents=True)
        for seed in range(series):
            phantom = long_scan(seed, slices, size_px)
            path = write_phantom(phantom, part, "dicom" if form == "dicom" else "nifti")
            if form == "nii":
                with gzip.open(path) as packed, path.with_suffix("").open("wb") as file:
                    shutil.copyfileobj(packed, file)
                path.unlink()
    return folder


def long_scan(seed: int, slices: int, size_px: int) -> Phantom:
    """A patient's chest and abdomen in so many slices."""
    options: dict[str, Any] = {
        "size_px": size_px,
        "top": 300,
        "bottom": 300 + LENGTH_MM,
        "arms": "up",
    }
    drawn = make(seed, spacing_mm=LENGTH_MM / DRAWN, **options)
    hu = drawn.volume.hu[np.arange(slices) * len(drawn.volume.hu) // slices]
    scan = replace(drawn.case.scan, spacing_mm=LENGTH_MM / slices)
    case = Case(seed, drawn.case.patient, scan)
    case.__dict__["z_mm"] = scan.spacing_mm * np.arange(slices)  # so many, whatever the stature
    volume = Volume(hu, (scan.spacing_mm, case.pixel_mm, case.pixel_mm), case.z_mm)
    return Phantom(volume, {}, case.region, case.body_mm, case)
