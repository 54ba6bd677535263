"""DICOM:

order, direction and HU come from the headers, whatever the files are called and however the patient
lay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ubr.pretrain.data import find
from ubr.pretrain.data.orient import step_warnings
from ubr.pretrain.data.volume import UnusableError, Volume

from ...made.dicom import Made, X, Y, Z, body, expected, places, write


def only(folder: Path) -> Volume:
    series, _ = find.find([folder])
    assert len(series) == 1
    return find.read_volume(series[0])


def codes(volume: Volume) -> list[str]:
    return [warning.partition(":")[0] for warning in volume.warnings]


def reasons(folder: Path) -> list[str]:
    return [left.reason for left in find.find([folder])[1]]


# Order and direction


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
    assert find.find([tmp_path])[0] == []


def test_missing_position_is_refused(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(ImagePositionPatient=None))
    assert reasons(tmp_path) == ["no usable ImagePositionPatient (and 19 more files of the series)"]


# Tilt and obliqueness


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
    with pytest.raises(
        UnusableError, match="up to 200 mm aside of each other over a height of 25 mm"
    ):
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


def test_two_degrees_are_left_alone(tmp_path: Path) -> None:
    a = np.radians(1.5)
    write(
        tmp_path, Made(orientation=(np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0)).datasets()
    )
    assert only(tmp_path).warnings == ()


# Steps


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


def test_duplicates_keep_the_first_acquired(tmp_path: Path) -> None:
    made = Made()
    again = [
        made.dataset(k, AcquisitionNumber=0 if k == 4 else 2, RescaleIntercept=-1000)
        for k in (3, 4)
    ]
    for ds in again:
        ds.RescaleIntercept = -1024  # 24 HU lower than the first acquisition
    write(tmp_path, [*again, *made.datasets()])
    volume = only(tmp_path)
    assert volume.warnings == ("duplicate: 2 of 22 slices",)
    np.testing.assert_array_equal(volume.hu[3], expected()[3])
    inside = expected()[4] > -1000
    np.testing.assert_array_equal(volume.hu[4][inside], expected()[4][inside] - 24)


# Hounsfield units


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    made = Made()
    write(
        tmp_path,
        [
            made.dataset(k, RescaleSlope=(1, 2, 0.5)[k % 3], RescaleIntercept=-1000 - 8 * k)
            for k in range(len(Z))
        ],
    )
    assert np.abs(only(tmp_path).hu.astype(int) - expected()).max() <= 1  # half a slope of 2


def test_a_scan_without_rescale_that_is_hu_is_taken(tmp_path: Path) -> None:
    write(
        tmp_path, Made().datasets(RescaleSlope=None, RescaleIntercept=None, PixelRepresentation=1)
    )
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert codes(volume) == ["rescale"]


def test_a_scan_without_rescale_that_is_not_hu_is_refused(tmp_path: Path) -> None:
    datasets = Made().datasets()
    for ds in datasets:
        del ds.RescaleSlope, ds.RescaleIntercept
    write(tmp_path, datasets)
    with pytest.raises(
        UnusableError, match=r"no rescale slope and intercept, and values 24\..\d+ are not HU"
    ):
        only(tmp_path)


def test_rescale_that_is_missing_in_part_is_refused(tmp_path: Path) -> None:
    datasets = Made().datasets()
    del datasets[2].RescaleSlope
    write(tmp_path, datasets)
    with pytest.raises(UnusableError, match="1 of 20 slices have no rescale slope and intercept"):
        only(tmp_path)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_is_air(tmp_path: Path, value: int, signed: int) -> None:
    """Also where the padding value is written as unsigned and the pixels are signed, or the other
    way round.
    """
    datasets = Made().datasets(
        PixelRepresentation=signed, RescaleIntercept=5000 if signed else -1024
    )
    for ds in datasets:
        pixels = np.frombuffer(ds.PixelData, np.int16).copy()
        pixels[:10] = -2000
        ds.PixelData = pixels.tobytes()
        ds.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert (volume.hu[:, 0, :10] == -1024).all()
    np.testing.assert_array_equal(volume.hu[:, 1:], expected()[:, 1:])
    assert volume.warnings == ()


def test_metal_is_clipped_and_recorded(tmp_path: Path) -> None:
    datasets = Made().datasets()
    pixels = np.frombuffer(datasets[3].PixelData, np.uint16).copy()
    pixels[:3] = [4095, 4096, 30000]
    datasets[3].PixelData = pixels.tobytes()
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert volume.hu[3, 0, :3].tolist() == [3071, 3071, 3071]
    assert volume.warnings == ("clipped: 2 voxels above 3071 HU, up to 28976",)


def test_unused_bits_are_not_read(tmp_path: Path) -> None:
    datasets = Made().datasets(BitsStored=12, HighBit=11)
    for ds in datasets:
        ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0xA000).tobytes()
    write(tmp_path, datasets)
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


def test_monochrome1_is_only_a_way_to_display(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


def test_values_in_another_unit_are_refused(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(RescaleType="Z_EFF"))
    assert reasons(tmp_path) == ["values are in Z_EFF, not HU (and 19 more files of the series)"]


# What belongs together


def test_series_are_told_apart_by_uid_not_by_folder(tmp_path: Path) -> None:
    one, two = Made(), Made(corners=[(X[0], Y[0], z) for z in Z[:7]])
    first, second = one.datasets(), two.datasets()
    write(tmp_path / "a", first[:9] + second[:3])
    write(tmp_path / "b" / "c", first[9:] + second[3:], seed=1)
    series, left = find.find([tmp_path])
    assert left == []
    assert {s.uid: len(s.files) for s in series} == {one.series: 20, two.series: 7}
    for s in series:
        np.testing.assert_array_equal(find.read_volume(s).hu, expected()[: len(s.files)])


def test_files_that_are_there_twice_count_once(tmp_path: Path) -> None:
    datasets = Made().datasets()
    write(tmp_path / "a", datasets)
    write(tmp_path / "b", datasets)
    series, left = find.find([tmp_path])
    assert [len(s.files) for s in series] == [20]
    assert [o.reason for o in left] == ["a copy of another file (and 19 more files of the series)"]


def test_stacks_of_one_series_become_volumes_of_their_own(tmp_path: Path) -> None:
    """Ten slices of another size and a coronal scout under the same series UID."""
    large = Made()
    small = Made([(X[0], Y[0], z) for z in Z[:10]], size=(20, 30), series=large.series)
    write(
        tmp_path,
        [
            *small.datasets(),
            *large.datasets(),
            Made(orientation=(1, 0, 0, 0, 0, -1), series=large.series).dataset(0),
        ],
    )
    series, left = find.find([tmp_path])
    assert [o.reason for o in left] == ["slices are coronal, not axial"]
    volumes = {s.uid.rpartition("#")[2]: find.read_volume(s) for s in series}
    assert {name: v.hu.shape for name, v in volumes.items()} == {
        "1/2": (20, 30, 40),
        "2/2": (10, 20, 30),
    }
    assert volumes["2/2"].warnings == ("mixed: stack 2 of 2 of the series",)


def test_an_odd_slice_among_many_is_left_out(tmp_path: Path) -> None:
    made = Made()
    write(tmp_path, [*made.datasets(), Made(size=(16, 16), series=made.series).dataset(0)])
    series, left = find.find([tmp_path])
    assert [s.uid for s in series] == [made.series]
    assert [o.reason for o in left] == [
        "1 of 21 slices, unlike the series' others in size, orientation or pixel spacing"
    ]
    assert find.read_volume(series[0]).warnings == ()


def test_phases_are_split_by_acquisition(tmp_path: Path) -> None:
    made = Made()
    late = made.datasets(AcquisitionNumber=2, RescaleIntercept=-1000)
    for ds in late:
        ds.RescaleIntercept = -1024
    write(tmp_path, made.datasets() + late)
    series, _ = find.find([tmp_path])
    first, second = (find.read_volume(s) for s in sorted(series, key=lambda s: s.uid))
    np.testing.assert_array_equal(first.hu, expected())
    inside = expected() > -1000
    np.testing.assert_array_equal(second.hu[inside], expected()[inside] - 24)
    assert codes(first) == codes(second) == ["mixed"]


def test_many_slices_at_one_position_are_no_volume(tmp_path: Path) -> None:
    made = Made([(X[0], Y[0], 50.0)] * 8)
    write(tmp_path, [made.dataset(k, AcquisitionNumber=k + 1) for k in range(8)])
    assert find.find([tmp_path])[0] == []
    assert reasons(tmp_path) == ["8 slices at one position (and 7 more files of the series)"]


def test_without_series_uid_a_folder_is_a_series(tmp_path: Path) -> None:
    for folder in "ab":
        empty = {
            "SeriesInstanceUID": "",
            "PatientID": "",
            "StudyInstanceUID": "",
            "SOPClassUID": "",
            "SOPInstanceUID": None,
        }
        write(tmp_path / folder, Made().datasets(**empty))
    series, left = find.find([tmp_path])
    assert len(series) == 1
    assert [o.reason for o in left] == ["a copy of another file"]
    assert series[0].uid.startswith("content-")
    assert series[0].patient == ""
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())


def test_patient_is_id_and_issuer_or_the_study(tmp_path: Path) -> None:
    made = [Made(), Made(), Made()]
    write(
        tmp_path,
        made[0].datasets(IssuerOfPatientID="A")
        + made[1].datasets(IssuerOfPatientID="B")
        + made[2].datasets(PatientID=""),
    )
    patients = {s.uid: s.patient for s in find.find([tmp_path])[0]}
    assert patients == {
        made[0].series: "SECRET-ID|A",
        made[1].series: "SECRET-ID|B",
        made[2].series: made[2].study,
    }


def test_a_single_slice_has_its_thickness_for_a_step(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets()[:1])
    volume = only(tmp_path)
    assert volume.hu.shape == (1, 30, 40)
    assert volume.spacing_mm == (5.0, 4.0, 4.0)


# What is no CT slice


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"},
            "MR Image Storage, not CT",
        ),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"},
            "Comprehensive SR Storage, not CT",
        ),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3", "Modality": "RTSTRUCT"},
            "RT Structure Set Storage, not CT",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture Image Storage, not CT"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"},
            "Grayscale Softcopy Presentation State Storage, not CT",
        ),
        ({"SOPClassUID": "1.2.3.4.5"}, "private object, not CT"),
        ({"PixelData": None}, "no pixel data"),
        ({"PixelSpacing": None}, "no usable PixelSpacing"),
        ({"PixelSpacing": [0.0, 1.0]}, "PixelSpacing 0, 1 is not positive"),
        ({"SamplesPerPixel": 3}, "a colour image, not CT"),
    ],
)
def test_what_is_no_ct_slice_is_left_out_and_the_rest_goes_on(
    tmp_path: Path, tags: dict[str, Any], reason: str
) -> None:
    made = Made()
    write(
        tmp_path,
        [*made.datasets(), Made(series=made.series).dataset(0, **tags), Made().dataset(1, **tags)],
    )
    series, left = find.find([tmp_path])
    assert [o.reason for o in left] == [reason, reason]
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())


# Damaged and compressed files


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_one_damaged_file_of_twenty_is_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    cut(paths[5], 0.8)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 5, axis=0))
    assert volume.warnings[0] == "unreadable: 1 of 20 files (truncated or damaged (ValueError))"
    assert codes(volume) == ["unreadable", "gap"]


def test_three_damaged_files_of_twenty_are_too_many(tmp_path: Path) -> None:
    for path in write(tmp_path, Made().datasets())[:3]:
        cut(path, 0.8)
    with pytest.raises(UnusableError, match="3 of 20 files cannot be read: truncated or damaged"):
        only(tmp_path)


def test_a_header_cut_short_is_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    cut(paths[0], 0.1)
    cut(paths[1], 135 / paths[1].stat().st_size)
    series, left = find.find([tmp_path])
    assert [len(s.files) for s in series] == [18]
    assert {o.path for o in left} == {str(paths[0]), str(paths[1])}


def encode(path: Path, syntax: int) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
@pytest.mark.parametrize("signed", [0, 1])
def test_compressed_pixels(tmp_path: Path, syntax: str, signed: int) -> None:
    made = Made([(X[0], Y[0], z) for z in Z[:6]])
    for path in write(
        tmp_path, made.datasets(PixelRepresentation=signed, RescaleIntercept=0 if signed else -1024)
    ):
        encode(path, getattr(gdcm.TransferSyntax, syntax))
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(only(tmp_path).hu, expected()[:6])


def test_a_damaged_compressed_slice(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    cut(paths[2], 0.7)
    volume = only(tmp_path)
    assert codes(volume) == ["unreadable", "gap"]
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 2, axis=0))


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_other_ways_to_write_a_data_set(tmp_path: Path, syntax: str) -> None:
    datasets = Made().datasets()
    for ds in datasets:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).astype(">u2").tobytes()
    missing = Made().dataset(0, PixelData=None)
    missing.file_meta.TransferSyntaxUID = syntax
    write(tmp_path, [*datasets, missing])
    np.testing.assert_array_equal(only(tmp_path).hu, expected())
    assert reasons(tmp_path) == ["no pixel data"]


def test_files_without_preamble(tmp_path: Path) -> None:
    for number, ds in enumerate(Made().datasets()):
        del ds.file_meta
        pydicom.dcmwrite(tmp_path / str(number), ds, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


# Enhanced multi-frame


def enhanced(order: np.ndarray[Any, Any], heights: np.ndarray[Any, Any] = Z) -> Dataset:
    made = Made([(X[0], Y[0], float(heights[k])) for k in order])
    frames = made.datasets()
    ds = made.dataset(0, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=len(frames))
    ds.PixelData = b"".join(frame.PixelData for frame in frames)
    moved = (
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
    )
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    for name, part in zip(moved, (orientation, measures, measures, values, values), strict=True):
        setattr(part, name, ds[name].value)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in frames:
        position, functional = Dataset(), Dataset()
        position.ImagePositionPatient = frame.ImagePositionPatient
        functional.PlanePositionSequence = [position]
        groups.append(functional)
    ds.PerFrameFunctionalGroupsSequence = groups
    for name in (*moved, "ImagePositionPatient"):
        delattr(ds, name)
    return ds


def test_enhanced_ct_is_read_by_its_frames_geometry(tmp_path: Path) -> None:
    write(tmp_path, [enhanced(np.random.default_rng(4).permutation(len(Z)))])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == (5.0, 4.0, 4.0)
    assert volume.warnings == ()


def test_frames_without_functional_groups_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [Made().dataset(0, NumberOfFrames=2)])
    assert reasons(tmp_path) == ["several frames without functional groups"]


# Privacy


def test_no_identity_in_warnings_and_reasons(tmp_path: Path) -> None:
    made = Made()
    datasets = [
        *made.datasets(),
        made.dataset(3),
        Made().dataset(0, PixelData=None),
        Made().dataset(0, SOPClassUID="1.2.3.4.5"),
    ]
    paths = write(tmp_path, datasets)
    cut(paths[7], 0.8)
    cut(paths[-1], 0.3)
    series, left = find.find([tmp_path])
    texts = [o.reason for o in left] + [w for s in series for w in find.read_volume(s).warnings]
    assert len(texts) >= 4
    for secret in ("Secret", "SECRET", "1970", made.series, made.study, str(tmp_path), "IM0"):
        assert not [text for text in texts if secret in text]


# Real scans


def test_real_plain_series_equals_its_nifti(shared: Path) -> None:
    """The same scan went through another converter:

    same order, same sides, same HU where it was not resized.
    """
    (series,), _ = find.find([shared / "ct" / "dicom" / "lungdx_chest_8mm"])
    (nifti,), _ = find.find([shared / "ct" / "torso" / "dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz"])
    ours, theirs = find.read_volume(series), find.read_volume(nifti)
    assert ours.warnings == ()
    assert ours.hu.shape == (30, 512, 512)
    assert theirs.spacing_mm == pytest.approx((8.0, 2 * ours.spacing_mm[1], 2 * ours.spacing_mm[2]))
    halved = ours.hu.reshape(30, 256, 2, 256, 2).mean(axis=(2, 4))
    similar = [
        np.corrcoef(halved.ravel(), turned.ravel())[0, 1]
        for turned in (theirs.hu, theirs.hu[::-1], theirs.hu[:, :, ::-1])
    ]
    assert similar[0] > 0.99
    assert similar[0] > max(similar[1:]) + 0.1


def test_real_jpeg_2000_series_without_identifiers(shared: Path) -> None:
    (series,), left = find.find([shared / "ct" / "dicom" / "totalseg_jpeg2000_20"])
    volume = find.read_volume(series)
    assert left == []
    assert series.patient == ""
    assert volume.hu.shape == (20, 512, 512)
    assert volume.spacing_mm == (2.0, 0.9765625, 0.9765625)
    assert volume.warnings == ()


def test_real_tilted_series(shared: Path) -> None:
    """A head, 18.5 degrees: with the slices moved back, the middle of the skull cap stays where it
    is from slice to slice.
    """
    (series,), _ = find.find([shared / "ct" / "dicom" / "ge_head_gantry_tilt_uneven"])
    volume = find.read_volume(series)
    assert volume.warnings == (
        "tilt: 18.5 degrees; slices moved in-plane by up to 48.2 mm",
        "uneven: steps of 1.08 to 7.00 mm",
    )
    assert len(volume.hu) == 28
    bone = volume.hu[4:14, :, 256] > 300
    middle_mm = [volume.spacing_mm[1] * np.flatnonzero(row)[[0, -1]].mean() for row in bone]
    assert max(middle_mm) - min(middle_mm) < 6  # unmoved, 9 steps of 7 mm climb 21 mm
