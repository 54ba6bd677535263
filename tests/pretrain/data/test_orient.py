"""Order, direction and geometry come from the headers, however the patient lay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from ubr.pretrain.data import find
from ubr.pretrain.data.orient import _between, step_warnings
from ubr.pretrain.data.volume import UnusableError

from ...made.dicom import Made, X, Y, Z, body, expected, places, write
from ...made.scans import codes, only, reasons


def test_plain_series(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets())
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == (5.0, 4.0, 4.0)
    np.testing.assert_allclose(volume.z_mm, 5.0 * np.arange(20))
    assert volume.warnings == ()


SIDES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0)}


@pytest.mark.parametrize("pose", ["LP", "LA", "RP", "RA", "PL", "PR", "AL", "AR"])
def test_every_way_to_lie_gives_the_same_volume(tmp_path: Path, pose: str) -> None:
    """Supine LP, prone RA, feet first supine RP, on the side PR ...: rows run to the first letter,
    columns down to the second.
    """
    right, down = SIDES[pose[0]], SIDES[pose[1]]
    start = np.array(right) + np.array(down)
    corner = (X[0] if start[0] > 0 else X[-1], Y[0] if start[1] > 0 else Y[-1])
    size = (len(Y), len(X)) if right[0] else (len(X), len(Y))
    made = Made([(*corner, z) for z in Z[::-1]], (*right, *down), size)
    write(tmp_path, made.datasets(), seed=3)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ()


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.floats(0.5, 20), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_positions_are_the_headers(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float], seed: int
) -> None:
    heights = 500 - np.concatenate([[0], np.cumsum(np.round(steps, 3))])
    order = np.random.default_rng(seed).permutation(len(heights))
    made = Made([(0.0, 0.0, float(heights[k])) for k in order], size=(4, 30))
    folder = tmp_path_factory.mktemp("series")
    write(folder, made.datasets(), seed=seed)
    volume = only(folder)
    np.testing.assert_allclose(volume.z_mm, heights[0] - heights, atol=1e-6)
    assert volume.hu[:, 0, 0].tolist() == body(np.array([[0, 0, z] for z in heights])).tolist()


@pytest.mark.parametrize(
    ("orientation", "name"), [((1, 0, 0, 0, 0, -1), "coronal"), ((0, 1, 0, 0, 0, -1), "sagittal")]
)
def test_slices_that_are_not_axial_are_refused(
    tmp_path: Path, orientation: tuple[float, ...], name: str
) -> None:
    write(tmp_path, Made([(0.0, float(y), 50.0) for y in Y[:5]], orientation).datasets())
    assert reasons(tmp_path) == [f"slices are {name}, not axial (and 4 more files of the series)"]
    assert find.find_series([tmp_path])[0] == []


def test_missing_position_is_refused(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(ImagePositionPatient=None))
    assert reasons(tmp_path) == ["no usable ImagePositionPatient (and 19 more files of the series)"]


def tilted(degrees: float) -> Made:
    a = np.radians(degrees)
    down = (0.0, np.cos(a), -np.sin(a))
    return Made([(X[0], Y[0], float(z)) for z in Z], (1.0, 0.0, 0.0, *down))


@pytest.mark.parametrize("degrees", [-18.5, 12.0, 27.0])
def test_tilted_slices_are_moved_back_and_nothing_is_lost(tmp_path: Path, degrees: float) -> None:
    """Columns of z follow the slice normal to within a pixel, in the right direction, and every
    voxel of the body is still there.
    """
    made = tilted(degrees)
    down = np.array(made.orientation[3:])
    datasets = made.datasets()
    for number, ds in enumerate(datasets):
        along = places(made.corners[number], made.orientation, made.size, made.pixel_mm) @ down
        ds.PixelData = (
            (along + 2000).round().astype(np.uint16).tobytes()
        )  # 976 HU more than mm along the slice
        pixels = np.frombuffer(ds.PixelData, np.uint16).reshape(made.size).copy()
        pixels[0, 0] = 24  # air
        ds.PixelData = pixels.tobytes()
    write(tmp_path, datasets)
    volume = only(tmp_path)
    inside = volume.hu > -500
    assert inside.sum() == len(Z) * (len(X) * len(Y) - 1)
    shown = np.where(inside, volume.hu.astype(float), np.nan)[:, :, len(X) // 2]
    columns = shown[:, np.isfinite(shown).sum(axis=0) > 3]
    assert columns.shape[1] > 20
    assert (
        np.nanmax(columns, axis=0) - np.nanmin(columns, axis=0)
    ).max() <= 5  # a pixel of 4 mm, and rounding
    step = 5.0 * np.cos(np.radians(degrees))
    assert volume.spacing_mm == pytest.approx((step, 4, 4))
    assert codes(volume) == ["tilt"]
    moved = 95 * np.sin(np.radians(abs(degrees)))
    assert (
        volume.warnings[0]
        == f"tilt: {abs(degrees):.1f} degrees; slices moved in-plane by up to {moved:.1f} mm"
    )


def test_slices_beside_each_other_are_no_stack(tmp_path: Path) -> None:
    write(tmp_path, Made([(40.0 * k, 0.0, 100.0 - 5 * k) for k in range(6)]).datasets())
    with pytest.raises(UnusableError, match="offset by up to 200 mm over a height of 25 mm"):
        only(tmp_path)


@pytest.mark.parametrize("axis", ["yaw", "roll"])
def test_oblique_series_are_resampled_to_the_patients_axes(tmp_path: Path, axis: str) -> None:
    """A body seen through slices turned by 12 degrees comes out as a series without a turn would
    show it.
    """
    a = np.radians(12)
    turn = {
        "yaw": np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]),
        "roll": np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]),
    }[axis]
    middle = np.array([X.mean(), Y.mean(), Z.mean()])
    corners = [tuple(middle + turn @ (np.array([X[0], Y[0], z]) - middle)) for z in Z]
    write(tmp_path, Made(corners, (*turn[:, 0], *turn[:, 1])).datasets())
    volume = only(tmp_path)
    assert volume.warnings[0] == "oblique: 12.0 degrees"
    assert volume.hu.shape == expected().shape
    z, y, x = np.meshgrid(Z, Y, X, indexing="ij")
    # Away from the edges of body and lung, and where the turned scan reached, the linear body is
    # met exactly.
    soft = (
        ((x / 75) ** 2 + (y / 55) ** 2 < 0.7)
        & (((x + 30) / 22) ** 2 + (y / 25) ** 2 > 2)
        & (abs(z - Z.mean()) < 30)
    )
    assert soft.sum() > 1000
    assert np.abs(volume.hu[soft].astype(int) - expected()[soft]).max() <= 1


def test_between_voxels__is_scipys_linear_interpolation() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 3000, (5, 12, 9)).astype(np.int16)
    where = [rng.uniform(-0.5, side - 0.5, (30, 40)) for side in hu.shape]
    where[0][:3], where[1][2:5], where[2][4:6] = 4.0, 11.0, 0.0
    expected = map_coordinates(hu.astype(float), where, order=1, mode="constant", cval=-1024)
    assert np.abs(_between(hu, where) - expected).max() <= 0.5 + 1e-9
    single = map_coordinates(hu[:1].astype(float), [where[0] * 0, *where[1:]], order=1, cval=-1024)
    assert np.abs(_between(hu[:1], [where[0] * 0, *where[1:]]) - single).max() <= 0.5 + 1e-9


def test_two_degrees_are_left_alone(tmp_path: Path) -> None:
    a = np.radians(1.5)
    write(
        tmp_path, Made(orientation=(np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0)).datasets()
    )
    assert only(tmp_path).warnings == ()


def test_steps_are_described() -> None:
    regular = np.arange(20) * 2.5
    assert step_warnings(regular) == ()
    assert step_warnings(np.delete(regular, 13)) == (
        "gap: 1 step of 5.0 mm after slice 12, usual 2.5 mm",
    )
    assert step_warnings(np.delete(regular, [5, 13])) == (
        "gap: 2 steps, the first of 5.0 mm after slice 4, usual 2.5 mm",
    )
    changing = np.concatenate([np.arange(10) * 7.0, 63 + np.arange(1, 16) * 4.0])
    assert step_warnings(changing) == ("uneven: steps of 4.00 to 7.00 mm",)
    assert step_warnings(regular * (1 + 1e-3 * np.arange(20))) == ()


def test_a_missing_slice_is_recorded_not_refused(tmp_path: Path) -> None:
    write(tmp_path, [ds for k, ds in enumerate(Made().datasets()) if k != 7])
    volume = only(tmp_path)
    assert volume.warnings == ("gap: 1 step of 10.0 mm after slice 6, usual 5.0 mm",)
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 7, axis=0))
    assert volume.spacing_mm[0] == 5.0


def test_a_single_slice_has_its_thickness_for_a_step(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets()[:1])
    volume = only(tmp_path)
    assert volume.hu.shape == (1, 30, 40)
    assert volume.spacing_mm == (5.0, 4.0, 4.0)


def test_real_tilted_series(shared: Path) -> None:
    """A head, 18.5 degrees: with the slices moved back, the middle of the skull cap stays where it
    is from slice to slice.
    """
    (series,), _ = find.find_series([shared / "ct" / "dicom" / "ge_head_gantry_tilt_uneven"])
    volume = find.read_volume(series)
    assert volume.warnings == (
        "tilt: 18.5 degrees; slices moved in-plane by up to 48.2 mm",
        "uneven: steps of 1.08 to 7.00 mm",
    )
    assert len(volume.hu) == 28
    bone = volume.hu[4:14, :, 256] > 300
    middle_mm = [volume.spacing_mm[1] * np.flatnonzero(row)[[0, -1]].mean() for row in bone]
    assert max(middle_mm) - min(middle_mm) < 6  # unmoved, 9 steps of 7 mm climb 21 mm
