"""NRRD files, with the voxels in the file or beside it, raw or packed.

Read here and not by SimpleITK, which knows no bzip2, ignores the units of the space, takes a space
without a name for an anatomical one, and gives wrong voxels where a packed file is damaged.

The format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import SURPLUS, check_sizes, shape_3d, unit_axes
from .volume import UnusableError

ENDINGS = (".nrrd", ".nhdr")

_LPS = {
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "left-posterior-superior": (1.0, 1.0, 1.0),
}
"""Signs that turn the axes of a space into DICOM's. Other spaces do not say where the head is."""
_SHORT = {"ras": "right-anterior-superior", "las": "left-anterior-superior"} | {
    "lps": "left-posterior-superior"
}
_MM = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0} | {
    "cm": 10.0,
    "m": 1000.0,
    "um": 0.001,
    "µm": 0.001,
}
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names.split(", ")}
_UNSAID = "the header does not give the image's orientation in the patient"
_DAMAGED = "damaged or truncated file, or not what its ending says"

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Header:
    """An NRRD header.

    fields: by name, in small letters and without blanks. data: the files that hold the voxels, the
    header's own where it is attached. start: where they begin in it, 0 in other files.
    """

    fields: dict[str, str]
    data: tuple[str, ...]
    start: int


def read_header(path: str) -> Header:
    """The header of an NRRD file.

    Raises `UnusableError` if it is not a header, says something twice, or as `data_files`.
    """
    fields: dict[str, str] = {}
    listed: list[str] = []
    with Path(path).open("rb") as file:
        if not file.readline(64).startswith(b"NRRD"):
            raise UnusableError(_DAMAGED)
        while line := file.readline(1 << 16).rstrip(b"\r\n").decode("utf-8", "surrogateescape"):
            if fields.get("datafile", "").upper().startswith("LIST"):
                listed.append(line.strip())
                continue
            name, colon, value = line.partition(":")
            if line.startswith("#") or not colon or value.startswith("="):
                continue  # a comment, or a key of the user's own
            key, value = name.lower().replace(" ", ""), value.strip()
            if fields.setdefault(key, value) != value:
                raise UnusableError("the header contradicts itself: a field is given twice")
        start = file.tell()
    named = fields.get("datafile", "")
    if not named:
        return Header(fields, (path,), start)
    listed = numbered(named) or listed or [named]
    return Header(fields, data_files(path, listed), 0)


def data_files(path: str, named: Sequence[str]) -> tuple[str, ...]:
    """The files that a header names for its voxels.

    Raises `UnusableError` where one is not in the header's folder or below: a header from elsewhere
    must not have other files read.
    """
    folder = Path(path).parent
    files = [folder / name for name in named]
    if any(".." in Path(name).parts for name in named) or not all(
        file.is_relative_to(folder) for file in files
    ):
        raise UnusableError(
            "the header names a data file outside its folder; put header and data in one folder"
        )
    return tuple(map(str, files))


def check_data(header: Header) -> None:
    """Raise `UnusableError` where a data file is missing, or is none: a pipe would keep its reader
    waiting.
    """
    if not all(Path(data).is_file() for data in header.data):
        raise UnusableError("a data file that the header names is missing")


def numbered(named: str) -> list[str]:
    """The files that `slice%03d.raw FIRST LAST STEP` names; none for what has another form.

    Raises `UnusableError` for a step of 0 and for more than 10,000 files.
    """
    form = re.fullmatch(r"([^%]*%0?\d{0,2}d[^%]*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(\s+\d+)?", named)
    if not form:
        return []
    first, last, step = (int(form[k]) for k in (2, 3, 4))
    if step == 0 or abs(last - first) > 10_000 * abs(step):
        raise UnusableError(_DAMAGED)
    return [form[1] % n for n in range(first, last + (1 if step > 0 else -1), step)]


def read_grid(path: str) -> tuple[NDArray[Any], Float]:
    """Stored values `[i, j, k]`, and the `[3, 4]` affine from indices to LPS mm.

    Raises `UnusableError` when the file is damaged, not 3-D, does not say how it lies in the
    patient, or contradicts itself there.
    """
    header = read_header(path)
    try:
        sizes = tuple(int(size) for size in header.fields["sizes"].split())
        if min(sizes) < 1:
            raise UnusableError(_DAMAGED)
        axes = _axes(header.fields, len(sizes))
        dtype = _dtype(header.fields)
        # Axes of space come first, the others must have length 1.
        order = sorted(range(len(sizes)), key=lambda axis: axes[axis] is None)
        shape = shape_3d(tuple(sizes[axis] for axis in order), dtype)
        lps = _lps(header.fields, np.array([axis for axis in axes if axis is not None]))
        check_data(header)
        return _values(header, dtype, math.prod(sizes)).reshape(shape, order="F"), lps
    except (UnusableError, MemoryError):
        raise
    except (ValueError, LookupError, ArithmeticError, EOFError, OSError, zlib.error):
        raise UnusableError(_DAMAGED) from None


def _axes(fields: dict[str, str], dimension: int) -> list[Float | None]:
    """The vector along each axis in the space's coordinates; None for an axis of no space."""
    if "spacedirections" not in fields:
        raise UnusableError(f"{_UNSAID} (no space directions)")
    vectors = re.findall(r"none|\([^)]*\)", fields["spacedirections"])
    if len(vectors) != dimension:
        raise UnusableError(
            f"the header contradicts itself: {len(vectors)} space directions for {dimension} axes"
        )
    axes: list[Float | None] = []
    for vector in vectors:
        # A fourth coordinate is time.
        of_space = [] if vector == "none" else [float(v) for v in vector[1:-1].split(",")][:3]
        axes.append(np.array(of_space) if any(of_space) and np.isfinite(of_space).all() else None)
    if sum(axis is not None for axis in axes) != 3 or {len(a) for a in axes if a is not None} != {
        3
    }:
        raise UnusableError(f"{_UNSAID} (space directions are not three vectors)")
    return axes


def _lps(fields: dict[str, str], rows: Float) -> Float:
    """`[3, 4]`, from the indices along the axes of space (rows: their vectors) to LPS mm."""
    space = fields.get("space", "").lower()
    signs = _LPS.get(_SHORT.get(space.removesuffix("t"), space.removesuffix("-time")))
    if signs is None:
        raise UnusableError(f"{_UNSAID} (its space is none of {', '.join(_LPS)})")
    names = [
        unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    ]
    units = (names or [""] * 3)[:3]
    if len(units) < 3 or not all(unit in _MM for unit in units):
        raise UnusableError(f"the space units are none of {', '.join(filter(None, _MM))}")
    if unit_axes(rows.T) is None:
        raise UnusableError("the header's axes are degenerate")
    if "spacings" in fields:
        said = [float(value) for value in fields["spacings"].split()]
        check_sizes(rows.T, np.array(said[:3]), "the header's space directions", "spacings")
    own = [unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("units", ""))][:3]
    if any(unit and _MM.get(unit) != _MM[units[0]] for unit in own):
        raise UnusableError("the header's units and space units contradict each other")
    origin = fields.get("spaceorigin", "(0,0,0)").strip("()").split(",")[:3]
    scale = np.array(signs) * [_MM[unit] for unit in units]
    lps: Float = np.column_stack([rows.T, [float(value) for value in origin]]) * scale[:, None]
    return lps


def _dtype(fields: dict[str, str]) -> np.dtype[Any]:
    name = fields["type"].lower()
    if name == "block":
        raise UnusableError("voxels are blocks of bytes, not numbers")
    dtype = np.dtype(_DTYPES[name])
    packed = fields["encoding"].lower() not in ("ascii", "text", "txt")
    if dtype.itemsize > 1 and packed:
        return np.dtype({"little": "<", "big": ">"}[fields["endian"].lower()] + _DTYPES[name])
    return dtype


def _values(header: Header, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """The voxels of all data files, in the order of the file."""
    fields = header.fields
    lines, skip = int(fields.get("lineskip", 0)), int(fields.get("byteskip", 0))
    encoding = fields["encoding"].lower()
    each = count * dtype.itemsize // len(header.data)
    parts = []
    for path in header.data:
        with Path(path).open("rb") as file:
            file.seek(header.start)
            for _ in range(lines):
                file.readline()
            content = file.read()
        if encoding in ("gzip", "gz"):
            content = gzip.decompress(content)
        elif encoding in ("bzip2", "bz2"):
            content = bz2.decompress(content)
        elif encoding == "hex":
            content = bytes.fromhex(content.decode("ascii"))
        elif encoding in ("ascii", "text", "txt"):
            numbers = re.split(rb"[\s,]+", content[max(skip, 0) :].strip())
            parts.append(np.array(numbers).astype(dtype))
            continue
        elif encoding != "raw":
            raise UnusableError("the encoding is none of raw, gzip, bzip2, hex and ascii")
        begin = len(content) - each if skip == -1 else skip
        if len(content) > begin + each:
            raise UnusableError(SURPLUS)
        parts.append(np.frombuffer(content, dtype, each // dtype.itemsize, offset=begin))
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(values) != count:
        raise UnusableError(_DAMAGED)
    return values
