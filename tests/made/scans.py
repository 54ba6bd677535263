"""The made-up body as NIfTI, and what the readers make of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from ubr.pretrain.data import find
from ubr.pretrain.data.volume import UnusableError, Volume

from .dicom import X, Y, Z, expected

CANONICAL = np.array([[-4.0, 0, 0, -X[0]], [0, -4.0, 0, -Y[0]], [0, 0, -5.0, Z[0]], [0, 0, 0, 1]])
"""RAS affine of `grid()`, whose axes are x, y, z in the project's directions."""


def grid() -> NDArray[np.int16]:
    """The body as NIfTI holds it."""
    return expected().transpose(2, 1, 0)


def turned(
    data: NDArray[Any], affine: NDArray[Any], axes: Sequence[int], flips: Sequence[bool]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same voxels in the same places, with axes flipped and then in another order."""
    affine = affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis)
    return data.transpose(axes), affine[:, [*axes, 3]]


def save_nifti(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[Any] = CANONICAL,
    change: Callable[[Any], None] | None = None,
) -> Path:
    """Write a NIfTI file. change: edits its header before."""
    image = nib.Nifti1Image(data, affine)
    if change:
        change(image.header)
    nib.save(image, path)
    return path


def save_volume(path: Path, hu: NDArray[np.int16] | None = None) -> Path:
    """Write HU `[z, y, x]` in the project's axes, the body by default, as NIfTI."""
    return save_nifti(path, grid() if hu is None else hu.transpose(2, 1, 0))


def cut(path: Path, share: float) -> None:
    """Keep the first part of a file only."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def only(path: Path) -> Volume:
    """The volume of the one series in a file or folder."""
    (series,), _ = find.find_series([path])
    return find.read_volume(series)


def refusal(path: Path) -> str:
    """Why the one series of a file or folder cannot be read."""
    with pytest.raises(UnusableError) as caught:
        only(path)
    assert str(path) not in str(caught.value)
    return str(caught.value)


def reasons(folder: Path) -> list[str]:
    """Why files in a folder gave no series."""
    return [left.reason for left in find.find_series([folder])[1]]


def codes(volume: Volume) -> list[str]:
    """The codes of a volume's warnings."""
    return [warning.partition(":")[0] for warning in volume.warnings]
