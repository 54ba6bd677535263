"""Volumes that come as one grid of stored values with an affine, whatever the file format.

Direction comes from the header. A file whose header does not say how it lies in the patient is
refused: half of all such guesses would be upside-down, and slice order is the label. None of these
formats knows a patient or what its values mean, so `Series.patient` is empty and values that cannot
be HU are refused (`hu.HuScale`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hu import HuScale
from .orient import grid_to_volume
from .volume import UnusableError, Volume

SIZE_OFF = 0.01
"""How far two statements of one size may lie apart, as a share: more than rounding is a
contradiction.
"""

SURPLUS = (
    "the file holds more bytes than its header says: some came between the voxels, or the header "
    "is not theirs"
)


def hu_grid_to_volume(
    stored: NDArray[Any], lps: NDArray[np.float64], slope: float = 1.0, intercept: float = 0.0
) -> Volume:
    """A grid of stored values as a volume.

    lps: `[3, 4]`, from indices to mm in DICOM's LPS.

    Raises `UnusableError` when the values cannot be HU, or the axes are no grid of axial slices.
    """
    scale = HuScale()
    hu = scale.convert(stored, slope, intercept)
    return grid_to_volume(hu, lps[:, :3], lps[:, 3], warnings=scale.warnings())


def shape_3d(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape without trailing axes of length 1, checked before anything large is read."""
    if dtype.names or dtype.kind not in "iuf":
        raise UnusableError("values are colours or complex, not one number per voxel")
    volumes = int(np.prod(shape[3:]))
    if volumes != 1:
        raise UnusableError(f"{len(shape)}-D: {volumes} volumes; give one 3-D volume per file")
    if len(shape) < 3:
        raise UnusableError(f"{len(shape)}-D, not a volume")
    return shape[:3]


def unit_axes(axes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """`[3, 3]`, the columns with length 1; None where they span no space."""
    steps = np.linalg.norm(axes, axis=0)
    if not np.isfinite(axes).all() or (steps <= 0).any():
        return None
    unit: NDArray[np.float64] = axes / steps
    return unit if abs(np.linalg.det(unit)) >= 0.1 else None


def check_sizes(axes: NDArray[np.float64], sizes: NDArray[Any], whose: str, other: str) -> None:
    """Refuse a header that gives its axes one size and says another elsewhere.

    axes: `[3, 3]`, a column for each step. sizes: the three said elsewhere; what is not positive
    says nothing. Where axes are not at right angles (a tilted gantry), the size may be the step or
    the distance of the planes.

    Raises `UnusableError`; whose, other: what the two statements are called in it.
    """
    said = np.asarray(sizes, float)
    steps = np.linalg.norm(axes, axis=0)
    planes = 1 / np.linalg.norm(np.linalg.inv(axes), axis=1)
    off = np.minimum(abs(steps - said) / steps, abs(planes - said) / planes)
    if (off[np.isfinite(said) & (said > 0)] > SIZE_OFF).any():
        one, two = (" x ".join(f"{v:.4g}" for v in values) for values in (steps, said))
        raise UnusableError(f"{whose} and {other} disagree on the voxel's size: {one} and {two}")
