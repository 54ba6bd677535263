"""CT volumes that come as one file: NIfTI through nibabel, NRRD and MetaImage through SimpleITK
(the extra `[itk]`).

Direction comes from the header. A file whose header does not say how it lies in the patient is
refused: half of all such guesses would be upside-down, and slice order is the label. None of these
formats knows a patient or what its values mean, so `Series.patient` is empty and values that cannot
be HU are refused (`hu.HuScale`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hu import HuScale
from .orient import grid_to_volume
from .volume import Series, UnusableError, Volume

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def digest(paths: Iterable[str]) -> str:
    """What makes files these files, whatever their names:

    blake2b over their bytes, 32 hexadecimal digits.
    """
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with Path(path).open("rb") as file:
            total.update(
                hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
            )
    return total.hexdigest()


def with_data(path: str) -> tuple[str, ...]:
    """The file, and the data file beside it that a detached header (.mhd, .nhdr) names."""
    if Path(path).suffix.lower() not in (".mhd", ".nhdr"):
        return (path,)
    with Path(path).open("rb") as file:
        named = re.search(
            rb"^(?:ElementDataFile *=|data ?file:) *([^\r\n]+)", file.read(1 << 16), re.MULTILINE
        )
    data = Path(path).parent / named[1].decode(errors="replace").strip() if named else None
    return (path, str(data)) if data and data.is_file() else (path,)


def read_nifti(series: Series) -> Volume:
    """A NIfTI-1 or -2 file. Where both sform and qform are set they must agree on the direction of
    the axes; sform counts.

    Raises `UnusableError` when the file is damaged, not 3-D, does not say how it lies in the
    patient, or holds no HU.
    """
    try:
        stored, slope, intercept, lps = _load_nifti(series.files[0])
    except (UnusableError, MemoryError):
        raise
    except Exception:  # nibabel raises whatever the broken bytes lead to
        raise UnusableError("damaged or truncated NIfTI file") from None
    return _volume(stored, slope, intercept, lps[:, :3], lps[:, 3])


def read_itk(series: Series) -> Volume:
    """An NRRD or MetaImage file, through SimpleITK.

    Raises `UnusableError` when SimpleITK is not installed, the file is damaged, not 3-D, does not
    say how it lies in the patient, or holds no HU.
    """
    try:
        import SimpleITK
    except ImportError:
        raise UnusableError(
            'reading NRRD and MetaImage needs SimpleITK: pip install "ubr-pretrain[itk]"'
        ) from None
    path = series.files[0]
    _check_itk_geometry(path)
    try:
        image: Any = SimpleITK.ReadImage(path)
    except RuntimeError:
        raise UnusableError("damaged or truncated file, or not what its ending says") from None
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UnusableError(f"{image.GetNumberOfComponentsPerPixel()} values a voxel, not one")
    stored = SimpleITK.GetArrayViewFromImage(image).T
    stored = stored.reshape(_three(stored.shape, stored.dtype))
    dimension = image.GetDimension()
    axes = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3] * np.array(
        image.GetSpacing()[:3]
    )
    return _volume(stored, 1.0, 0.0, axes, np.array(image.GetOrigin()[:3]))


def _load_nifti(path: str) -> tuple[NDArray[Any], float, float, NDArray[np.float64]]:
    """Stored values, slope, intercept, and the `[3, 4]` affine from indices to LPS mm."""
    import nibabel as nib

    image: Any = nib.load(path)
    header = image.header
    shape = _three(image.shape, header.get_data_dtype())
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        raise UnusableError(
            "the NIfTI header does not say how the image lies in the patient (sform and qform "
            "codes are 0)"
        )
    directions: Any = nib.aff2axcodes
    if sform and qform and directions(image.get_sform()) != directions(image.get_qform()):
        raise UnusableError(
            "the NIfTI header's sform and qform disagree on the direction of the axes"
        )
    stored = np.asanyarray(image.dataobj.get_unscaled()).reshape(shape)
    return stored, float(image.dataobj.slope), float(image.dataobj.inter), nifti_lps(image)


def nifti_lps(image: Any) -> NDArray[np.float64]:
    """`[3, 4]`, from the indices of a NIfTI image to mm in DICOM's LPS.

    NIfTI counts to the right and the front.
    """
    return np.asarray(
        np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3] * _MM[image.header.get_xyzt_units()[0]]
    )


def _volume(
    stored: NDArray[Any], slope: float, intercept: float, axes: NDArray[Any], origin: NDArray[Any]
) -> Volume:
    scale = HuScale()
    hu = scale.convert(stored, slope, intercept)
    return grid_to_volume(hu, axes, origin, warnings=scale.warnings())


def _three(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape without trailing axes of length 1, checked before anything large is read."""
    if dtype.names or dtype.kind not in "iuf":
        raise UnusableError("values are colours or complex, not one number a voxel")
    volumes = int(np.prod(shape[3:]))
    if volumes != 1:
        raise UnusableError(f"{len(shape)}-D: {volumes} volumes; give one 3-D volume a file")
    if len(shape) < 3:
        raise UnusableError(f"{len(shape)}-D, not a volume")
    return shape[:3]


def _check_itk_geometry(path: str) -> None:
    """ITK puts an image without a direction into the patient as if it had one."""
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
    is_nrrd = Path(path).suffix.lower() in (".nrrd", ".nhdr")
    said = (
        (b"\nspace directions:",) if is_nrrd else (b"TransformMatrix", b"Orientation", b"Rotation")
    )
    if not any(word in head for word in said):
        raise UnusableError(
            "the header does not say how the image lies in the patient (no "
            f"{said[0].decode().strip().rstrip(':')})"
        )
