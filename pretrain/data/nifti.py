"""NIfTI files, single or in pairs (`.hdr` and `.img`), through nibabel.

How a file is packed follows from its first bytes, not from its name. Packed files are read to
their end, for only there stands the checksum.
"""

from __future__ import annotations

import bz2
import gzip
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .affine import SURPLUS, check_sizes, hu_grid_to_volume, shape_3d, unit_axes
from .volume import Series, UnusableError, Volume

ENDINGS = (".nii", ".nii.gz", ".nii.bz2")
PAIRS = (".hdr", ".hdr.gz", ".img", ".img.gz")
"""Endings of pairs. Other formats have them too, so the header's first bytes decide."""
IMAGES = (".img", ".img.gz")
NO_HEADER = "no DICOM, and the .hdr that belongs to an .img is not beside it"

TURN_DEG = 3.0
"""How far sform and qform may be turned against each other: a quaternion that was rounded to three
decimals is off by 2 degrees.
"""
LONGER, FLOAT_OFF = 0.01, 2e-7
"""How far beyond 1 a quaternion may be: by a writer's rounding, and by that of float32."""

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""mm in the header's unit of length: unknown, m, mm, micrometres."""

Float = NDArray[np.float64]


def nifti_files(path: str) -> tuple[str, ...]:
    """The files of the image that a file belongs to, the header first.

    Empty where the file is neither NIfTI nor Analyze 7.5, by its ending and the header's size.
    """
    if path.lower().endswith(ENDINGS):
        return (path,)
    if not path.lower().endswith(PAIRS):
        return ()
    stem = re.sub(r"\.(hdr|img)(\.gz)?$", "", path, flags=re.IGNORECASE)
    header, image = (
        next((p for p in (stem + end, stem + end.upper()) if Path(p).is_file()), None)
        or next(
            (p for p in (f"{stem}{end}.gz", f"{stem}{end.upper()}.GZ") if Path(p).is_file()), ""
        )
        for end in (".hdr", ".img")
    )
    if not header:
        return ()
    try:
        with _unpacked(header) as file:
            known = _header_size(file.read(4)) != 0
    except (OSError, EOFError, zlib.error):
        return ()
    return tuple(p for p in (header, image) if p) if known else ()


def read_nifti(series: Series) -> Volume:
    """A NIfTI-1 or -2 file, or a pair of files.

    Where both sform and qform are set they must agree on the direction of the axes, and sform with
    pixdim on their size; sform counts.

    Raises `UnusableError` when the file is damaged, not 3-D, does not say how it lies in the
    patient or contradicts itself there, or holds no HU.
    """
    try:
        with open_nifti(series.files) as image:
            shape = shape_3d(image.header.get_data_shape(), image.header.get_data_dtype())
            lps = nifti_lps(image.header)
            without_sform = int(image.header["sform_code"]) > 0 and _sform(image.header) is None
            stored = np.asanyarray(image.stored.get_unscaled()).reshape(shape)
            _check_surplus(series.files[-1], image)
            slope, intercept = float(image.stored.slope), float(image.stored.inter)
    except (UnusableError, MemoryError):
        raise
    except Exception:  # nibabel raises whatever the broken bytes lead to
        raise UnusableError("damaged or truncated NIfTI file") from None
    volume = hu_grid_to_volume(stored, lps, slope, intercept)
    if not without_sform:
        return volume
    told = "transform: the header's sform is no valid transform; the qform was taken"
    return replace(volume, warnings=(*volume.warnings, told))


def _check_surplus(path: str, image: NiftiImage) -> None:
    """Refuse voxels among which bytes came. Of packed files a checksum tells that."""
    stored, size = image.stored, Path(path).stat().st_size
    with _unpacked(path) as file:
        packed = not isinstance(file, io.BufferedReader)
    values = math.prod(stored.shape) * stored.dtype.itemsize
    if not packed and size > int(stored.offset) + values:
        raise UnusableError(SURPLUS)


@dataclass(frozen=True)
class NiftiImage:
    """What nibabel's images hold, which cannot be made where a quaternion is off by rounding.

    kind: nibabel's class for it. header: its header. stored: its values (`get_unscaled`, `slope`,
    `inter`), not read yet.
    """

    kind: Any
    header: Any
    stored: Any


@contextmanager
def open_nifti(files: Sequence[str]) -> Iterator[NiftiImage]:
    """A NIfTI file or pair; its values are to be read inside.

    Raises `UnusableError` for what is no complete NIfTI image, `OSError` or `EOFError` for a packed
    file whose checksum is wrong, and what nibabel raises for other damage.
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(_unpacked(path)) for path in files]
        try:
            yield _image(streams)
        finally:  # a wrong checksum is a truer reason than what follows from the wrong bytes
            for stream in streams:
                while not isinstance(stream, io.BufferedReader) and stream.read(1 << 20):
                    pass


def _image(streams: Sequence[IO[bytes]]) -> NiftiImage:
    from nibabel import arrayproxy

    kind = _image_class(streams[0].read(348))
    single = "Pair" not in kind.__name__
    if not single and len(streams) == 1:
        raise UnusableError("the header of a NIfTI pair; the .img is not beside the .hdr")
    streams[0].seek(0)
    header = kind.header_class.from_fileobj(streams[0], check=True)
    streams[0].seek(0)
    raw = kind.header_class.from_fileobj(streams[0], check=False)
    # nibabel mends headers as it reads them: a pixdim of 0 becomes 1.
    for name in ("pixdim", "sform_code", "qform_code"):
        header[name] = raw[name]
    if single and header.get_data_offset() == 0:  # nibabel refuses other offsets that are too low
        raise UnusableError("the NIfTI header says that the values begin inside it (vox_offset 0)")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope and math.isfinite(slope) and not math.isfinite(intercept):
        raise UnusableError(
            "the NIfTI header has a slope, and an intercept that is no number (scl_inter "
            f"{intercept})"
        )
    proxy: Any = arrayproxy.ArrayProxy
    return NiftiImage(kind, header, proxy(streams[0 if single else 1], header))


def nifti_lps(header: Any) -> Float:
    """`[3, 4]`, from the indices of a NIfTI image with this header to mm in DICOM's LPS.

    NIfTI's own axes run to the patient's right and front.

    Raises `UnusableError` when the header does not say it, or contradicts itself.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM:
        raise UnusableError(f"the NIfTI header's unit of length is {unit}; known are 0 to 3")
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise UnusableError(
            "the NIfTI header does not give the image's orientation in the patient (sform and "
            "qform codes are 0)"
        )
    sform, qform = _sform(header), nifti_qform(header)
    if sform is not None:
        check_sizes(
            sform[:, :3], np.abs(header["pixdim"][1:4]), "the NIfTI header's sform", "pixdim"
        )
    if sform is not None and qform is not None and not _same_directions(sform, qform):
        raise UnusableError(
            "the NIfTI header's sform and qform disagree on the direction of the axes"
        )
    ras = sform if sform is not None else qform
    if ras is None:
        raise UnusableError(
            "the NIfTI header does not give the image's orientation in the patient (neither "
            "sform nor qform is a transform)"
        )
    return np.asarray(np.diag([-1.0, -1.0, 1.0]) @ ras * _MM[unit])


def nifti_qform(header: Any) -> Float | None:
    """`[3, 4]`, the qform in the header's own axes and unit; None where it is not set or none.

    A quaternion that is longer than 1 is no rotation, so beside an sform it says nothing. Alone it
    is shortened where rounding may have made it so, as NIfTI's own library does.
    """
    from nibabel import quaternions

    rotation: Any = quaternions.quat2mat
    bcd = np.array([header[f"quatern_{axis}"] for axis in "bcd"], float)
    origin = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], float)
    mm = np.abs(np.asarray(header["pixdim"][1:4], float))
    length = float(np.linalg.norm(bcd))
    finite = np.isfinite([*bcd, *origin, *mm]).all()
    if int(header["qform_code"]) <= 0 or not finite or not (mm > 0).all():
        return None
    if length > (1 + LONGER if _sform(header) is None else 1 + FLOAT_OFF):
        return None
    rest = 1 - length**2
    quaternion = [np.sqrt(rest), *bcd] if rest > 1e-7 else [0.0, *(bcd / length)]
    handed = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    return np.column_stack([rotation(quaternion) * mm * [1.0, 1.0, handed], origin])


def _sform(header: Any) -> Float | None:
    """`[3, 4]`, the sform; None where it is not set or no transform."""
    rows = np.array([header[f"srow_{axis}"] for axis in "xyz"], float)
    if int(header["sform_code"]) <= 0:
        return None
    if not np.isfinite(rows).all() or unit_axes(rows[:, :3]) is None:
        return None
    return rows


def _same_directions(sform: Float, qform: Float) -> bool:
    """Whether both run along the same axes, but for shear, which a quaternion cannot hold."""
    one, other = unit_axes(sform[:, :3]), unit_axes(qform[:, :3])
    assert one is not None and other is not None
    shear = np.abs(np.triu(one.T @ one, 1)).max()
    apart = np.degrees(np.arccos(np.clip((one * other).sum(axis=0), -1, 1)))
    return bool(apart.max() <= TURN_DEG + np.degrees(np.arcsin(min(1.0, shear))))


def _unpacked(path: str) -> IO[bytes]:
    """The file's bytes, unpacked where it begins as gzip or bzip2 does."""
    with Path(path).open("rb") as file:
        start = file.read(3)
    opener: Any = Path.open
    if start[:2] == b"\x1f\x8b":
        opener = gzip.open
    elif start == b"BZh":
        opener = bz2.open
    stream: IO[bytes] = opener(Path(path), "rb")
    return stream


def _header_size(start: bytes) -> int:
    """What a header says of its own size, in either order of bytes: 348, 540, or 0 for others."""
    sizes = struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4]) if start[3:] else ()
    return next((size for size in sizes if size in (348, 540)), 0)


def _image_class(start: bytes) -> Any:
    """nibabel's class for a header with these first 348 bytes."""
    import nibabel as nib

    size = _header_size(start)
    magic = start[4:8] if size == 540 else start[344:348]
    classes: dict[bytes, Any] = {
        b"n+1\0": nib.Nifti1Image,
        b"ni1\0": nib.Nifti1Pair,
        b"n+2\0": nib.Nifti2Image,
        b"ni2\0": nib.Nifti2Pair,
    }
    if magic in classes:
        return classes[magic]
    if size == 348 and len(start) == 348:
        raise UnusableError(
            "an Analyze 7.5 image: its header does not give the orientation in the patient"
        )
    raise UnusableError("damaged or truncated NIfTI file")
