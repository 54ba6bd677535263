"""CT series in DICOM: which files belong together, which are no CT slices, and how they become a
`Volume`.

Two passes. `scan` reads one file's header, no pixels, and is cheap enough for a whole archive;
`group` makes series of what it returned. `read` then reads one series with its pixels, slice by
slice, and trusts nothing but the headers it meets there. pydicom's warnings are silenced: they
print odd values, identifiers among them.

A series is a SeriesInstanceUID, whatever folder its files lie in. It may hold several stacks (other
orientation, size or pixel spacing, another phase): each is a series of its own here, with the
warning `mixed`. Where the UID is empty, as some anonymisers leave it, the files of one folder with
one series number belong together.

PhotometricInterpretation is not looked at beyond grey or colour: MONOCHROME1 says how to display a
value, not what it means.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import digest
from .hu import HuScale
from .orient import Stack, check_axial, to_volume
from .volume import LeftOut, Series, UnusableError, Volume

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced CT and legacy converted enhanced CT: all slices of a series in one file."""

UNREADABLE_AT_MOST = 0.1
"""Share of a series' files that may fail; the rest is still a volume with gaps."""
SAME_MM = 0.01
"""Slices closer than this are at the same position."""
SAME = 1e-3
"""Directions (cosines) and pixel spacings (mm) closer than this are the same."""

_TAGS = [
    "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "TemporalPositionIdentifier", "SliceThickness", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "RescaleType", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


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
    """What `scan` keeps of one file.

    `fault` says why the file gives no slice; then `slices` is empty.
    """

    path: str
    series: str
    sop: str
    patient: str
    slices: tuple[Slice, ...] = ()
    fault: str = ""


def scan(path: str) -> Header:
    """The header of one file, without its pixels.

    Raises `NotDicomError` when the file is not DICOM, `UnusableError` when it is and cannot be read
    at all, `OSError` as `open` does.
    """
    with Path(path).open("rb") as file, warnings.catch_warnings(action="ignore"):
        _check_is_dicom(file.read(132))
        file.seek(0)
        try:
            return _header(file, path)
        except (UnusableError, OSError, MemoryError):
            raise
        except Exception as error:  # pydicom raises whatever the broken bytes lead to, here or when a value is first looked at
            raise UnusableError(f"damaged DICOM header ({type(error).__name__})") from None


def group(headers: Iterable[Header]) -> tuple[list[Series], list[LeftOut]]:
    """Series made of scanned files, in an order that does not depend on the order of the files, and
    what gave none, one line a reason.
    """
    by_series: dict[str, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.path):
        by_series[header.series].append(header)
    found: list[Series] = []
    left: list[LeftOut] = []
    for key, members in sorted(by_series.items(), key=lambda item: item[1][0].path):
        usable, out = _usable(members)
        left += out
        stacks, out = _stacks(usable)
        left += out
        uid = _uid(key, usable)
        for number, stack in enumerate(stacks, 1):
            name = uid if len(stacks) == 1 else f"{uid}#{number}/{len(stacks)}"
            found.append(Series("dicom", tuple(h.path for h in stack), name, stack[0].patient))
    return found, left


def read(series: Series) -> Volume:
    """The volume of a series that `group` made.

    HU by each slice's own slope and intercept; padding is air. A slice at a position already taken
    is dropped (the one with the lower acquisition and instance number stays).

    Raises `UnusableError` when more than a tenth of the files cannot be read, or what remains is no
    axial CT volume.
    """
    scale = HuScale()
    slices: list[Slice] = []
    images: list[NDArray[np.int16]] = []
    reasons = Counter[str]()
    for path in series.files:
        try:
            loaded = _load(path)
            converted = [
                scale.convert(stored, *(header.scale or (1.0, 0.0)), padding)
                for header, stored, padding in loaded
            ]
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # pydicom and its decoders raise whatever the broken bytes lead to
            reasons[str(error) if isinstance(error, UnusableError) else _decoding(error)] += 1
        else:
            slices += [header for header, _, _ in loaded]
            images += converted
    failed = reasons.total()
    if failed > UNREADABLE_AT_MOST * len(series.files):
        raise UnusableError(
            f"{failed} of {len(series.files)} files cannot be read: {reasons.most_common(1)[0][0]}"
        )
    notes: tuple[str, ...] = ()
    if stack_of := re.search(r"#(\d+)/(\d+)$", series.uid):
        notes += (f"mixed: stack {stack_of[1]} of {stack_of[2]} of the series",)
    if failed:
        notes += (
            f"unreadable: {failed} of {len(series.files)} files ({reasons.most_common(1)[0][0]})",
        )
    if any(s.scale is None for s in slices):
        _check_unscaled(slices, scale)
        notes += ("rescale: no slope and intercept",)
    notes += scale.warnings()
    _check_one_stack(slices)
    keep = first_at_each_position(slices)
    if len(keep) < len(slices):
        notes += (f"duplicate: {len(slices) - len(keep)} of {len(slices)} slices",)
    first = slices[keep[0]]
    hu = np.stack([images[k] for k in keep])
    images.clear()  # a long series takes half a gigabyte
    stack = Stack(
        hu,
        np.array(first.right),
        np.array(first.down),
        first.pixel_mm,
        np.array([slices[k].corner for k in keep]),
    )
    return to_volume(stack, thickness_mm=first.thickness_mm, warnings=notes)


# One file


def _check_is_dicom(start: bytes) -> None:
    """By the preamble; without one, by a first element of group 2 or 8 in either byte order."""
    if start[128:132] == b"DICM":
        return
    group, element = start[:2], start[2:4]
    little = group in (b"\x02\0", b"\x08\0") and element[1:] == b"\0"
    big = group in (b"\0\x02", b"\0\x08") and element[:1] == b"\0"
    if len(start) < 132 or not (little or big):
        raise NotDicomError


def _header(file: Any, path: str) -> Header:
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
        return replace(header, slices=tuple(_slices(ds)))
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
    """pydicom stopped where the pixels begin:

    are there any? Whether all of them are there shows when they are read.
    """
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if getattr(ds.file_meta, "TransferSyntaxUID", "") == DeflatedExplicitVRLittleEndian:
        there = "PixelData" in pydicom.dcmread(path, specific_tags=["PixelData"])
    else:
        there = file.read(4) in (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
    return "" if there else "no pixel data"


def _slices(ds: Any) -> list[Slice]:
    """The slices of one object: one of CT Image Storage, one a frame of an enhanced object."""
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
    """From the object and the four places (all the object itself, or a frame's functional groups)
    that hold what is needed.
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


def _load(path: str) -> list[tuple[Slice, NDArray[Any], NDArray[np.bool_] | None]]:
    """Every slice of one file: header, stored values, and where they are padding."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with warnings.catch_warnings(action="ignore"):
        ds = pydicom.dcmread(path, force=True)
        slices = _slices(ds)
        if (
            "TransferSyntaxUID" not in ds.file_meta
        ):  # a data set without the file's preamble is not compressed
            ds.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if ds.original_encoding[0] else ExplicitVRLittleEndian
            )
        stored = ds.pixel_array
    if stored.ndim == 2:
        stored = stored[None]
    if stored.shape != (len(slices), *slices[0].size):
        raise UnusableError("the pixels do not have the size the header gives")
    padding = ds.get("PixelPaddingValue")
    if padding is None:
        return [(header, image, None) for header, image in zip(slices, stored, strict=True)]
    limit = ds.get("PixelPaddingRangeLimit", padding)
    low, high = (
        _as_stored(min(padding, limit), stored.dtype),
        _as_stored(max(padding, limit), stored.dtype),
    )
    return [
        (header, image, (image >= low) & (image <= high))
        for header, image in zip(slices, stored, strict=True)
    ]


def _as_stored(value: Any, dtype: np.dtype[Any]) -> int:
    """Padding is written as signed or unsigned, not always as the pixels are:

    63536 in a file of signed pixels is -2000.
    """
    bits = 8 * dtype.itemsize
    unsigned: int = int(value) % (1 << bits)
    return unsigned - (1 << bits) if dtype.kind == "i" and unsigned >= 1 << (bits - 1) else unsigned


# Many files


def _usable(members: list[Header]) -> tuple[list[Header], list[LeftOut]]:
    """The members that are CT slices, each object once."""
    left: dict[str, list[str]] = defaultdict(list)
    usable: list[Header] = []
    seen: set[str] = set()
    for header in members:
        if header.fault:
            left[header.fault].append(header.path)
        elif header.sop and header.sop in seen:
            left["a copy of another file"].append(header.path)
        else:
            seen.add(header.sop)
            usable.append(header)
    return usable, [_left(paths, reason) for reason, paths in left.items()]


def _left(paths: Sequence[str], reason: str) -> LeftOut:
    more = f" (and {len(paths) - 1} more files of the series)" if len(paths) > 1 else ""
    return LeftOut(paths[0], reason + more)


def _stacks(members: list[Header]) -> tuple[list[list[Header]], list[LeftOut]]:
    """One series' files by size, orientation, pixel spacing and phase; the largest stack first."""
    stacks: list[list[Header]] = []
    for header in members:
        for stack in stacks:
            if _alike(stack[0].slices[0], header.slices[0]) and len(stack[0].slices) == 1 == len(
                header.slices
            ):
                stack.append(header)
                break
        else:
            stacks.append([header])
    stacks = sorted(
        (phase for stack in stacks for phase in _phases(stack)),
        key=lambda s: (-len(s), s[0].slices[0].acquisition),
    )
    kept: list[list[Header]] = []
    left: list[LeftOut] = []
    for stack in stacks:
        paths = [h.path for h in stack]
        slices = sum(len(h.slices) for h in stack)
        if slices > 1 and len(first_at_each_position([s for h in stack for s in h.slices])) == 1:
            left.append(_left(paths, f"{slices} slices at one position"))
        elif slices < 3 and len(stacks) > 1:
            left.append(
                _left(
                    paths,
                    f"{slices} of {len(members)} slices, unlike the series' others in size, "
                    "orientation or pixel spacing",
                )
            )
        else:
            kept.append(stack)
    return kept, left


def _alike(a: Slice, b: Slice) -> bool:
    pairs = zip((*a.right, *a.down, *a.pixel_mm), (*b.right, *b.down, *b.pixel_mm), strict=True)
    return a.size == b.size and all(abs(one - other) < SAME for one, other in pairs)


def _phases(stack: list[Header]) -> list[list[Header]]:
    """A stack in which every position is taken equally often, by acquisition, if that makes each
    position unique.
    """
    if len(stack[0].slices) > 1:
        return [stack]
    at = [round(h.slices[0].at() / SAME_MM) for h in stack]
    times = set(Counter(at).values())
    by_acquisition: dict[tuple[int, int], list[Header]] = defaultdict(list)
    for header in stack:
        by_acquisition[header.slices[0].acquisition].append(header)
    if (
        len(times) != 1
        or times == {1}
        or len(set(at)) == 1
        or {len(p) for p in by_acquisition.values()} != {len(set(at))}
    ):
        return [stack]
    phases = [by_acquisition[number] for number in sorted(by_acquisition)]
    clean = all(
        len(first_at_each_position([h.slices[0] for h in phase])) == len(phase) for phase in phases
    )
    return phases if clean else [stack]


def first_at_each_position(slices: Sequence[Slice]) -> list[int]:
    """Indices of the slices that stay when each position along the normal is taken once, by the
    lowest acquisition and instance number.
    """
    at = np.array([s.at() for s in slices])
    order = sorted(
        range(len(slices)), key=lambda k: (at[k], slices[k].acquisition, slices[k].instance)
    )
    keep: list[int] = []
    start = -np.inf
    for k in order:
        if at[k] - start < SAME_MM:
            rivals = keep[-1], k
            keep[-1] = min(rivals, key=lambda r: (slices[r].acquisition, slices[r].instance))
        else:
            keep.append(k)
            start = at[k]
    return keep


def _uid(key: str, members: list[Header]) -> str:
    """The SeriesInstanceUID; where it is empty, a digest of the files' bytes."""
    if "|" not in key:
        return key
    return "content-" + digest(h.path for h in members)


def _check_one_stack(slices: list[Slice]) -> None:
    if not all(_alike(slices[0], s) for s in slices):
        raise UnusableError("slices differ in size, orientation or pixel spacing")


def _check_unscaled(slices: list[Slice], scale: HuScale) -> None:
    """Without slope and intercept, values pass as HU if all slices lack them and there is air near
    -1000.
    """
    missing = sum(s.scale is None for s in slices)
    if missing < len(slices):
        raise UnusableError(
            f"{missing} of {len(slices)} slices have no rescale slope and intercept"
        )
    if scale.low > -900:
        raise UnusableError(
            f"no rescale slope and intercept, and values {scale.low:g}..{scale.high:g} are not HU"
        )


# Small things


def _patient(ds: Any) -> str:
    patient = _text(ds, "PatientID")
    return (
        f"{patient}|{_text(ds, 'IssuerOfPatientID')}" if patient else _text(ds, "StudyInstanceUID")
    )


def _decoding(error: Exception) -> str:
    """Decoders' own messages name files and values; their type is enough to look for.

    NotImplementedError is a RuntimeError.
    """
    if isinstance(error, RuntimeError):
        return (
            "the pixels cannot be decoded (damaged, or compressed in a way pydicom and gdcm "
            "do not know)"
        )
    return f"truncated or damaged ({type(error).__name__})"


def _text(ds: Any, name: str) -> str:
    return str(ds.get(name) or "").strip()


def _code(text: str) -> str:
    """A code as it stands in a header, for a reason; a damaged header may have run a name into it."""
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
