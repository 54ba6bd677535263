"""NRRD and MetaImage files. MetaImage is read through SimpleITK (the extra `[itk]`).

ITK assumes DICOM's axes for a MetaImage without a direction, and reads a negative spacing as a
rotation; it ignores units, and an absurd dimension crashes the process. The header is therefore
checked first.
"""

from __future__ import annotations

import math
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common.optional import optional
from . import nrrd
from .affine import SIZE_OFF, SURPLUS, hu_grid_to_volume, shape_3d
from .volume import Series, UnusableError, Volume

ENDINGS = (*nrrd.ENDINGS, ".mha", ".mhd")

_MATRICES = ("TransformMatrix", "Orientation", "Rotation")
"""Names of one and the same thing."""
_MM = {"mm": 1.0, "um": 0.001, "cm": 10.0, "?": 1.0}
_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a voxel, by `ElementType` without MET_ and U."""
_UNSAID = "the header does not give the image's orientation in the patient"
_DAMAGED = "damaged or truncated file, or not what its ending says"

Float = NDArray[np.float64]


def with_data(path: str) -> tuple[str, ...]:
    """The file, and the data files beside it that its header names."""
    try:
        if path.lower().endswith(nrrd.ENDINGS):
            named = nrrd.read_header(path).data
        else:
            named = _meta_header(path).data
    except UnusableError:  # reading it tells why
        return (path,)
    return (path, *(data for data in named if data != path and Path(data).is_file()))


def read_itk(series: Series) -> Volume:
    """An NRRD or MetaImage file.

    Raises `UnusableError` when the file is damaged, not 3-D, does not say how it lies in the
    patient or contradicts itself there, or holds no HU; for MetaImage also when SimpleITK is not
    installed.
    """
    path = series.files[0]
    if path.lower().endswith(nrrd.ENDINGS):
        return hu_grid_to_volume(*nrrd.read_grid(path))
    return _read_metaimage(path)


def _meta_header(path: str) -> nrrd.Header:
    """The fields of a MetaImage's header, which ends with the name of its data.

    Raises `UnusableError` if it is not a header, says something twice, or as `nrrd.data_files`.
    """
    fields: dict[str, str] = {}
    with Path(path).open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(1 << 16).decode("utf-8", "surrogateescape")
            field = re.match(r"\s*(\w+)\s*[=:]\s*(.*?)\s*$", line)
            if not line or (not field and line.strip()):
                raise UnusableError(_DAMAGED)
            if field and fields.setdefault(field[1], field[2]) != field[2] != "":
                raise UnusableError("the header contradicts itself: a field is given twice")
        start = file.tell()
        named = fields["ElementDataFile"]
        if named.upper() == "LOCAL":
            return nrrd.Header(fields, (path,), start)
        listed = [named]
        if named.upper().startswith("LIST"):
            lines = file.read(1 << 24).decode("utf-8", "surrogateescape").splitlines()
            listed = [line.strip() for line in lines if line.strip()]
    listed = nrrd.numbered(named) or listed
    return nrrd.Header(fields, nrrd.data_files(path, listed), 0)


def _read_metaimage(path: str) -> Volume:
    try:
        sitk = optional("SimpleITK", extra="itk", purpose="reading MetaImage")
    except ValueError as error:
        raise UnusableError(str(error)) from None
    header = _meta_header(path)
    unit = _check_geometry(header.fields)
    size = _size(header.fields)
    nrrd.check_data(header)
    _check_bytes(header, size)
    try:
        path.encode()  # what fails here ends the process in SimpleITK
        with _unsaid():
            image: Any = sitk.ReadImage(path)
    except UnicodeEncodeError:
        raise UnusableError(
            "SimpleITK opens no MetaImage whose path is not UTF-8; rename the file or its folder"
        ) from None
    except RuntimeError:
        raise UnusableError(_DAMAGED) from None
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UnusableError(f"{image.GetNumberOfComponentsPerPixel()} values per voxel, not one")
    stored = sitk.GetArrayViewFromImage(image).T
    if stored.nbytes != size:
        raise UnusableError(_DAMAGED)
    stored = stored.reshape(shape_3d(stored.shape, stored.dtype))
    dimension = image.GetDimension()
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    axes = directions * np.array(image.GetSpacing()[:3])
    return hu_grid_to_volume(stored, np.column_stack([axes, image.GetOrigin()[:3]]) * unit)


def _check_geometry(fields: dict[str, str]) -> float:
    """mm in the header's unit.

    Raises `UnusableError` for a header that does not say how the image lies and how large it is, or
    says it in two ways.
    """
    stated = [name for name in _MATRICES if name in fields]
    if not stated:
        raise UnusableError(f"{_UNSAID} (no {_MATRICES[0]})")
    matrix, *others = (_numbers(fields, name) for name in stated)
    dimension = round(len(matrix) ** 0.5)
    if (
        dimension**2 != len(matrix)
        or dimension < 3
        or any(m.tolist() != matrix.tolist() for m in others)
    ):
        raise UnusableError(
            f"the header contradicts itself: {' and '.join(stated)} should be one matrix, with "
            "the dimension of the image"
        )
    axes = matrix.reshape(dimension, dimension)[:3, :3]  # a row for each axis of the array
    lengths = np.linalg.norm(axes, axis=1)
    if not np.isfinite(axes).all() or (abs(lengths - 1) > SIZE_OFF).any():
        raise UnusableError(
            f"the header contradicts itself: {stated[0]} has axes of length "
            f"{' x '.join(f'{v:.4g}' for v in lengths)}, and sizes stand in ElementSpacing"
        )
    said = next((name for name in ("ElementSpacing", "ElementSize") if name in fields), "")
    if not said:
        raise UnusableError("the header does not say how large a voxel is (no ElementSpacing)")
    if len(spacing := _numbers(fields, said)) != dimension:
        raise UnusableError(f"{said} has {len(spacing)} numbers for {dimension} axes")
    if not (spacing > 0).all():
        raise UnusableError(f"{said} is {fields[said]}: sizes are above 0")
    if fields.get("DistanceUnits", "mm") not in _MM:
        raise UnusableError(f"DistanceUnits is none of {', '.join(_MM)}")
    if not _is_anatomical(fields.get("AnatomicalOrientation", ""), axes):
        raise UnusableError(
            f"the header's {stated[0]} and AnatomicalOrientation disagree on where the head is"
        )
    return _MM[fields.get("DistanceUnits", "mm")]


def _is_anatomical(letters: str, axes: Float) -> bool:
    """Whether AnatomicalOrientation, where it says something, agrees on the head.

    RAI means from the right, the front and below in ITK, and towards them elsewhere; the latter is
    believed where all three letters say so. What is left and right is not asked: writers often put
    RAI whatever the matrix is.
    """
    ways = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "I": (2, 1), "S": (2, -1)}
    told = [ways[letter] for letter in letters[:3].upper() if letter in ways]
    if len(told) < 3:
        return True
    agree = [bool(row[axis] * sign > 0) for row, (axis, sign) in zip(axes, told, strict=True)]
    head = next((a for a, (axis, _) in zip(agree, told, strict=True) if axis == 2), True)
    return head or not any(agree)


def _numbers(fields: dict[str, str], name: str) -> Float:
    try:
        return np.array([float(value) for value in fields[name].split()])
    except KeyError:
        raise UnusableError(f"the header has no {name}") from None
    except ValueError:
        raise UnusableError(f"{name} holds something else than numbers") from None


def _size(fields: dict[str, str]) -> int:
    """Bytes of all voxels.

    Raises `UnusableError` where the header does not say how many there are.
    """
    sizes, dimension = _numbers(fields, "DimSize"), _numbers(fields, "NDims")
    kind = fields.get("ElementType", "").upper().removeprefix("MET_").replace("U", "", 1)
    wrong = dimension.tolist() != [len(sizes)] or not ((sizes >= 1) & (sizes % 1 == 0)).all()
    if wrong or kind not in _BYTES:
        raise UnusableError(
            "the header does not say how many voxels of what type there are (NDims, DimSize, "
            "ElementType)"
        )
    if fields.get("BinaryData", "True").lower() not in ("true", "1"):
        raise UnusableError("BinaryData is not True: voxels written as text are not read")
    count = math.prod(map(int, sizes)) * _BYTES[kind]
    channels = fields.get("ElementNumberOfChannels", "1")
    return count * int(channels) if re.fullmatch("[1-9]", channels) else count


def _check_bytes(header: nrrd.Header, size: int) -> None:
    """Refuse voxels of another size than the header's.

    SimpleITK gives what lay in memory where there are fewer, and others where bytes came between.
    """
    if header.fields.get("CompressedData", "").lower() in ("true", "1"):
        there, skips = sum(_unpacked_bytes(d, header.start, size) for d in header.data), False
    else:
        there = sum(Path(data).stat().st_size - header.start for data in header.data)
        skips = header.fields.get("HeaderSize", "0") != "0"  # SimpleITK skips another header
    if there < size:
        raise UnusableError(_DAMAGED)
    if there > size and not skips:
        raise UnusableError(SURPLUS)


def _unpacked_bytes(path: str, start: int, most: int) -> int:
    """How many bytes packed voxels have. More than `most` are not counted to their end, so their
    checksum is not seen.

    SimpleITK gives whatever came out of a stream with a wrong checksum; it knows no second stream
    after the first.

    Raises `UnusableError` when the checksum is wrong.
    """
    unpack, size = zlib.decompressobj(wbits=47), 0
    try:
        with Path(path).open("rb") as file:
            file.seek(start)
            while not unpack.eof and size <= most:
                packed = unpack.unconsumed_tail or file.read(1 << 20)
                if not packed:
                    raise UnusableError(_DAMAGED)
                size += len(unpack.decompress(packed, 1 << 24))
    except zlib.error:
        raise UnusableError(_DAMAGED) from None
    return size


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep what compiled code prints on standard error from the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
