"""NIfTI: direction from the header, HU or nothing, one clear reason for a refusal."""

from __future__ import annotations

import bz2
import csv
import gzip
import shutil
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
        (np.stack([grid()] * 12, axis=-1), "4-D: 12 volumes; give one 3-D volume per file"),
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
        (grid().astype(np.complex64), "not one number per voxel"),
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
    assert "does not give the image's orientation in the patient" in refusal(path)


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
        ((1000, 1000, 1000), "a pixel of 4000 mm is not plausible for CT .*; check the unit"),
        ((1, 1, 40), "a slice step of 200 mm is not plausible for CT"),
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
    "content", [b"hello" * 200, gzip.compress(b"hello" * 200, mtime=0), b"\x1f\x8b" + b"\0" * 500]
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


def turned(degrees: float) -> NDArray[np.float64]:
    """`CANONICAL` turned about the patient's long axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ CANONICAL


@pytest.mark.parametrize(
    "quaternion", [(0.0, 1.0000005, 0.0), (0.0, 0.70711, 0.7072), (1.0, 1.0, 1.0), (np.nan, 0, 0)]
)
def test_nifti_lps__a_quaternion_that_is_no_rotation_says_nothing_beside_an_sform(
    tmp_path: Path, quaternion: tuple[float, ...]
) -> None:
    def change(header: Any) -> None:
        header["qform_code"] = 1
        for name, value in zip("bcd", quaternion, strict=True):
            header[f"quatern_{name}"] = value

    path = save_nifti(tmp_path / "ct.nii", grid(), change=change)
    np.testing.assert_array_equal(only(path).hu, expected())


@pytest.mark.parametrize("length", [1 + 1e-7, 1 + 5e-7, 1.0005, 1.005])
def test_nifti_lps__a_quaternion_off_by_rounding_is_shortened_where_it_stands_alone(
    tmp_path: Path, length: float
) -> None:
    up = CANONICAL @ np.diag(
        [1, 1, -1, 1]
    )  # turned by half, so nothing of 1 - b2 - c2 - d2 is left
    image = nib.Nifti1Image(grid()[:, :, ::-1], None)
    image.set_qform(up, 1)
    path = tmp_path / "ct.nii"
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    assert np.frombuffer(content[256:268], "<f4").tolist() == [0, 0, 1]
    content[264:268] = np.float32(length).tobytes()
    path.write_bytes(content)
    np.testing.assert_array_equal(only(tmp_path / "ct.nii").hu, expected())


def test_nifti_lps__an_sform_that_is_no_transform_says_nothing_beside_a_qform(
    tmp_path: Path,
) -> None:
    for k, rows in enumerate((np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((3, 4)))):
        image = nib.Nifti1Image(grid(), CANONICAL)
        image.set_qform(CANONICAL, 1)
        for name, row in zip("xyz", rows, strict=True):
            image.header[f"srow_{name}"] = row
        path = tmp_path / f"{k}.nii"
        with path.open("wb") as file:  # nibabel's own saving mends the sform
            image.header["sform_code"], image.header["vox_offset"] = 1, 352
            image.header.write_to(file)
            file.write(grid().tobytes(order="F"))
        np.testing.assert_array_equal(only(path).hu, expected())
        assert [w.partition(":")[0] for w in only(path).warnings] == ["transform"]
        content = bytearray(path.read_bytes())
        content[252:254] = b"\0\0"  # qform_code
        path.write_bytes(content)
        assert "neither sform nor qform is a transform" in refusal(path)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.5, 1.02, 2.5])
@pytest.mark.parametrize("qform_code", [0, 1])
def test_nifti_lps__sform_and_pixdim_must_agree_on_the_size_of_every_axis(
    tmp_path: Path, axis: int, factor: float, qform_code: int
) -> None:
    def change(header: Any) -> None:
        header["pixdim"][1 + axis] *= factor
        header["qform_code"] = qform_code

    path = save_nifti(tmp_path / "ct.nii", grid(), change=change)
    said = np.array([4.0, 4.0, 5.0])
    said[axis] *= factor
    assert refusal(path) == (
        "the NIfTI header's sform and pixdim disagree on the voxel's size: 4 x 4 x 5 and "
        + " x ".join(f"{value:.4g}" for value in said)
    )


@pytest.mark.parametrize("value", [0.0, np.nan, 5.01, -5.0])
def test_nifti_lps__a_pixdim_that_is_unset_or_rounded_is_no_contradiction(
    tmp_path: Path, value: float
) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid())
    content = bytearray(path.read_bytes())
    content[88:92] = np.float32(value).tobytes()  # pixdim[3]
    path.write_bytes(content)
    volume = only(path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == pytest.approx((5, 4, 4))


def test_nifti_lps__a_tilted_step_or_the_distance_of_its_planes_is_a_size(tmp_path: Path) -> None:
    affine = CANONICAL.copy()
    affine[1, 2] = 5 * np.tan(np.radians(20))
    for size in (5.0, 5.0 / np.cos(np.radians(20))):

        def change(header: Any, size: float = size) -> None:
            header["pixdim"][3], header["qform_code"] = size, 0

        assert len(only(save_nifti(tmp_path / "ct.nii", grid(), affine, change)).hu) == 20
    image = nib.Nifti1Image(grid(), affine)  # the qform is that without the shear
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "both.nii")
    assert len(only(tmp_path / "both.nii").hu) == 20


@pytest.mark.parametrize(("degrees", "agree"), [(0, True), (2, True), (10, False), (90, False)])
def test_nifti_lps__sform_and_qform_turned_against_each_other(
    tmp_path: Path, degrees: float, agree: bool
) -> None:
    image = nib.Nifti1Image(grid(), CANONICAL)
    image.set_qform(turned(degrees), 1)
    nib.save(image, tmp_path / "ct.nii")
    if agree:
        np.testing.assert_array_equal(only(tmp_path / "ct.nii").hu, expected())
    else:
        assert "sform and qform disagree" in refusal(tmp_path / "ct.nii")


def test_nifti_lps__a_unit_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid())
    content = bytearray(path.read_bytes())
    content[123] = 2 + 64  # mm, and a unit of time that does not exist
    path.write_bytes(content)
    np.testing.assert_array_equal(only(path).hu, expected())
    content[123] = 6
    path.write_bytes(content)
    assert refusal(path) == "the NIfTI header's unit of length is 6; known are 0 to 3"


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nii.bz2", "CT.NII.GZ"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_packing_follows_from_the_content(tmp_path: Path, name: str, pack: Any) -> None:
    content = save_nifti(tmp_path / "plain.nii", grid()).read_bytes()
    (tmp_path / name).write_bytes(pack(content))
    np.testing.assert_array_equal(only(tmp_path / name).hu, expected())


def test_members_of_gzip_follow_each_other(tmp_path: Path) -> None:
    content = save_nifti(tmp_path / "plain.nii", grid()).read_bytes()
    parts = [gzip.compress(content[k : k + 9000]) for k in range(0, len(content), 9000)]
    (tmp_path / "ct.nii.gz").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(only(tmp_path / "ct.nii.gz").hu, expected())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_flipped_bit_in_a_packed_file_gives_no_other_voxels(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "ct.nii.gz"
    packed = pack(save_nifti(tmp_path / "ct.nii", grid()).read_bytes())
    refused = 0
    for k in range(20, len(packed), 37):
        path.write_bytes(packed[:k] + bytes([packed[k] ^ 16]) + packed[k + 1 :])
        try:
            np.testing.assert_array_equal(only(path).hu, expected())
        except UnusableError as error:
            assert str(error) == "damaged or truncated NIfTI file"
            refused += 1
    assert refused > 50


def test_values_that_begin_inside_the_header_are_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid())
    content = bytearray(path.read_bytes())
    content[108:112] = bytes(4)
    path.write_bytes(content)
    assert refusal(path) == "the NIfTI header says that the values begin inside it (vox_offset 0)"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_slope_without_an_intercept_is_named(tmp_path: Path, value: float) -> None:
    path = save_nifti(tmp_path / "ct.nii", grid())
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2, value], "<f4").tobytes()
    path.write_bytes(content)
    told = f"the NIfTI header has a slope, and an intercept that is no number (scl_inter {value})"
    assert refusal(path) == told
    content[112:116] = np.array([np.nan], "<f4").tobytes()  # no slope: values are as stored
    path.write_bytes(content)
    np.testing.assert_array_equal(only(path).hu, expected())


PAIRS = [nib.Nifti1Pair, nib.Nifti2Pair]


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("ending", [".img", ".img.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pairs_are_one_series(tmp_path: Path, kind: Any, ending: str, order: str) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(kind(grid(), CANONICAL, header), tmp_path / f"ct{ending}")
    series, left = find.find_series([tmp_path])
    assert (len(series), left) == (1, [])
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(only(path).hu, expected())


def test_pairs__the_uid_covers_the_image_and_a_copy_is_said_once(tmp_path: Path) -> None:
    for name, data in (("a", grid()), ("b", grid() + 1), ("c", grid())):
        nib.save(nib.Nifti1Pair(data, CANONICAL), tmp_path / f"{name}.img")
    series, left = find.find_series([tmp_path])
    assert [Path(s.files[0]).name for s in series] == ["a.hdr", "b.hdr"]
    assert {o.reason for o in left} == {"a copy of another file"}


def test_pairs__half_of_one_is_named(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(grid(), CANONICAL), tmp_path / "ct.img")
    for name in ("a.hdr", "b.img"):
        shutil.copy(tmp_path / f"ct{name[1:]}", tmp_path / name)
    assert refusal(tmp_path / "a.hdr") == (
        "the header of a NIfTI pair; the .img is not beside the .hdr"
    )
    (left,) = find.find_series([tmp_path / "b.img"])[1]
    assert left.reason == "no DICOM, and the .hdr that belongs to an .img is not beside it"


def test_pairs__analyze_has_no_direction(tmp_path: Path) -> None:
    image: Any = nib.AnalyzeImage(grid(), CANONICAL)
    nib.save(image, tmp_path / "ct.img")
    assert refusal(tmp_path) == (
        "an Analyze 7.5 image: its header does not give the orientation in the patient"
    )


def test_pairs__other_formats_with_their_endings_are_none(tmp_path: Path) -> None:
    (tmp_path / "scene.hdr").write_text("ENVI\nsamples = 10\n")
    (tmp_path / "scene.img").write_bytes(b"1" * 400)
    series, left = find.find_series([tmp_path])
    assert (series, len(left)) == ([], 2)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_every_kind_order_and_type(tmp_path: Path, kind: Any, order: str, dtype: str) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    image = kind(grid()[..., None, None].astype(dtype), CANONICAL, header)
    nib.save(image, tmp_path / "ct.nii")
    loaded: Any = nib.load(tmp_path / "ct.nii")
    assert (type(loaded), loaded.header.endianness) == (kind, order)
    np.testing.assert_array_equal(only(tmp_path / "ct.nii").hu, expected())


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


@pytest.mark.parametrize("name", ["a.nii", "a.img"])
def test_bytes_among_raw_voxels_are_told(tmp_path: Path, name: str) -> None:
    kind = nib.Nifti1Pair if name == "a.img" else nib.Nifti1Image
    nib.save(kind(grid(), CANONICAL), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(only(tmp_path).hu, expected())
    for at in (len(whole) - 40_000, len(whole) - 7, len(whole)):
        (tmp_path / name).write_bytes(whole[:at] + b"in" + whole[at:])
        assert "more bytes than its header says" in refusal(tmp_path)
