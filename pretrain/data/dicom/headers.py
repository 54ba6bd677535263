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

from ..libraries import library
from ..orient import check_axial
from ..volume import UnusableError
from .values import joined, numbers, texts, whole

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced CT and legacy converted enhanced CT: most often all slices of a series in one file."""
LEAST = 3
"""Fewer slices are no stack of their own."""
_SMALL = "objects of few frames"
_PIXELS = (b"\xe0\x7f\x10\0", b"\xe0\x7f\x08\0", b"\xe0\x7f\x09\0")
"""Where pixels begin: integers, floats, doubles."""

_PHASE = (
    *("SeriesNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime"),
    *("NominalPercentageOfCardiacPhase", "ImageType", "SeriesDescription", "ConvolutionKernel"),
    *("KVP", "AcquisitionDateTime", "AcquisitionTime", "ContentTime"),
)
"""What may tell the phases of a series apart, from what means most to what means least."""
_FRAME = (
    *("StackID", "FrameAcquisitionNumber", "TemporalPositionIndex", "FrameAcquisitionDateTime"),
    *("FrameReferenceDateTime", "NominalPercentageOfCardiacPhase", "FrameType"),
)
"""The same for a frame of an enhanced object."""
_TAGS = [
    *("SOPClassUID", "Modality", "PatientID", "IssuerOfPatientID", "PatientName"),
    *("PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("InstanceNumber", *_PHASE),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "SamplesPerPixel", "Rows", "Columns"),
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ConcatenationUID", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber"),
]

MODALITIES = frozenset(
    "AR AU BI CR CT DG DX ECG EEG ES GM HD IO IVOCT IVUS KER KO LEN LP LS MG MR NM OAM OCT OP OPT "
    "OPV OT PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SEG SM SMR SR SRF "
    "TG US VA XA XC".split()
)
"""Defined terms of Modality (PS3.3, C.7.3.1.1.1) that are repeated in a reason. A header may hold a
name there.
"""
UNITS = frozenset("OD HU US MGML Z_EFF ED EDW HU_MOD PCT".split())
"""Defined terms of RescaleType (PS3.3, C.11.1.1.2); likewise."""


class NotDicomError(ValueError):
    """The file is something else."""


@dataclass(frozen=True)
class Slice:
    """One slice's header: where it lies, how its stored values become HU, what it belongs to.

    frame_of_reference: whose coordinates these are. whole: what the frames of one enhanced object
    have in common, also where it was split into several files; the same for all objects of fewer
    than `LEAST` frames; "" for a file of one slice. phase: what may tell phases apart (`_PHASE`,
    `_FRAME`), as written.
    """

    size: tuple[int, int]
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    pixel_mm: tuple[float, float]
    corner: tuple[float, float, float]
    acquisition: tuple[int, int]
    instance: int
    thickness_mm: float | None
    scale: tuple[float, float] | None
    frame_of_reference: str = ""
    whole: str = ""
    phase: tuple[str, ...] = ()

    def at(self) -> float:
        """Position along the normal, mm."""
        (a, b, c), (d, e, f), (x, y, z) = self.right, self.down, self.corner
        return x * (b * f - c * e) + y * (c * d - a * f) + z * (a * e - b * d)


@dataclass(frozen=True)
class Header:
    """What `read_header` keeps of one file.

    series: SeriesInstanceUID, or what stands for it. whose: patient and study, as far as they are
    named; files of one series that differ here are different series. number: SeriesNumber. parts:
    how many files an enhanced object was split into. fault: why the file gives no slice; then
    `slices` is empty.
    """

    path: str
    series: str
    patient: str
    whose: tuple[str, ...] = ()
    number: str = ""
    parts: int = 1
    slices: tuple[Slice, ...] = ()
    fault: str = ""


def read_header(path: str) -> Header:
    """The header of one file, without its pixels.

    Raises:
        NotDicomError: the file is not DICOM.
        UnusableError: it is, and cannot be read at all.
        OSError: as `open` does.
        LibraryError: pydicom cannot be imported.
    """
    with Path(path).open("rb") as file, warnings.catch_warnings(action="ignore"):
        _check_is_dicom(file.read(132))
        file.seek(0)
        pydicom = library("pydicom")
        try:
            ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            if not ds and not ds.file_meta:
                raise UnusableError("damaged DICOM header (no data set)")
            header = _identity(ds, path)
        except (UnusableError, OSError, MemoryError):
            raise
        except Exception as error:
            # pydicom raises whatever the broken bytes lead to, here or when it parses a value.
            raise UnusableError(_damaged(error)) from None
        try:
            fault = _not_ct(ds) or _no_pixels(file, ds, path)
            return replace(header, fault=fault, slices=() if fault else tuple(slices_in(ds, path)))
        except (OSError, MemoryError):
            raise
        except UnusableError as error:
            return replace(header, fault=str(error))
        except Exception as error:
            return replace(header, fault=_damaged(error))


def _damaged(error: Exception) -> str:
    return f"damaged DICOM header ({type(error).__name__})"


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


def _identity(ds: Any, path: str) -> Header:
    study, number = _text(ds, "StudyInstanceUID"), joined(ds, "SeriesNumber")
    patient = _text(ds, "PatientID")
    whose = (patient, _text(ds, "IssuerOfPatientID"), joined(ds, "PatientBirthDate"), study)
    return Header(
        path,
        _text(ds, "SeriesInstanceUID") or f"{Path(path).parent}|{study}|{number}",
        f"{patient}|{whose[1]}" if patient else study,
        (*whose, joined(ds, "PatientName").casefold().strip("^= ")),
        number,
        whole(ds, "InConcatenationTotalNumber"),
    )


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
        return f"{f'modality {modality}' if modality in MODALITIES else 'another modality'}, not CT"
    if not sop_class and not modality:
        return "neither SOP class nor modality says what this is"
    kinds = {kind.upper() for kind in texts(ds, "ImageType")}
    if kinds & {"LOCALIZER", "SCOUT", "TOPOGRAM"}:
        return "localizer"
    if (whole(ds, "SamplesPerPixel") or 1) != 1:
        return "a colour image, not CT"
    return ""


def _no_pixels(file: Any, ds: Any, path: str) -> str:
    """Why this object has no pixels, or an empty text.

    pydicom stopped where they begin. Whether all of them are there shows when they are read.
    """
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if getattr(ds.file_meta, "TransferSyntaxUID", "") == DeflatedExplicitVRLittleEndian:
        names = ["PixelData", "FloatPixelData", "DoubleFloatPixelData"]
        there = any(name in pydicom.dcmread(path, specific_tags=names) for name in names)
    else:
        start = file.read(4)
        there = start in _PIXELS or start[1::-1] + start[:1:-1] in _PIXELS  # in either byte order
    return "" if there else "no pixel data"


def slices_in(ds: Any, path: str) -> list[Slice]:
    """The slices of one object: one, or one per frame of an enhanced object."""
    frames = ds.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        if whole(ds, "NumberOfFrames") > 1:
            raise UnusableError("several frames without functional groups")
        acquisition = whole(ds, "AcquisitionNumber"), whole(ds, "TemporalPositionIdentifier")
        one = _slice(ds, ds, ds, ds, ds)
        phase = tuple(joined(ds, name) for name in _PHASE)
        return [replace(one, acquisition=acquisition, phase=phase)]
    shared = (ds.get("SharedFunctionalGroupsSequence") or [{}])[0]

    def part(frame: Any, name: str) -> Any:
        found = frame.get(name) or shared.get(name)
        return found[0] if found else {}

    slices = []
    of = joined(ds, "ConcatenationUID") or (path if len(frames) >= LEAST else _SMALL)
    first = whole(ds, "InstanceNumber") + whole(ds, "ConcatenationFrameOffsetNumber")
    if of == _SMALL:  # the number counts objects
        first = (first - 1) * (LEAST - 1) + 1
    for number, frame in enumerate(frames):
        kind, content, beat = (
            part(frame, name)
            for name in (
                "CTImageFrameTypeSequence",
                "FrameContentSequence",
                "CardiacSynchronizationSequence",
            )
        )
        if {"LOCALIZER"} & {k.upper() for k in texts(kind, "FrameType")}:
            raise UnusableError("localizer")
        names = (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        )
        one = _slice(ds, *(part(frame, name) for name in names))
        slices.append(
            replace(
                one,
                acquisition=(
                    whole(content, "FrameAcquisitionNumber") or whole(ds, "AcquisitionNumber"),
                    whole(content, "TemporalPositionIndex"),
                ),
                instance=first + number,
                whole=of,
                phase=tuple(
                    joined(content, name) or joined(beat, name) or joined(kind, name)
                    for name in _FRAME
                ),
            )
        )
    return slices


def _slice(ds: Any, position: Any, orientation: Any, measures: Any, values: Any) -> Slice:
    """A slice from the parts of an object that hold what is needed.

    Each part is the object itself, or one of a frame's functional groups.
    """
    size = whole(ds, "Rows"), whole(ds, "Columns")
    if min(size) <= 0:
        raise UnusableError("no image size")
    corner = _numbers(position, "ImagePositionPatient", 3)
    directions = _numbers(orientation, "ImageOrientationPatient", 6)
    pixel_mm = numbers(measures, "PixelSpacing") or []
    if len(pixel_mm) == 1:  # a square, as GDCM reads it
        pixel_mm *= 2
    if len(pixel_mm) != 2:
        raise UnusableError("no usable PixelSpacing")
    if min(pixel_mm) <= 0:
        raise UnusableError(f"PixelSpacing {pixel_mm[0]:g}, {pixel_mm[1]:g} is not positive")
    right, down = directions[:3], directions[3:]
    check_axial(np.array(right), np.array(down))
    _check_unit((texts(values, "RescaleType") or [""])[0].upper())
    thickness = numbers(measures, "SliceThickness") or [0.0]
    return Slice(
        size,
        (right[0], right[1], right[2]),
        (down[0], down[1], down[2]),
        (pixel_mm[0], pixel_mm[1]),
        (corner[0], corner[1], corner[2]),
        (0, 0),
        whole(ds, "InstanceNumber"),
        thickness[0] if thickness[0] > 0 else None,
        _scale(values),
        joined(ds, "FrameOfReferenceUID"),
    )


def _scale(values: Any) -> tuple[float, float] | None:
    """Slope and intercept, None where one of them is absent."""
    if not texts(values, "RescaleSlope") or not texts(values, "RescaleIntercept"):
        return None
    return _numbers(values, "RescaleSlope", 1)[0], _numbers(values, "RescaleIntercept", 1)[0]


def _check_unit(unit: str) -> None:
    """Raise `UnusableError` for values that are said to be something else than HU.

    Writers spell it in words and in their language ("Hounsfield Unit", "UH", "HE").
    """
    letters = re.sub("[^A-Z]", "", unit)
    known = letters in ("", "HU", "UH", "HE", "HNSFU", "US", "UNSPECIFIED", "NORMALIZED")
    if not known and "HOUN" not in letters:
        raise UnusableError(f"values are in {unit if unit in UNITS else 'another unit'}, not HU")


def _text(ds: Any, name: str) -> str:
    """An attribute as pydicom gives it; patients' keys are made of it."""
    try:
        return str(ds.get(name) or "").strip()
    except Exception:  # as it is written, where pydicom cannot parse it
        return joined(ds, name)


def _numbers(part: Any, name: str, count: int) -> list[float]:
    values = numbers(part, name) or []
    if count == 1 and len(set(values)) == 1:
        values = values[:1]  # the same value again
    if len(values) != count:
        raise UnusableError(f"no usable {name}")
    return values
