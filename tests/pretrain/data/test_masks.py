"""Masks of organs: values, labels, and where they end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.made.masks import ras, save, save_labels
from ubr.pretrain.data.masks import extent_mm, mask_name, read_mask_grid
from ubr.pretrain.data.volume import UnusableError

ALONG = np.array([0.0, 0.0, 2.0, -10.0])


def ball(*centre: int, radius: int, size: int = 24) -> np.ndarray:
    far = [(axis - at) ** 2 for axis, at in zip(np.indices((size,) * 3), centre, strict=True)]
    return np.asarray(sum(far) <= radius**2)


def test_extent__is_that_of_the_outermost_voxels_along_any_axis() -> None:
    mask = ball(8, 9, 10, radius=5)
    assert extent_mm(mask, ALONG) == (2 * 5 - 10, 2 * 15 - 10)
    for along in ([1.0, 0, 0, 0], [0.6, 0.0, -0.8, 3.0], [0.2, -0.5, 0.7, 0.0]):
        at = np.argwhere(mask) @ np.array(along[:3]) + along[3]
        assert extent_mm(mask, np.array(along)) == pytest.approx((at.min(), at.max()))
    assert extent_mm(np.zeros((3, 3, 3), bool), ALONG) is None


def test_extent__a_stray_piece_does_not_count_and_a_smaller_bone_does() -> None:
    mask = ball(8, 9, 8, radius=6)
    mask[20, 20, 22:] = True
    assert extent_mm(mask, ALONG) == (-6, 18)
    assert extent_mm(mask | ball(8, 9, 19, radius=2), ALONG) == (-6, 32)


def test_grid__labels_have_the_names_of_the_table_in_the_header(tmp_path: Path) -> None:
    one, other = ball(5, 5, 5, radius=3), ball(15, 15, 15, radius=3)
    save_labels(tmp_path / "a.nii.gz", {"liver": one, "hip_left": other}, ras((2.0, 1.0, 1.0)))
    grid = read_mask_grid(tmp_path / "a.nii.gz")
    assert grid.names == {1: "liver", 2: "hip_left"}
    assert np.array_equal(grid.mask(2), other) and np.array_equal(grid.mask(None), one | other)
    save(tmp_path / "b.nii", np.where(one, np.float32(0.9999), 0), ras((2.0, 1.0, 1.0)))
    grid = read_mask_grid(tmp_path / "b.nii")
    assert grid.names == {} and np.array_equal(grid.mask(1), one)


def test_grid__a_damaged_file_is_told_without_its_path(tmp_path: Path) -> None:
    path = save(
        tmp_path / "liver.nii.gz", ball(5, 5, 5, radius=3).astype(np.uint8), ras((2.0, 1.0, 1.0))
    )
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnusableError, match=r"^damaged or truncated NIfTI file$"):
        read_mask_grid(path)


def test_mask_name__is_that_of_a_nifti_file() -> None:
    names = [mask_name(Path("a") / name) for name in ("liver.nii.gz", "hip.nii", "x.csv", "y.gz")]
    assert names == ["liver", "hip", "", ""]
