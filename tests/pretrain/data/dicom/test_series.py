"""Which files are one series, one stack, one patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ubr.pretrain.data import find

from ....made.dicom import Made, X, Y, Z, expected, write
from ....made.odd import brighter, lost
from ....made.scans import codes, only, reasons


def test_series_are_told_apart_by_uid_not_by_folder(tmp_path: Path) -> None:
    one, two = Made(), Made(corners=[(X[0], Y[0], z) for z in Z[:7]])
    first, second = one.datasets(), two.datasets()
    write(tmp_path / "a", first[:9] + second[:3])
    write(tmp_path / "b" / "c", first[9:] + second[3:], seed=1)
    series, left = find.find_series([tmp_path])
    assert left == []
    assert {s.uid: len(s.files) for s in series} == {one.series: 20, two.series: 7}
    for s in series:
        np.testing.assert_array_equal(find.read_volume(s).hu, expected()[: len(s.files)])


def test_files_that_are_there_twice_count_once(tmp_path: Path) -> None:
    datasets = Made().datasets()
    write(tmp_path / "a", datasets)
    write(tmp_path / "b", datasets)
    series, left = find.find_series([tmp_path])
    assert [len(s.files) for s in series] == [20]
    assert [o.reason for o in left] == ["a copy of another file (and 19 more files of the series)"]


def test_stacks_of_one_series_become_volumes_of_their_own(tmp_path: Path) -> None:
    """Ten slices of another size and a coronal scout under the same series UID."""
    large = Made()
    small = Made(
        [(X[0], Y[0], z) for z in Z[:10]], size=(20, 30), series=large.series, study=large.study
    )
    write(
        tmp_path,
        [
            *small.datasets(),
            *large.datasets(),
            Made(orientation=(1, 0, 0, 0, 0, -1), series=large.series, study=large.study).dataset(
                0
            ),
        ],
    )
    series, left = find.find_series([tmp_path])
    assert [o.reason for o in left] == ["slices are coronal, not axial"]
    volumes = {s.uid.rpartition("#")[2]: find.read_volume(s) for s in series}
    assert {name: v.hu.shape for name, v in volumes.items()} == {
        "1/2": (20, 30, 40),
        "2/2": (10, 20, 30),
    }
    assert volumes["2/2"].warnings == ("mixed: stack 2 of 2 of the series",)


def test_an_odd_slice_among_many_is_left_out(tmp_path: Path) -> None:
    made = Made()
    write(
        tmp_path,
        [*made.datasets(), Made(size=(16, 16), series=made.series, study=made.study).dataset(0)],
    )
    series, left = find.find_series([tmp_path])
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
    series, _ = find.find_series([tmp_path])
    first, second = (find.read_volume(s) for s in sorted(series, key=lambda s: s.uid))
    np.testing.assert_array_equal(first.hu, expected())
    inside = expected() > -1000
    np.testing.assert_array_equal(second.hu[inside], expected()[inside] - 24)
    assert codes(first) == codes(second) == ["mixed"]


def test_many_slices_at_one_position_are_no_volume(tmp_path: Path) -> None:
    made = Made([(X[0], Y[0], 50.0)] * 8)
    write(tmp_path, [made.dataset(k, AcquisitionNumber=k + 1) for k in range(8)])
    assert find.find_series([tmp_path])[0] == []
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
    series, left = find.find_series([tmp_path])
    assert len(series) == 1
    assert [o.reason for o in left] == ["a copy of another file"]
    assert series[0].uid.startswith("content-")
    assert series[0].patient == ""
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())


LOST = "the file cannot be read (No such file or directory)"
COSTS_ITS_SERIES = f"{LOST}; without it nothing tells its series from others"


def test_a_file_lost_since_its_header_was_read__costs_its_series_without_uid_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "good", Made().datasets())
    files = write(tmp_path / "without", brighter(Made().datasets(SeriesInstanceUID="")))
    lost(monkeypatch, files[3])
    (series,), left = find.find_series([tmp_path])
    assert Path(series.files[0]).parent.name == "good"
    assert [(Path(o.path), o.reason) for o in left] == [(files[3], COSTS_ITS_SERIES)]


def test_a_file_lost_since_its_header_was_read__among_copies_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = Made().datasets(SeriesInstanceUID="", SOPInstanceUID="1.2")
    files = write(tmp_path, [*datasets, datasets[3]])
    lost(monkeypatch, files[3])
    (series,), left = find.find_series([tmp_path])
    assert [(Path(o.path), o.reason) for o in left] == [(files[3], LOST)]
    np.testing.assert_array_equal(find.read_volume(series).hu, expected())


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


# A UID alone is no identity


def fixed_uids(**tags: Any) -> list[Dataset]:
    """A writer that gives the same UIDs to every scan."""
    made = Made(series="1.2.3", study="1.2.4")
    return [
        made.dataset(k, **({"StudyInstanceUID": "1.2.4", "SOPInstanceUID": f"1.2.5.{k}"} | tags))
        for k in range(len(Z))
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "OTHER"},
        {"IssuerOfPatientID": "B"},
        {"PatientName": "Else^Somebody"},
        {"PatientBirthDate": "19800202"},
        {"StudyInstanceUID": "1.2.9"},
    ],
)
@pytest.mark.parametrize("mixed", [False, True])
def test_one_series_uid__of_two_patients_or_studies(
    tmp_path: Path, other: dict[str, str], mixed: bool
) -> None:
    """In two folders, or in one where the names of files alternate."""
    write(tmp_path / "a", fixed_uids())
    write(tmp_path / ("a" if mixed else "b"), brighter(fixed_uids(**other)), seed=1)
    series, left = find.find_series([tmp_path])
    assert left == [] and len({s.uid for s in series}) == 2
    first, second = sorted((find.read_volume(s) for s in series), key=lambda v: float(v.hu.mean()))
    np.testing.assert_array_equal(first.hu, expected())
    np.testing.assert_array_equal(second.hu, expected() + 24)
    assert first.warnings == ("mixed: 2 patients or studies have this series' UID",)


def test_one_series_uid__of_two_patients_one_of_whose_files_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", fixed_uids())
    files = write(tmp_path / "b", brighter(fixed_uids(PatientID="OTHER")), seed=1)
    lost(monkeypatch, files[3])
    (series,), left = find.find_series([tmp_path])
    np.testing.assert_array_equal(find.read_volume(series).hu, expected())
    assert [(Path(o.path), o.reason) for o in left] == [(files[3], COSTS_ITS_SERIES)]


def test_one_sop_uid__for_all_slices_of_three_ways(tmp_path: Path) -> None:
    for name, uid in (("one", "1.2.3"), ("none", ""), ("pairs", None)):
        datasets = Made().datasets()
        for k, ds in enumerate(datasets):
            ds.SOPInstanceUID = f"1.2.{k // 2}" if uid is None else uid
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID or "1.2"
        write(tmp_path / name, datasets)
    series, left = find.find_series([tmp_path])
    assert left == [] and len(series) == 3
    for one in series:
        np.testing.assert_array_equal(find.read_volume(one).hu, expected())


def test_a_copy__has_equal_pixels(tmp_path: Path) -> None:
    """Written again by another program: the bytes of the files differ, the slices do not."""
    datasets = Made().datasets()
    write(tmp_path / "a", datasets)
    for ds in datasets:
        ds.SpecificCharacterSet = "ISO_IR 192"
    write(tmp_path / "b", datasets)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ("duplicate: 20 of 40 slices",)


# Series of one slice each


def single_slices(**tags: Any) -> list[Dataset]:
    made = Made()
    return [
        made.dataset(k, SeriesInstanceUID=f"1.2.3.{k}", SeriesNumber=4, **tags)
        for k in range(len(Z))
    ]


@pytest.mark.parametrize("in_folders", [False, True])
def test_single_slices__of_one_study_and_number_are_one_scan(
    tmp_path: Path, in_folders: bool
) -> None:
    for k, ds in enumerate(single_slices()):
        write(tmp_path / (str(k) if in_folders else "all"), [ds])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.warnings == ("joined: 20 series of one slice each",)


def test_single_slices__of_one_scan_one_of_which_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, single_slices())
    lost(monkeypatch, files[3])
    series, left = find.find_series([tmp_path])
    assert series == []
    assert [(Path(o.path), o.reason) for o in left] == [(files[3], COSTS_ITS_SERIES)]


def test_single_slices__of_two_scans_are_two(tmp_path: Path) -> None:
    write(tmp_path, single_slices(StudyInstanceUID="1.2"))
    others = single_slices(StudyInstanceUID="1.2")
    for k, ds in enumerate(brighter(others)):
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.4.{k}", 5
    write(tmp_path, others)
    first, second = sorted(
        (find.read_volume(s).hu for s in find.find_series([tmp_path])[0]), key=np.mean
    )
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(second, expected() + 24)


def test_single_slices__that_may_not_belong_together_say_so(tmp_path: Path) -> None:
    """Gaps between them, or a study for each."""
    write(tmp_path / "a", [single_slices()[k] for k in (0, 1, 2, 9, 10)])
    studies = single_slices(PatientID="OTHER")
    for k, ds in enumerate(studies):
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.8.{k}", f"1.2.9.{k}"
    write(tmp_path / "b", studies)
    found = [find.read_volume(s).warnings for s in find.find_series([tmp_path])[0]]
    assert (
        sorted(found)
        == [("single: one of 20 series of one slice each",)] * 20
        + [("single: one of 5 series of one slice each",)] * 5
    )


def test_single_slices__at_one_place_are_left_as_they_are(tmp_path: Path) -> None:
    """Slices that watch the contrast medium arrive."""
    made = Made([(X[0], Y[0], 50.0)] * 6)
    write(tmp_path, [made.dataset(k, SeriesInstanceUID=f"1.2.{k}") for k in range(6)])
    assert [find.read_volume(s).warnings for s in find.find_series([tmp_path])[0]] == [()] * 6
