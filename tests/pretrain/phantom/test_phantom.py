"""The phantom:

what it says about each slice is what each slice shows, and what is written is what was made.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ubr.pretrain.data.find import find, read
from ubr.pretrain.data.volume import HU_RANGE
from ubr.pretrain.phantom import LEVELS, REGIONS, Patient, Phantom, Scan, draw, make
from ubr.pretrain.phantom.files import phantoms, write

PLAIN = dict(
    arms="up",
    phase="none",
    metal="none",
    noise_hu=0.0,
    obesity=0.4,
    offset_mm=(0.0, 0.0),
    scoliosis_mm=0.0,
    circle=False,
)


@pytest.fixture(scope="module")
def whole() -> Phantom:
    """Head to thigh, without noise."""
    return make(11, top=-3.0, bottom=1100.0, spacing_mm=5.0, fov_mm=440.0, table="none", **PLAIN)


def at(phantom: Phantom, level: float) -> np.ndarray:
    return phantom.volume.hu[int(np.argmin(np.abs(phantom.body_mm - level)))]


def share(phantom: Phantom, low: float, high: float) -> np.ndarray:
    """Of each slice's pixels within 130 mm of the middle."""
    n = phantom.volume.hu.shape[1]
    half = int(130 / phantom.volume.spacing_mm[1])
    middle = phantom.volume.hu[:, n // 2 - half : n // 2 + half, n // 2 - half : n // 2 + half]
    return ((middle >= low) & (middle <= high)).mean((1, 2))


def test_a_seed_determines_every_bit() -> None:
    a, b = make(3, size_px=64), make(3, size_px=64)
    np.testing.assert_array_equal(a.volume.hu, b.volume.hu)
    assert (a.landmarks, a.case, a.volume.spacing_mm) == (b.landmarks, b.case, b.volume.spacing_mm)
    other = make(4, size_px=64)
    assert other.case.patient != a.case.patient
    assert (
        other.volume.hu.shape != a.volume.hu.shape or (other.volume.hu != a.volume.hu).mean() > 0.3
    )


def test_patients_and_scans_differ() -> None:
    cases = [draw(seed) for seed in range(200)]
    for field in ("sex", "arms"):
        assert len({getattr(c.patient, field) for c in cases}) == {"sex": 2, "arms": 3}[field]
    for field, kinds in {"table": 3, "kernel": 3, "phase": 4, "metal": 5}.items():
        assert len({getattr(c.scan, field) for c in cases}) == kinds
    stature = np.array([c.patient.stature_mm for c in cases])
    assert stature.std() > 60 and 1400 < stature.min() < 1600 < 1800 < stature.max() < 2050
    assert not any(c.patient.ascites for c in cases)
    slices = np.array([len(c.z_mm) for c in cases])
    assert 55 <= slices.min() and slices.max() <= 151
    chest_to_pelvis = [{"chest", "abdomen", "pelvis"} <= set(c.region) for c in cases]
    assert 0.4 < np.mean(chest_to_pelvis) < 0.75


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_truth_is_in_anatomical_order(seed: int) -> None:
    case = draw(seed)
    assert len(case.z_mm) == len(case.body_mm) == len(case.region)
    assert (np.diff(case.body_mm) > 0).all()
    index = list(case.landmarks.values())
    assert list(case.landmarks) == [name for name in LEVELS if name in case.landmarks]
    assert index == sorted(index) and all(0 <= i <= len(case.z_mm) - 1 for i in index)
    order = [REGIONS.index(r) for r in case.region]
    assert order == sorted(order)
    for region, border in (("abdomen", "liver_dome"), ("pelvis", "iliac_crest")):
        if border in case.landmarks:
            first = int(np.argmax(case.region == region))
            assert first - 1 <= case.landmarks[border] <= first
    # A level is the same anatomy in every patient: the iliac crest is that of the reference body.
    if "iliac_crest" in case.landmarks:
        assert np.interp(
            case.landmarks["iliac_crest"], np.arange(len(case.body_mm)), case.body_mm
        ) == pytest.approx(715, abs=1)


def test_level_and_position_are_inverse() -> None:
    patient = Patient.random(5)
    u = np.linspace(-140, 1100, 97)
    np.testing.assert_allclose(patient.level(patient.z_mm(u)), u, atol=0.2)
    tall, short = (replace(patient, stature_mm=s).z_mm(900.0) for s in (1900.0, 1520.0))
    assert tall / short == pytest.approx(1.25, abs=1e-3)


def test_hu_are_those_of_a_body_in_air(whole: Phantom) -> None:
    hu = whole.volume.hu
    assert hu.dtype == np.int16 and hu.min() >= HU_RANGE[0] and hu.max() <= HU_RANGE[1]
    assert (hu[:, :8, :] < -950).all()  # in front of the body
    for region in REGIONS[1:]:
        slices = hu[whole.region == region]
        assert slices.max() > 500  # bone is the brightest
        assert ((slices > -20) & (slices < 110)).mean() > 0.04  # soft tissue
    brain = (whole.body_mm > 50) & (whole.body_mm < 90)
    assert (share(whole, 20, 55)[brain] > 0.15).all() and (
        share(whole, 400, 3000)[brain] > 0.04
    ).all()


def test_lungs_are_where_the_landmarks_say(whole: Phantom) -> None:
    lung = share(whole, -950, -650)
    chest = (whole.body_mm > 330) & (whole.body_mm < 460)
    assert (lung[chest] > 0.2).all()
    assert (lung[whole.region == "pelvis"] < 0.1).all()  # gas and its edges
    n = whole.volume.hu.shape[1]
    first = round(whole.landmarks["lung_apex"])
    outside_the_trachea = np.abs(np.arange(n) - (n - 1) / 2) * whole.volume.spacing_mm[2] > 24
    behind = slice(n // 2, n // 2 + int(45 / whole.volume.spacing_mm[1]))
    inner = np.abs(np.arange(n) - (n - 1) / 2) * whole.volume.spacing_mm[2] < 42
    apex = (whole.volume.hu[:, behind][:, :, outside_the_trachea & inner] < -500).sum((1, 2))
    assert apex[first + 3] > 10 and (apex[first - 6 : first - 1] == 0).all()


def test_the_liver_begins_at_its_landmark() -> None:
    for seed, breath in ((1, -12.0), (2, 0.0), (3, 12.0)):
        p = make(
            seed,
            top=420.0,
            bottom=560.0,
            spacing_mm=2.0,
            fov_mm=400.0,
            **PLAIN | {"breath_mm": breath, "build": 1.0},
        )
        n, (_, _, px) = p.volume.hu.shape[1], p.volume.spacing_mm
        row, column = round((n - 1) / 2), round((n - 1) / 2 - 62 / px)  # below the right dome
        liver = p.volume.hu[:, row - 1 : row + 2, column - 1 : column + 2].mean((1, 2)) > -200
        assert abs(int(np.argmax(liver)) - p.landmarks["liver_dome"]) <= 3
        assert liver[int(p.landmarks["liver_dome"]) + 4 :].all()


def test_the_pelvis_has_its_bones_where_the_landmarks_say() -> None:
    p = make(
        2,
        top=690.0,
        bottom=900.0,
        spacing_mm=2.0,
        fov_mm=420.0,
        **PLAIN | {"build": 1.0, "sex": "male", "arms": "beside"},
    )
    n, (_, _, px) = p.volume.hu.shape[1], p.volume.spacing_mm
    x = (np.arange(n) - (n - 1) / 2) * px
    crest, head = round(p.landmarks["iliac_crest"]), round(p.landmarks["femoral_head"])
    lateral = (p.volume.hu[:, :, np.abs(x) > 90] > 250).sum((1, 2))
    assert (lateral[: crest - 1] == 0).all() and (lateral[crest + 5 : crest + 20] > 10).all()
    joint = p.volume.hu[:, n // 2 + round(8 / px)][:, np.argmin(np.abs(x + 94))]
    assert joint[head + 12] > 100
    assert "mandible" not in p.landmarks and "lung_apex" not in p.landmarks


def test_right_is_left_in_the_image_and_front_is_up(whole: Phantom) -> None:
    n = whole.volume.hu.shape[1]
    liver = at(whole, 560)
    solid = (liver > 40) & (liver < 75)
    assert (
        solid[n // 4 : 3 * n // 4, : n // 2].sum()
        > 1.3 * solid[n // 4 : 3 * n // 4, n // 2 :].sum()
    )
    bone = np.argwhere(at(whole, 660) > 250)  # the lumbar spine
    assert bone[:, 0].mean() > n / 2 and abs(bone[:, 1].mean() - (n - 1) / 2) < 3


def test_vertebrae_have_a_rhythm() -> None:
    thin = make(11, top=570.0, bottom=765.0, spacing_mm=2.0, fov_mm=440.0, **PLAIN)
    n, px = thin.volume.hu.shape[1], thin.volume.spacing_mm[1]
    rows = n // 2 + (np.array([38, 60]) * thin.case.patient.build / px).astype(int)
    column = thin.volume.hu[:, rows[0] : rows[1], n // 2 - 3 : n // 2 + 3].mean((1, 2))
    spectrum = np.abs(
        np.fft.rfft(
            column
            - np.poly1d(np.polyfit(np.arange(len(column)), column, 2))(np.arange(len(column)))
        )
    )
    levels = thin.body_mm[-1] - thin.body_mm[0]
    strongest = int(np.argmax(spectrum[2:20])) + 2
    assert levels / strongest == pytest.approx(39.6, rel=0.15)  # one lumbar vertebra and its disc


def test_slices_change_slowly() -> None:
    p = make(7, top=300.0, bottom=925.0, spacing_mm=4.0, **PLAIN)
    flat = np.clip(p.volume.hu, -200, 300).reshape(len(p.volume.hu), -1).astype(float)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    near, far = (flat[:-1] * flat[1:]).sum(1), (flat[:-25] * flat[25:]).sum(1)
    assert near.min() > 0.9 and near.mean() > 0.93 and far.mean() < near.mean() - 0.1


def test_the_same_patient_looks_the_same_on_another_grid() -> None:
    kept = {**PLAIN, "top": 600.0, "bottom": 700.0, "fov_mm": 400.0, "kernel": "soft"}
    coarse, fine = (
        make(5, spacing_mm=8.0, size_px=64, **kept),
        make(5, spacing_mm=4.0, size_px=128, **kept),
    )
    pooled = (
        fine.volume.hu[::2]
        .astype(float)
        .reshape(len(fine.volume.hu[::2]), 64, 2, 64, 2)
        .mean((2, 4))
    )
    a, b = np.clip(coarse.volume.hu, -200, 300), np.clip(pooled, -200, 300)
    assert len(a) == len(b) and np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


def test_ascites_fills_the_belly_and_nothing_else() -> None:
    kept = {**PLAIN, "top": 300.0, "bottom": 1090.0, "spacing_mm": 6.0, "fov_mm": 460.0}
    dry, wet = make(9, **kept), make(9, ascites=True, **kept)
    changed = (dry.volume.hu != wet.volume.hu).mean((1, 2))
    first, last = dry.landmarks["liver_dome"], dry.landmarks["femoral_head"] + 30 / 6
    index = np.arange(len(changed))
    assert (changed[(index < first) | (index > last)] == 0).all()
    assert (changed[(dry.body_mm > 520) & (dry.body_mm < 780)] > 0.1).all()
    belly = (dry.body_mm > 640) & (dry.body_mm < 740)
    assert share(wet, -10, 30)[belly].mean() > share(dry, -10, 30)[belly].mean() + 0.1  # fluid
    assert (
        share(wet, -130, -70)[belly].mean() < share(dry, -130, -70)[belly].mean()
    )  # in the place of fat


def test_what_a_scan_changes() -> None:
    kept = {**PLAIN, "top": 560.0, "bottom": 700.0, "spacing_mm": 10.0, "fov_mm": 420.0, "seed": 4}
    seed = kept.pop("seed")
    enhanced = [
        make(seed, **kept | {"phase": phase}).volume.hu for phase in ("none", "arterial", "portal")
    ]
    assert np.percentile(enhanced[1], 99) > np.percentile(enhanced[0], 99)
    assert not np.array_equal(enhanced[1], enhanced[2])
    clean = make(seed, **kept).volume.hu.astype(float)
    noise = {
        k: make(seed, **kept | {"noise_hu": 20.0, "kernel": k}).volume.hu - 0.0
        for k in ("soft", "sharp")
    }
    grain = {}
    for k, noisy in noise.items():
        residual = noisy - make(seed, **kept | {"kernel": k}).volume.hu
        grain[k] = (
            residual[:, 8:24, 8:24].std(),
            np.corrcoef(residual[:, 8:24, 8:23].ravel(), residual[:, 8:24, 9:24].ravel())[0, 1],
        )
    assert grain["sharp"][0] > 1.5 * grain["soft"][0]  # louder
    assert grain["soft"][1] > grain["sharp"][1] + 0.15  # and finer
    table = (
        make(seed, **kept | {"table": "flat"}).volume.hu.astype(float)
        - make(seed, **kept | {"table": "none"}).volume.hu
    )
    rows = np.flatnonzero(np.abs(table).max((0, 2)) > 100)
    assert len(rows) and rows.min() > clean.shape[1] // 2  # behind the patient
    metal = make(seed, **kept | {"metal": "spine"}).volume.hu
    assert metal.max() == HU_RANGE[1]
    circle = make(seed, **kept | {"circle": True}).volume.hu
    assert (circle[:, 0, 0] == HU_RANGE[0]).all() and circle[0, 64, 64] > -200


def test_fat_makes_a_patient_wider_and_stature_longer() -> None:
    kept = {**PLAIN, "top": 640.0, "bottom": 740.0, "spacing_mm": 10.0, "fov_mm": 560.0}
    lean, obese = (make(6, **kept | {"obesity": o}).volume.hu[5] > -300 for o in (0.1, 1.8))
    assert obese.sum() > 1.4 * lean.sum()
    tall, short = (
        len(draw(6, top=300.0, bottom=900.0, spacing_mm=2.0, stature_mm=s).z_mm)
        for s in (1900.0, 1520.0)
    )
    assert tall / short == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obesity": 3.0}, r"obesity must lie in 0\.\.2, got 3\.0"),
        ({"arms": "crossed"}, "arms must be one of up, down, beside, got 'crossed'"),
        ({"spacing_mm": 0.0}, r"spacing_mm must lie in 0\.5\.\.20"),
        ({"size_px": 8}, r"size_px must lie in 32\.\.1024, got 8"),
        ({"size_px": 100.5}, "size_px must be a whole number"),
        ({"size_px": True}, "size_px must lie in"),
        ({"top": 500.0, "bottom": 505.0}, "bottom must lie at least 20 below top"),
        ({"phase": "late"}, "phase must be one of none, arterial, portal, delayed"),
        ({"hat": 1}, "a phantom has no hat; it has .*arms.*top"),
        ({"proportions": (1.0,)}, "proportions must be 7 numbers"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(0, **options)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be a whole number from 0 on, got -1"):
        make(-1)


# ---------------------------------------------------------------------------------------------------------------------
# files


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make(21, size_px=48, spacing_mm=10.0, top=300.0, bottom=700.0, offset_mm=(6.0, -4.0))


def test_dicom_is_read_back_with_the_same_hu_and_geometry(small: Phantom, tmp_path: Path) -> None:
    folder = write(small, tmp_path, "dicom")
    assert folder.name == "PHANTOM-000021"
    files = sorted(folder.iterdir())
    slices = [pydicom.dcmread(f) for f in files]
    z = np.array([float(s.ImagePositionPatient[2]) for s in slices])
    assert (
        len(files) == len(small.volume.hu)
        and not (np.diff(z) < 0).all()
        and not (np.diff(z) > 0).all()
    )  # names tell nothing
    down = np.argsort(-z)  # the patient lies head first, so superior is +z
    hu = np.stack(
        [
            slices[i].pixel_array * float(slices[i].RescaleSlope)
            + float(slices[i].RescaleIntercept)
            for i in down
        ]
    )
    np.testing.assert_array_equal(hu, small.volume.hu)
    np.testing.assert_allclose(-z[down] + z.max(), small.volume.z_mm, atol=1e-4)
    assert [slices[i].InstanceNumber for i in down] == list(range(1, len(slices) + 1))
    one = slices[0]
    assert (
        list(one.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
        and one.PatientPosition == "HFS"
        and one.Modality == "CT"
    )
    assert one.file_meta.MediaStorageSOPClassUID == pydicom.uid.CTImageStorage == one.SOPClassUID
    assert float(one.PixelSpacing[0]) == pytest.approx(small.volume.spacing_mm[1], abs=1e-5)
    middle = np.array(one.ImagePositionPatient[:2], float) + 23.5 * np.array(
        one.PixelSpacing, float
    )
    np.testing.assert_allclose(middle, (6, -4), atol=1e-3)
    for tag in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({getattr(s, tag) for s in slices}) == 1
    assert one.PatientID == "PHANTOM-000021" and len({s.SOPInstanceUID for s in slices}) == len(
        slices
    )
    assert all(pydicom.uid.UID(s.SOPInstanceUID).is_valid for s in slices)


def test_dicom_bytes_follow_from_the_seed(small: Phantom, tmp_path: Path) -> None:
    first, second = (write(small, tmp_path / name, "dicom") for name in "ab")
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    other = replace(small, case=replace(small.case, scan=replace(small.case.scan, noise_hu=1.0)))
    third = write(other, tmp_path / "c", "dicom")
    uids = {
        pydicom.dcmread(next(f.iterdir()), stop_before_pixels=True).SeriesInstanceUID
        for f in (first, second, third)
    }
    assert len(uids) == 2


def test_nifti_lies_as_the_patient(small: Phantom, tmp_path: Path) -> None:
    image = nib.load(write(small, tmp_path, "nifti"))
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    data = np.asanyarray(image.dataobj)
    assert data.dtype == np.int16
    np.testing.assert_array_equal(data[::-1, ::-1, ::-1].transpose(2, 1, 0), small.volume.hu)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.header.get_qform(), image.affine, atol=1e-3)
    # Superior is superior: the uppermost slice has the lung apex's level, at its distance from the
    # vertex.
    top = image.affine @ [0, 0, data.shape[2] - 1, 1]
    assert top[2] == pytest.approx(-float(small.case.patient.z_mm(300.0)), abs=0.1)
    middle = image.affine @ [23.5, 23.5, 0, 1]
    np.testing.assert_allclose(
        middle[:2], (-6, 4), atol=1e-3
    )  # RAS: the offset was 6 to the left and 4 to the front


def test_png_have_deeplesions_layout(small: Phantom, tmp_path: Path) -> None:
    folder = write(small, tmp_path, "png")
    write(make(22, size_px=48, spacing_mm=10.0, top=300.0, bottom=400.0), tmp_path, "png")
    assert folder.relative_to(tmp_path).as_posix() == "Images_png/900021_01_01"
    names = sorted(f.name for f in folder.iterdir())
    assert names == [f"{k:03d}.png" for k in range(1, len(small.volume.hu) + 1)]
    for k, name in enumerate(names):
        with Image.open(folder / name) as image:
            np.testing.assert_array_equal(np.asarray(image, np.int64) - 32768, small.volume.hu[k])
    with (tmp_path / "DL_info.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and len(rows[0]) == 18  # they accumulate
    spacing = [float(v) for v in rows[0]["Spacing_mm_px_"].split(",")]
    np.testing.assert_allclose(spacing, small.volume.spacing_mm[::-1], rtol=1e-5)
    assert (rows[0]["Bounding_boxes"], rows[0]["Possibly_noisy"], rows[0]["Train_Val_Test"]) == (
        "",
        "1",
        "0",
    )


def test_png_rows_keep_those_of_others(small: Phantom, tmp_path: Path, shared: Path) -> None:
    real = (shared / "deeplesion" / "DL_info.csv").read_text().splitlines()
    (tmp_path / "DL_info.csv").write_text("\n".join(real[:40]) + "\n")
    write(small, tmp_path, "png")
    with (tmp_path / "DL_info.csv").open(newline="") as file:
        after = list(csv.reader(file))
    assert after[:40] == list(csv.reader(real[:40])) and len(after) == 41


def test_png_refuse_another_table(small: Phantom, tmp_path: Path) -> None:
    (tmp_path / "DL_info.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="does not have the columns of DeepLesion's table"):
        write(small, tmp_path, "png")
    assert not (tmp_path / "Images_png" / "900021_01_01").exists()


@pytest.mark.parametrize("form", ["dicom", "nifti", "png"])
def test_the_projects_readers_take_every_form(form: str, small: Phantom, tmp_path: Path) -> None:
    write(small, tmp_path, form)  # type: ignore[arg-type]
    found, _ = find([tmp_path])
    assert len(found) == 1
    volume = read(found[0])
    np.testing.assert_array_equal(volume.hu, small.volume.hu)
    np.testing.assert_allclose(volume.z_mm, small.volume.z_mm, atol=1e-3)
    np.testing.assert_allclose(volume.spacing_mm, small.volume.spacing_mm, rtol=1e-4)
    assert [w.split(":")[0] for w in volume.warnings] == (["ungeometric"] if form == "png" else [])


def test_write_refuses_to_overwrite_and_unknown_forms(small: Phantom, tmp_path: Path) -> None:
    write(small, tmp_path, "nifti")
    with pytest.raises(FileExistsError, match="is there already"):
        write(small, tmp_path, "nifti")
    with pytest.raises(ValueError, match="form must be one of dicom, nifti, png, got 'jpeg'"):
        write(small, tmp_path, "jpeg")  # type: ignore[arg-type]


def test_a_run_writes_the_truth_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = phantoms(out, n=3, seed=40, form="nifti", size_px=32, ascites=1, workers=1)
    assert (made.written, made.already) == (3, 0) and str(made).startswith("3 phantoms, ")
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == made.slices
    for seed in (40, 41, 42):
        expected = make(seed, ascites=seed == 40, size_px=32)
        name = f"PHANTOM-{seed:06d}.nii.gz"
        mine = [r for r in rows if r["file"] == name]
        assert [r["region"] for r in mine] == expected.region.tolist()
        assert [int(r["slice"]) for r in mine] == list(range(len(expected.volume.hu)))
        np.testing.assert_allclose(
            [float(r["z_mm"]) for r in mine], expected.volume.z_mm, atol=1e-3
        )
        np.testing.assert_allclose([float(r["body_mm"]) for r in mine], expected.body_mm, atol=1e-2)
        data = np.asanyarray(nib.load(out / name).dataobj)
        np.testing.assert_array_equal(data[::-1, ::-1, ::-1].transpose(2, 1, 0), expected.volume.hu)
        with (out / "landmarks.csv").open(newline="") as file:
            marks = {
                r["landmark"]: float(r["slice"]) for r in csv.DictReader(file) if r["file"] == name
            }
        assert marks == pytest.approx(expected.landmarks, abs=1e-3)
    # Stopped: one is missing, one is half-written.
    lost, kept = out / "PHANTOM-000041.nii.gz", out / "PHANTOM-000042.nii.gz"
    whole, untouched = nib.load(lost).get_fdata(), kept.stat().st_mtime_ns
    lost.rename(out / ".part-PHANTOM-000041.nii.gz")
    (out / ".part-PHANTOM-000041.nii.gz").write_bytes(b"half")
    again = phantoms(out, n=3, seed=40, form="nifti", size_px=32, ascites=1, workers=1)
    assert (again.written, again.already) == (1, 2) and kept.stat().st_mtime_ns == untouched
    np.testing.assert_array_equal(nib.load(lost).get_fdata(), whole)
    assert not list(out.glob(".part*"))
    with pytest.raises(ValueError, match=r"other options \(size_px was 32, now 48\)"):
        phantoms(out, n=3, seed=40, form="nifti", size_px=48, ascites=1, workers=1)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no phantoms"):
        phantoms(tmp_path, n=1)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 2, "ascites": 3}, {"n": 1, "workers": 0}])
def test_run_options_out_of_range(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be at least 1 and ascites lie in"):
        phantoms(tmp_path / "new", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_processes_write_the_same(tmp_path: Path) -> None:
    one, two = (
        phantoms(tmp_path / str(w), n=2, seed=50, form="dicom", size_px=32, workers=w).folder
        for w in (1, 2)
    )
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert (
        files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
        and len(files) > 100
    )
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)


def test_defaults_are_a_scan_and_a_patient() -> None:
    assert Scan().size_px == 128 and Patient().stature_mm == 1750
