"""The phantom:

what it says about each slice is what each slice shows, and what is written is what was made.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ubr.pretrain.phantom import LEVELS, REGIONS, Acquisition, Patient, Phantom, draw, make
from ubr.weights.common.hu import HU_RANGE

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


def test_defaults_are_a_scan_and_a_patient() -> None:
    assert Acquisition().size_px == 128 and Patient().stature_mm == 1750
