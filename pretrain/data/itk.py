"""NRRD and MetaImage files, through SimpleITK (the extra `[itk]`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ubr.weights.common.optional import optional

from .affine import hu_grid_to_volume, shape_3d
from .volume import Series, UnusableError, Volume

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")


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


def read_itk(series: Series) -> Volume:
    """An NRRD or MetaImage file, through SimpleITK.

    Raises `UnusableError` when SimpleITK is not installed, the file is damaged, not 3-D, does not
    say how it lies in the patient, or holds no HU.
    """
    try:
        sitk = optional("SimpleITK", extra="itk", purpose="reading NRRD and MetaImage")
    except ValueError as error:
        raise UnusableError(str(error)) from None
    path = series.files[0]
    _check_orientation(path)
    try:
        image: Any = sitk.ReadImage(path)
    except RuntimeError:
        raise UnusableError("damaged or truncated file, or not what its ending says") from None
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UnusableError(f"{image.GetNumberOfComponentsPerPixel()} values a voxel, not one")
    stored = sitk.GetArrayViewFromImage(image).T
    stored = stored.reshape(shape_3d(stored.shape, stored.dtype))
    dimension = image.GetDimension()
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    axes = directions * np.array(image.GetSpacing()[:3])
    return hu_grid_to_volume(stored, np.column_stack([axes, image.GetOrigin()[:3]]))


def _check_orientation(path: str) -> None:
    """Refuse an image without a direction: ITK places it in the patient as if it had one."""
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
