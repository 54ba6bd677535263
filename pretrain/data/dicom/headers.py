"""The header of one DICOM file: whether it is a CT slice, where it lies, how values become HU.

PhotometricInterpretation is not looked at beyond grey or colour: MONOCHROME1 says how to display a
value, not what it means. pydicom's warnings are silenced: they print odd values, identifiers among
them.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..orient import check_axial
from ..volume import UnusableError

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced CT and legacy converted enhanced CT: all slices of a series in one file."""

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "IssuerOfPatientID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber"),
    *("InstanceNumber", "TemporalPositionIdentifier"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "SamplesPerPixel", "Rows", "Columns"),
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


class NotDicomError(ValueError):
    """The file is something else."""


@dataclass(frozen=True)
class Slice:
    """One slice's header: where it lies and how its stored values become HU."""

    size: tuple[int, int]
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    pixel_mm: tuple[float, float]
    corner: tuple[float, float, float]
    acquisition: tuple[int, int]
    instance: int
    thickness_mm: float | None
    scale: tuple[float, float] | None

    def at(self) -> float:
        """Position along the normal, mm."""
        (a, b, c), (d, e, f), (x, y, z) = self.right, self.down, self.corner
        return x * (b * f - c * e) + y * (c * d - a * f) + z * (a * e - b * d)


@dataclass(frozen=True)
class Header:
    """What `read_header` keeps of one file.

    `fault` says why the file gives no slice; then `slices` is empty.
    """

    path: str
    series: str
    sop: str
    patient: str
    slices: tuple[Slice, ...] = ()
    fault: str = ""


def read_header(path: str) -> Header:
    """The header of one file, without its pixels.

    Raises `NotDicomError` when the file is not DICOM, `UnusableError` when it is and cannot be read
    at all, `OSError` as `open` does.
    """
    with Path(path).open("rb") as file, warnings.catch_warnings(action="ignore"):
        _check_is_dicom(file.read(132))
        file.seek(0)
        try:
            return _parse(file, path)
        except (UnusableError, OSError, MemoryError):
            raise
        except Exception as error:
            # pydicom raises whatever the broken bytes lead to, here or when it parses a value.
            raise UnusableError(f"damaged DICOM header ({type(error).__name__})") from None


def _check_is_dicom(start: bytes) -> None:
    """Raise `NotDicomError` without DICOM's preamble, or a first element of group 2 or 8.

    The element may be in either byte order.
    """
    if start[128:132] == b"DICM":
        return
    group, element = start[:2], start[2:4]
    little = group in (b"\x02\0", b"\x08\0") and element[1:] == b"\0"
    big = group in (b"\0\x02", b"\0\x08") and element[:1] == b"\0"
    if len(start) < 132 or not (little or big):
        raise NotDicomError


def _parse(file: Any, path: str) -> Header:
    import pydicom

    ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
    if not ds and not ds.file_meta:
        raise UnusableError("damaged DICOM header (no data set)")
    series = (
        _text(ds, "SeriesInstanceUID")
        or f"{Path(path).parent}|{_text(ds, 'StudyInstanceUID')}|{_text(ds, 'SeriesNumber')}"
    )
    header = Header(
        path,
        series,
        _text(ds, "SOPInstanceUID"),
        _patient(ds),
        fault=_not_ct(ds) or _no_pixels(file, ds, path),
    )
    if header.fault:
        return header
    try:
        return replace(header, slices=tuple(slices_in(ds)))
    except UnusableError as error:
        return replace(header, fault=str(error))


def _not_ct(ds: Any) -> str:
    """Why this object is no CT slice, or an empty text."""
    from pydicom.uid import UID

    sop_class = _text(ds, "SOPClassUID") or str(
        getattr(ds.file_meta, "MediaStorageSOPClassUID", "")
    )
    modality = _text(ds, "Modality")
    if sop_class and sop_class not in (CT, *ENHANCED):
        name = UID(sop_class).name
        return f"{name if name != sop_class else 'private object'}, not CT"
    if modality and modality != "CT":
        return f"modality {_code(modality)}, not CT"
    if not sop_class and not modality:
        return "neither SOP class nor modality says what this is"
    kinds = {str(kind).upper() for kind in _list(ds, "ImageType")}
    if kinds & {"LOCALIZER", "SCOUT", "TOPOGRAM"}:
        return "localizer"
    if int(ds.get("SamplesPerPixel") or 1) != 1:
        return "a colour image, not CT"
    return ""


def _no_pixels(file: Any, ds: Any, path: str) -> str:
    """Why this object has no pixels, or an empty text.

    pydicom stopped where they begin. Whether all of them are there shows when they are read.
    """
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if getattr(ds.file_meta, "TransferSyntaxUID", "") == DeflatedExplicitVRLittleEndian:
        there = "PixelData" in pydicom.dcmread(path, specific_tags=["PixelData"])
    else:
        there = file.read(4) in (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
    return "" if there else "no pixel data"


def slices_in(ds: Any) -> list[Slice]:
    """The slices of one object: one, or one per frame of an enhanced object."""
    frames = ds.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        if int(ds.get("NumberOfFrames") or 1) > 1:
            raise UnusableError("several frames without functional groups")
        return [_slice(ds, ds, ds, ds, ds)]
    shared = (ds.get("SharedFunctionalGroupsSequence") or [{}])[0]

    def part(frame: Any, name: str) -> Any:
        found = frame.get(name) or shared.get(name)
        return found[0] if found else {}

    slices = []
    for number, frame in enumerate(frames):
        kind = part(frame, "CTImageFrameTypeSequence")
        if kind and {"LOCALIZER"} & {str(k).upper() for k in _list(kind, "FrameType")}:
            raise UnusableError("localizer")
        names = (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        )
        position, orientation, measures, values = (part(frame, name) for name in names)
        slices.append(_slice(ds, position, orientation, measures, values, number))
    return slices


def _slice(
    whole: Any, position: Any, orientation: Any, measures: Any, values: Any, number: int = 0
) -> Slice:
    """A slice from the parts of an object that hold what is needed.

    Each part is the object itself, or one of a frame's functional groups.
    """
    size = int(whole.get("Rows") or 0), int(whole.get("Columns") or 0)
    if 0 in size:
        raise UnusableError("no image size")
    corner = _numbers(position, "ImagePositionPatient", 3)
    directions = _numbers(orientation, "ImageOrientationPatient", 6)
    pixel_mm = _numbers(measures, "PixelSpacing", 2)
    if min(pixel_mm) <= 0:
        raise UnusableError(f"PixelSpacing {pixel_mm[0]:g}, {pixel_mm[1]:g} is not positive")
    right, down = directions[:3], directions[3:]
    check_axial(np.array(right), np.array(down))
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    unit = str(values.get("RescaleType") or "HU").upper()
    if unit not in ("HU", "US", "NORMALIZED"):
        raise UnusableError(f"values are in {_code(unit)}, not HU")
    thickness = measures.get("SliceThickness")
    return Slice(
        size,
        (right[0], right[1], right[2]),
        (down[0], down[1], down[2]),
        (pixel_mm[0], pixel_mm[1]),
        (corner[0], corner[1], corner[2]),
        (_whole(whole, "AcquisitionNumber"), _whole(whole, "TemporalPositionIdentifier")),
        _whole(whole, "InstanceNumber") + number,
        float(thickness) if thickness else None,
        None if slope is None or intercept is None else (float(slope), float(intercept)),
    )


def _patient(ds: Any) -> str:
    patient = _text(ds, "PatientID")
    return (
        f"{patient}|{_text(ds, 'IssuerOfPatientID')}" if patient else _text(ds, "StudyInstanceUID")
    )


def _text(ds: Any, name: str) -> str:
    return str(ds.get(name) or "").strip()


def _code(text: str) -> str:
    """A code of a header, for a reason. A damaged header may have run a name into it."""
    return text if re.fullmatch("[A-Z0-9_]{1,16}", text) else "unknown"


def _list(ds: Any, name: str) -> list[Any]:
    value = ds.get(name)
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _whole(ds: Any, name: str) -> int:
    return int(ds.get(name) or 0)


def _numbers(ds: Any, name: str, count: int) -> list[float]:
    values = _list(ds, name)
    if len(values) != count or not np.isfinite(numbers := [float(v) for v in values]).all():
        raise UnusableError(f"no usable {name}")
    return numbers
