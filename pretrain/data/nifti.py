"""NIfTI files, through nibabel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import hu_grid_to_volume, shape_3d
from .volume import Series, UnusableError, Volume

ENDINGS = (".nii", ".nii.gz")

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def read_nifti(series: Series) -> Volume:
    """A NIfTI-1 or -2 file.

    Where both sform and qform are set they must agree on the direction of the axes; sform counts.

    Raises `UnusableError` when the file is damaged, not 3-D, does not say how it lies in the
    patient, or holds no HU.
    """
    try:
        stored, slope, intercept, lps = _load_nifti(series.files[0])
    except (UnusableError, MemoryError):
        raise
    except Exception:  # nibabel raises whatever the broken bytes lead to
        raise UnusableError("damaged or truncated NIfTI file") from None
    return hu_grid_to_volume(stored, lps, slope, intercept)


def nifti_lps(image: Any) -> NDArray[np.float64]:
    """`[3, 4]`, from the indices of a NIfTI image to mm in DICOM's LPS.

    NIfTI's own axes run to the patient's right and front.
    """
    unit_mm = _MM[image.header.get_xyzt_units()[0]]
    return np.asarray(np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3] * unit_mm)


def _load_nifti(path: str) -> tuple[NDArray[Any], float, float, NDArray[np.float64]]:
    """Stored values, slope, intercept, and the `[3, 4]` affine from indices to LPS mm."""
    import nibabel as nib

    image: Any = nib.load(path)
    header = image.header
    shape = shape_3d(image.shape, header.get_data_dtype())
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
