"""Slices of a scan as a NIfTI image of their own, every voxel in its place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.find import silence
from ..data.nifti import NiftiImage, nifti_lps, nifti_qform, open_nifti
from ..data.volume import Volume

EVEN_MM = 0.1
"""A NIfTI file holds one slice step; no slice may lie further than this from where the step puts
it.
"""


def check_place(volume: Volume, called: str) -> None:
    """Raise `ValueError` where a volume's slices are not the file's own. called: the scan."""
    if volume.place is None:
        why = "; ".join(w for w in volume.warnings if w.startswith(("oblique", "ungeometric")))
        raise ValueError(
            f"{called} is not sliced along the patient's axes ({why}); resample it to them first"
        )


def part_of_nifti(files: Sequence[str], volume: Volume, window: slice) -> Any:
    """Slices of a NIfTI file or pair, for one file. Stored values and header stay as they are,
    except size and origin.
    """
    with silence(), open_nifti(files) as image:
        return _part(image, volume, window)


def _part(image: NiftiImage, volume: Volume, window: slice) -> Any:
    axis, first, step = slice_axis(nifti_lps(image.header), volume)
    ends = [first + step * window.start, first + step * (window.stop - 1)]
    start, stop = min(ends), max(ends) + 1
    header = image.header.copy()
    moved = np.eye(4)
    moved[axis, 3] = start
    # Only the origins change: nibabel's own slicer would write another sform code and drop the
    # qform.
    for name, value in zip(
        ("srow_x", "srow_y", "srow_z"), header.get_sform()[:3] @ moved[:, 3], strict=True
    ):
        header[name][3] = value
    qform = nifti_qform(header)
    if qform is not None:  # else its numbers mean nothing
        for name, value in zip(
            ("qoffset_x", "qoffset_y", "qoffset_z"),
            qform @ moved[:, 3],
            strict=True,
        ):
            header[name] = value
    stored = image.stored.get_unscaled()[(slice(None),) * axis + (slice(start, stop),)]
    part = _single(image.kind)(stored, None, header)
    part.header.set_slope_inter(image.stored.slope, image.stored.inter)
    return part


def _single(kind: Any) -> Any:
    """nibabel's class for one file instead of a pair.

    Where nibabel itself makes one of a pair as it saves, slope and intercept are lost.
    """
    import nibabel as nib

    return {nib.Nifti1Pair: nib.Nifti1Image, nib.Nifti2Pair: nib.Nifti2Image}.get(kind, kind)


def slice_axis(lps: NDArray[np.float64], volume: Volume) -> tuple[int, int, int]:
    """The array axis of a grid along which the volume's slices lie, the index of the first one, and
    the step (+1 or -1) to the next one.
    """
    assert volume.place is not None
    volume_to_grid = np.linalg.inv(np.vstack([lps, [0, 0, 0, 1]])) @ np.vstack(
        [volume.place, [0, 0, 0, 1]]
    )
    # Rows and columns run along the other two axes.
    axis = int(np.abs(volume_to_grid[:3, :2]).sum(axis=1).argmin())
    return axis, round(volume_to_grid[axis, 3]), int(np.sign(volume_to_grid[axis, 2]))


def part_of_volume(volume: Volume, window: slice) -> Any:
    """Slices of a volume as NIfTI: x to the left, y to the back, z to the feet."""
    import nibabel as nib

    assert volume.place is not None
    z_mm = volume.z_mm[window]
    step = float(z_mm[-1] - z_mm[0]) / (len(z_mm) - 1) if len(z_mm) > 1 else volume.spacing_mm[0]
    off = np.abs(z_mm - z_mm[0] - step * np.arange(len(z_mm))).max()
    if off > EVEN_MM:
        steps = np.diff(z_mm)
        raise ValueError(
            f"the kept slices lie {steps.min():.2f} to {steps.max():.2f} mm apart, but NIfTI "
            "allows only one step; resample the scan first"
        )
    lps = np.vstack(
        [
            volume.place
            @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, step, z_mm[0]], [0, 0, 0, 1]]),
            [0, 0, 0, 1],
        ]
    )
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    nifti: Any = nib.Nifti1Image
    image = nifti(np.ascontiguousarray(volume.hu[window].transpose(2, 1, 0)), ras)
    image.set_sform(ras, code="scanner")
    image.set_qform(ras, code="scanner")
    image.header.set_xyzt_units("mm")
    return image
