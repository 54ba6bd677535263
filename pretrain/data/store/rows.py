"""A row of the store: what is known of one series."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....weights.common.hu import HU_RANGE
from ..digests import volume_digest
from ..orient import check_spacing
from ..volume import WARNINGS, Series, UnusableError, Volume, check_positions

TAKEN, LEFT_OUT = "taken", "left out"
KINDS = ("dicom", "nifti", "itk", "png")
BEFORE = frozenset(
    "key patient status reason kind slices rows columns spacing_z_mm spacing_y_mm spacing_x_mm "
    "z_mm body hu_min hu_max warnings digest".split()
)
"""What a row without checksums holds, as earlier versions wrote it."""
OWN_PATIENT = "own_patient"
"""Of a row whose patient a table named: the key of the patient that the files name."""
FILES = "files"
"""Of a series of many files, where these are not one per slice: how many the search found. An
object of many frames in one file cannot grow.
"""
_OF_MANY_FILES = ("dicom", "png")
SIZE_OFF = 0.01
"""How far the median step may lie from the spacing, as a share."""


class StoreError(ValueError):
    """A store that cannot be used as asked. The text says in one line what to do."""


@dataclass(frozen=True, eq=False)
class SeriesRow:
    """A series in the store.

    key, patient: hashes. kind: the reader that took it. spacing_mm: (z, y, x). z_mm: `[z]` mm below
    the first slice. body: `[z, 4]` the body's box in each slice (`ubr.weights.body`). hu_min,
    hu_max: of all pixels. warnings: codes of `volume.WARNINGS` with details. digest: of pixels and
    geometry; equal for the same scan in another store.
    """

    key: str
    patient: str
    kind: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    z_mm: NDArray[np.float64]
    body: NDArray[np.int16]
    hu_min: int
    hu_max: int
    warnings: tuple[str, ...]
    digest: str

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """`[z]` area of the body's box in each slice."""
        y0, y1, x0, x1 = self.body.astype(np.float64).T
        return np.asarray((y1 - y0) * (x1 - x0) * self.spacing_mm[1] * self.spacing_mm[2])


def row_taken(
    key: str, patient: str, kind: str, volume: Volume, boxes: NDArray[np.int16]
) -> dict[str, Any]:
    """The row, as JSON holds it, of a series that was taken. boxes: `[z, 4]`."""
    slices, rows, columns = volume.hu.shape
    return {
        "key": key,
        "patient": patient,
        "status": TAKEN,
        "reason": "",
        "kind": kind,
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "spacing_z_mm": float(volume.spacing_mm[0]),
        "spacing_y_mm": float(volume.spacing_mm[1]),
        "spacing_x_mm": float(volume.spacing_mm[2]),
        "z_mm": volume.z_mm.tolist(),
        "body": boxes.ravel().tolist(),
        "hu_min": int(volume.hu.min()),
        "hu_max": int(volume.hu.max()),
        "warnings": list(volume.warnings),
        "digest": volume_digest(volume),
        "slices_crc32": slices_crc32(volume.hu),
    }


def slices_crc32(hu: NDArray[np.int16]) -> list[int]:
    """The checksum of each slice."""
    return [zlib.crc32(one) for one in np.ascontiguousarray(hu, "<i2")]


def files_of(series: Series, slices: int) -> dict[str, int]:
    """What a row says of how many files its series has."""
    files = len(series.files)
    is_object = files == 1 and not any(text.startswith("gap") for text in series.warnings)
    if series.kind not in _OF_MANY_FILES or files == slices or is_object:
        return {}
    return {FILES: files}


def is_behind(row: Mapping[str, Any], series: Series) -> bool:
    """Whether more files of a series were found than when its row was written, or some could not be
    read then.
    """
    unread = any(text.startswith("unreadable") for text in row["warnings"])
    files = row.get(FILES, row["slices"])
    return series.kind in _OF_MANY_FILES and bool(len(series.files) + unread > files)


def whose(patient: str, own: str | None, before: Mapping[str, Any]) -> dict[str, str]:
    """What a row says of whose the series is. What a table said stays until a table says otherwise.

    patient: of the series; its own key where nothing names one. own: of its files, where a table
    names the patient. before: the row so far.
    """
    if own is None and patient in (before.get("key"), before.get(OWN_PATIENT)):
        return {name: before[name] for name in ("patient", OWN_PATIENT) if name in before}
    return {"patient": patient} | ({OWN_PATIENT: own} if own else {})


def row_left_out(key: str, kind: str, reason: str) -> dict[str, Any]:
    """The row, as JSON holds it, of a series that was left out."""
    return {"key": key, "status": LEFT_OUT, "reason": reason, "kind": kind}


def is_key(text: object) -> bool:
    """Whether a text can be the key of a series or a patient, and so a part of a file's name."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{16}", text) is not None


def is_sensible(row: Mapping[str, Any]) -> bool:
    """Whether a series that was taken can be one, by the rules that scans have to meet.

    row: values by the names of JSON, in the types of the catalog.
    """
    slices, rows, columns = row["slices"], row["rows"], row["columns"]
    spacing = (row["spacing_z_mm"], row["spacing_y_mm"], row["spacing_x_mm"])
    z_mm, body = np.asarray(row["z_mm"], np.float64), np.asarray(row["body"], np.float64)
    names_hold = (
        is_key(row["key"])
        and is_key(row["patient"])
        and row["kind"] in KINDS
        and re.fullmatch("[0-9a-f]{32}", row["digest"]) is not None
        and all(text.split(":")[0] in WARNINGS and text.isprintable() for text in row["warnings"])
    )
    if not (names_hold and min(slices, rows, columns) > 0 and len(body) == 4 * slices):
        return False
    try:
        check_positions(z_mm, slices)
        check_spacing(spacing)
    except UnusableError:
        return False
    y0, y1, x0, x1 = body.reshape(-1, 4).T
    # The slices of a PNG series are numbered, and most of them may be missing.
    usual = np.median(np.diff(z_mm)) if slices > 1 and row["kind"] != "png" else spacing[0]
    return bool(
        abs(usual - spacing[0]) <= SIZE_OFF * spacing[0]
        and ((0 <= y0) & (y0 <= y1) & (y1 <= rows) & (0 <= x0) & (x0 <= x1) & (x1 <= columns)).all()
        and HU_RANGE[0] <= row["hu_min"] <= row["hu_max"] <= HU_RANGE[1]
    )
