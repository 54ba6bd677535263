"""The images of a DICOM series: which of them each slice of its volume is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import dicom
from ..data.find import silence
from ..data.volume import Series, Volume

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
SAME_MM = 0.1
"""A file's slice and the volume's are the same if at most this far apart along the normal."""


@dataclass(frozen=True)
class SliceImage:
    """The DICOM image of a slice: file, header, and frame (from 1) of a multi-frame file."""

    path: str
    header: Any
    frame: int | None


def images_of(series: Series, volume: Volume) -> list[SliceImage]:
    """The image of each slice of the volume, found by its place along the normal."""
    import pydicom

    if volume.place is None:
        raise ValueError(
            "the series' slices are oblique and were resampled, so none of its images is a slice "
            "that was scored"
        )
    slices: list[dicom.Slice] = []
    images: list[SliceImage] = []
    for path in series.files:
        with silence():
            header = with_identity(pydicom.dcmread(path, stop_before_pixels=True, force=True))
        if missing := [name for name in REQUIRED if not header.get(name)]:
            raise ValueError(f"files of the series have no {missing[0]}, which a report refers to")
        frames = dicom.read_header(path).slices
        slices += frames
        images += [
            SliceImage(path, header, number if len(frames) > 1 else None)
            for number in range(1, len(frames) + 1)
        ]
    kept = dicom.first_at_each_position(slices)
    corners = np.array([slices[k].corner for k in kept])
    mm = (corners - volume.place[:, 3]) @ volume.place[:, 2]
    nearest = np.abs(mm[:, None] - volume.z_mm).argmin(axis=0)
    if np.abs(mm[nearest] - volume.z_mm).max() > SAME_MM:
        raise ValueError(
            "the images of the series lie elsewhere than the slices that were scored; is a "
            "header damaged?"
        )
    return [images[kept[i]] for i in nearest]


def with_identity(ds: Any) -> Any:
    """The data set with its SOP class and instance, which some writers put only into the file meta
    information.
    """
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not ds.get(name) and (uid := ds.file_meta.get(f"MediaStorage{name}")):
            setattr(ds, name, uid)
    return ds
