"""NIfTI: direction from the header, HU or nothing, one clear reason for a refusal."""

from __future__ import annotations

import csv
import gzip
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from ubr.pretrain.data import find
from ubr.pretrain.data.volume import UnusableError

from ...made.dicom import expected
from ...made.scans import CANONICAL, grid, only, refusal, save_nifti


@pytest.mark.parametrize("axes", permutations(range(3)))
def test_every_storage_order_and_flip_gives_the_same_volume(
    tmp_path: Path, axes: tuple[int, ...]
) -> None:
    """All 48 ways to store one grid: six orders of the axes here, eight flips each."""
    for flips in product([False, True], repeat=3):
        data, affine = grid(), CANONICAL.copy()
        for axis, flip in enumerate(flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
                affine[:3, axis] *= -1
                data = np.flip(data, axis)
        volume = only(save_nifti(tmp_path / "ct.nii", data.transpose(axes), affine[:, [*axes, 3]]))
        np.testing.assert_array_equal(volume.hu, expected())
        assert volume.spacing_mm == pytest.approx((5, 4, 4))
        np.testing.assert_allclose(volume.z_mm, 5.0 * np.arange(20), atol=1e-4)
        assert volume.warnings == ()


def test_scaled_and_float_values(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        only(save_nifti(tmp_path / "a.nii.gz", grid().astype(np.float32))).hu, expected()
    )
    for rest in (-0.4, 0.4):
        np.testing.assert_array_equal(
            only(save_nifti(tmp_path / "c.nii.gz", grid() + rest)).hu, expected()
        )
    stored = (grid() + 1000) * 2
    scaled = save_nifti(
        tmp_path / "b.nii.gz", stored, change=lambda header: header.set_slope_inter(0.5, -1000)
    )
    assert nib.load(scaled).dataobj.slope == 0.5
    np.testing.assert_array_equal(only(scaled).hu, expected())


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1.0), ("meter", 1e-3), ("micron", 1e3), ("unknown", 1.0)]
)
def test_units_become_mm(tmp_path: Path, unit: str, factor: float) -> None:
    affine = CANONICAL * np.array([[factor], [factor], [factor], [1]])
    volume = only(save_nifti(tmp_path / "ct.nii", grid(), affine, lambda h: h.set_xyzt_units(unit)))
    assert volume.spacing_mm == pytest.approx((5, 4, 4))


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid()[..., None])
    np.testing.assert_array_equal(only(path).hu, expected())


def test_a_sheared_affine_is_a_tilted_gantry(tmp_path: Path) -> None:
    affine = CANONICAL.copy()
    affine[1, 2] = 5 * np.tan(np.radians(20))
    volume = only(save_nifti(tmp_path / "ct.nii", grid(), affine, lambda h: h.set_qform(affine, 0)))
    assert volume.warnings == ("tilt: 0.0 degrees; slices moved in-plane by up to 34.6 mm",)
    assert volume.hu.shape == (20, 39, 40)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.stack([grid()] * 12, axis=-1), "4-D: 12 volumes; give one 3-D volume a file"),
        (grid()[:, :, 0], "2-D, not a volume"),
        (grid() / 1000.0 + 1, r"values 0..1.* are not HU: nothing is below -200"),
        (
            (grid() + 1024).astype(np.int16),
            r"values 24..\d+ are not HU: nothing is below -200, a CT holds air near -1000",
        ),
        (
            np.full(grid().shape, -1000, np.int16),
            "values -1000..-1000 are not HU: nothing is above -200",
        ),
        (grid() * 1000.0, r"values -1e\+06..\d.* are not HU: \d+% lie above 3071"),
        (np.where(grid() == -1000, np.nan, grid()), r"\d+ of 24000 values are NaN or infinite"),
        (np.where(grid() == 40, np.inf, grid()), r"\d+ of 24000 values are NaN or infinite"),
        (grid().astype(np.complex64), "not one number a voxel"),
    ],
)
def test_what_is_no_ct_volume_is_refused(tmp_path: Path, data: NDArray[Any], reason: str) -> None:
    path = save_nifti(tmp_path / "ct.nii.gz", data)
    with pytest.raises(UnusableError, match=reason):
        only(path)


def test_without_orientation_it_is_refused(tmp_path: Path) -> None:
    def forget(header: Any) -> None:
        header["sform_code"] = header["qform_code"] = 0

    path = tmp_path / "ct.nii"
    image = nib.Nifti1Image(grid(), None)
    forget(image.header)
    nib.save(image, path)
    assert "does not say how the image lies in the patient" in refusal(path)


def test_sform_and_qform_must_agree_on_direction(tmp_path: Path) -> None:
    image = nib.Nifti1Image(grid(), CANONICAL)
    image.set_sform(CANONICAL, 2)
    image.set_qform(CANONICAL @ np.diag([1, 1, -1, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    assert "sform and qform disagree" in refusal(tmp_path / "a.nii")
    image.set_qform(CANONICAL, 1)
    nib.save(image, tmp_path / "b.nii")
    np.testing.assert_array_equal(only(tmp_path / "b.nii").hu, expected())


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        ((1000, 1000, 1000), "a pixel of 4000 mm is not a CT's .* is the unit right"),
        ((1, 1, 40), "a slice step of 200 mm is not a CT's"),
        ((0.25, 2, 1), "axial pixels of 1.00 x 8.00 mm: these are thick coronal slices"),
        ((2, 0.25, 1), "axial pixels of 8.00 x 1.00 mm: these are thick sagittal slices"),
    ],
)
def test_impossible_sizes_are_refused(
    tmp_path: Path, scale: tuple[float, ...], reason: str
) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid(), CANONICAL @ np.diag([*scale, 1]))
    with pytest.raises(UnusableError, match=reason):
        only(path)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.99])
def test_truncated_nifti(tmp_path: Path, name: str, share: float) -> None:
    path = save_nifti(tmp_path / name, grid())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(path) == "damaged or truncated NIfTI file"


@pytest.mark.parametrize(
    "content", [b"hello" * 200, gzip.compress(b"hello" * 200), b"\x1f\x8b" + b"\0" * 500]
)
def test_what_only_calls_itself_nifti(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(content)
    assert refusal(tmp_path / "ct.nii.gz") == "damaged or truncated NIfTI file"


def test_uid_is_of_the_content_not_of_the_name(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", grid())
    (tmp_path / "b.nii").write_bytes((tmp_path / "a.nii").read_bytes())
    save_nifti(tmp_path / "c.nii", grid()[::-1])
    series, left = find.find_series([tmp_path])
    assert [Path(s.files[0]).name for s in series] == ["a.nii", "c.nii"]
    assert len({s.uid for s in series}) == 2
    assert [(Path(o.path).name, o.reason) for o in left] == [("b.nii", "a copy of another file")]


@pytest.mark.heavy
def test_every_real_nifti_is_taken(shared: Path) -> None:
    """Every file there is, and warnings where the file gives reason for one."""
    folders = [shared / "ct" / "torso", shared / "ct" / "headneck"]
    series, left = find.find_series(folders)
    assert left == []
    assert len(series) == sum(1 for folder in folders for _ in folder.rglob("*.nii.gz"))
    warned = {}
    for one in series:
        volume = find.read_volume(one)
        assert volume.hu.min() >= -1024
        if volume.warnings:
            warned[Path(one.files[0]).name] = volume.warnings
    assert warned["ge_head_dcm_qa_ct.nii.gz"] == ("tilt: 18.5 degrees",)
    assert all(
        w[0].startswith("clipped") for name, w in warned.items() if not name.startswith("ge_head")
    )


@pytest.mark.parametrize(
    "name",
    ["readii_NSCLC-Radiogenomics_R01-001", "fnndsc_LIDC-IDRI-0314", "gate_ct_bg_4mm_neck_to_thigh"],
)
def test_real_chests_lie_as_the_landmarks_say(shared: Path, name: str) -> None:
    """Landmarks were read by eye, counted from the head: lung between apex and liver dome, none 60
    mm below the dome; spine at the back; liver on the patient's right, which comes first.
    """
    with (shared / "ct" / "catalog.csv").open(newline="") as file:
        (row,) = (r for r in csv.DictReader(file) if name in r["file"])
    volume = only(shared / "ct" / row["file"])
    apex, dome = int(row["lung_apex"]), int(row["liver_dome"])
    below = dome + round(60 / volume.spacing_mm[0])
    _, height, width = volume.hu.shape
    middle = volume.hu[:, height // 4 : -height // 4, width // 4 : -width // 4]
    lung = ((middle > -950) & (middle < -600)).mean(axis=(1, 2))
    assert lung[(apex + dome) // 2] > 0.15
    assert lung[below : below + 3].mean() < 0.05
    rows = (volume.hu[apex:dome] > 400).any(axis=(0, 2)).nonzero()[0]
    spine = np.average(
        np.arange(height),
        weights=(volume.hu[apex:dome, :, width // 2 - 3 : width // 2 + 3] > 250).sum(axis=(0, 2)),
    )
    assert spine > rows.mean()
    liver = ((volume.hu[below] > 30) & (volume.hu[below] < 180)).sum(axis=0)
    assert liver[: width // 2].sum() > 1.1 * liver[width // 2 :].sum()
