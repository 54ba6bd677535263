"""The images of a DICOM series: which of them each slice of its volume is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..find import silence
from ..volume import Series, UnusableError
from .headers import Slice, read_header
from .series import first_at_each_position

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
SAME_MM = 0.1
"""A file's slice and the volume's are the same if at most this far apart along the normal."""


@dataclass(frozen=True)
class SliceImage:
    """The DICOM image of a slice: file, header, frame (from 1) of a multi-frame file, and where it
    lies.
    """

    path: str
    header: Any
    frame: int | None
    where: Slice

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points `[n, 3]` in the patient (LPS, mm) fall in the image: (column, row) `[n, 2]`,
        0 being the outer edge of the first pixel, as graphic data of reports have it.
        """
        away = points - np.array(self.where.corner)
        row_mm, column_mm = self.where.pixel_mm
        columns = away @ np.array(self.where.right) / column_mm
        rows = away @ np.array(self.where.down) / row_mm
        return np.stack([columns, rows], axis=1) + 0.5


def images_of(
    series: Series, place: NDArray[np.float64] | None, z_mm: NDArray[np.float64]
) -> list[SliceImage]:
    """The image of each slice of a series' volume, found by its place along the normal.

    Raises `UnusableError` where its slices are none of the images, or these have no UIDs.
    """
    import pydicom

    if place is None:
        raise UnusableError(
            "the series' slices are oblique and were resampled, so none of its images is a slice "
            "that was scored"
        )
    slices: list[Slice] = []
    images: list[SliceImage] = []
    for number, path in enumerate(series.files):
        with silence():
            header = with_identity(pydicom.dcmread(path, stop_before_pixels=True, force=True))
        if missing := [name for name in REQUIRED if not header.get(name)]:
            raise UnusableError(
                f"files of the series have no {missing[0]}, which a report refers to"
            )
        frames = read_header(path).slices
        own = series.frames[number] if series.frames else range(len(frames))
        slices += [frames[k] for k in own]
        images += [
            SliceImage(path, header, k + 1 if len(frames) > 1 else None, frames[k]) for k in own
        ]
    kept = first_at_each_position(slices)
    corners = np.array([slices[k].corner for k in kept])
    mm = (corners - place[:, 3]) @ place[:, 2]
    nearest = np.abs(mm[:, None] - z_mm).argmin(axis=0)
    if np.abs(mm[nearest] - z_mm).max() > SAME_MM:
        raise UnusableError(
            "the images of the series lie elsewhere than the slices that were scored; check its "
            "headers"
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
