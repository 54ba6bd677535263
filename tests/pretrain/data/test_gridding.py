"""What scoring reads of a series: all slices, or only those that it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from tests.made.dicom import Made, X, Y, Z, enhanced, write
from tests.pretrain.data.test_ingestion import write_nifti
from ubr.pretrain.data.dicom import pixels
from ubr.pretrain.data.gridding import Slices, slices_of, spaced
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.scans import UnreadScan, scans_in_files, scans_in_store
from ubr.weights import InputSpec

GREY = InputSpec(size_px=32)


def read(source: Path, every_mm: float | None, inputs: InputSpec = GREY) -> Slices:
    ((scan,), _) = scans_in_files([source])
    return slices(scan, every_mm, inputs)


def slices(scan: UnreadScan, every_mm: float | None, inputs: InputSpec = GREY) -> Slices:
    found = slices_of(inputs, every_mm, scan)
    assert isinstance(found, Slices), found
    return found


@pytest.mark.parametrize(
    ("z_mm", "every_mm", "taken"),
    [
        ([0, 2.5, 5, 7.5, 10, 12.5], None, [0, 1, 2, 3, 4, 5]),
        ([0, 2.5, 5, 7.5, 10, 12.5], 5, [0, 2, 4, 5]),
        ([0, 2.5, 5, 7.5, 10, 12.5], 4.9, [0, 1, 2, 3, 4, 5]),
        ([0, 2.5, 5, 7.5, 10, 12.5], 1000, [0, 5]),
        ([0, 3, 30, 31, 32, 33], 10, [0, 1, 2, 5]),  # a gap is not bridged
        ([0], 5, [0]),
        (np.cumsum([0, *[0.1] * 100]), 0.3, [*range(0, 100, 3), 100]),
    ],
)
def test_spaced__are_as_few_as_lie_at_most_so_far_apart(
    z_mm: Any, every_mm: float | None, taken: list[int]
) -> None:
    assert spaced(np.array(z_mm, float), every_mm).tolist() == taken


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose pixels were decoded."""
    files: list[str] = []
    load = pixels._load

    def counting(path: str) -> Any:
        files.append(path)
        return load(path)

    monkeypatch.setattr(pixels, "_load", counting)
    return files


@pytest.mark.parametrize("neighbours", [None, 5.0])
@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), (-1.0, 0, 0, 0, -1.0, 0)])
def test_dicom__only_the_slices_needed_are_decoded(
    tmp_path: Path, decoded: list[str], neighbours: float | None, orientation: Any
) -> None:
    corners = [
        (X[0] if orientation[0] > 0 else X[-1], Y[0] if orientation[0] > 0 else Y[-1], float(z))
        for z in np.random.default_rng(0).permutation(Z)
    ]
    write(tmp_path / "s", Made(corners, orientation).datasets())  # 20 slices, 5 mm
    inputs = InputSpec(size_px=32, neighbours_mm=neighbours)
    whole = read(tmp_path / "s", None, inputs)
    decoded.clear()
    some = read(tmp_path / "s", 20.0, inputs)
    assert some.taken.tolist() == [0, 4, 8, 12, 16, 19]
    assert len(decoded) == len(set(decoded)) == (6 if neighbours is None else 16)
    assert some.z_mm.tolist() == whole.z_mm.tolist() == (5.0 * np.arange(20)).tolist()
    assert np.array_equal(some.grid, whole.grid[some.taken])


def holes(volume: Made) -> list[Any]:
    return [ds for number, ds in enumerate(volume.datasets()) if number not in (7, 8, 9)]


def test_dicom__geometry_and_what_is_missing_come_from_all_headers(tmp_path: Path) -> None:
    write(tmp_path / "s", holes(Made()))
    whole, some = (read(tmp_path / "s", every_mm) for every_mm in (None, 10.0))
    assert [w.split(":")[0] for w in whole.warnings] == ["gap"]
    assert some.warnings == whole.warnings and some.z_mm.tolist() == whole.z_mm.tolist()
    assert some.taken.tolist() == [0, 2, 4, 6, 7, 9, 11, 13, 15, 16]


def test_dicom__an_enhanced_object_and_duplicates(tmp_path: Path) -> None:
    write(tmp_path / "e", [enhanced(np.arange(len(Z))[::-1])])
    made = Made()
    twice = [*made.datasets(), *(made.dataset(k, AcquisitionNumber=2) for k in range(20))]
    write(tmp_path / "d", twice)
    for folder in ("e", "d"):
        ((scan, *_), _) = scans_in_files([tmp_path / folder])
        whole, some = (slices(scan, every_mm) for every_mm in (None, 30.0))
        assert len(some.taken) == 5 and some.warnings == whole.warnings
        assert np.array_equal(some.grid, whole.grid[some.taken])


def test_dicom__slices_that_are_moved_or_damaged_are_read_as_a_whole(
    tmp_path: Path, decoded: list[str]
) -> None:
    tilt = np.radians(15)
    down = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    write(tmp_path / "t", Made(orientation=(1.0, 0, 0, *down)).datasets())
    write(tmp_path / "c", Made().datasets())
    (file,) = (f for f in (tmp_path / "c").iterdir() if pydicom.dcmread(f).InstanceNumber == 9)
    file.write_bytes(file.read_bytes()[:-100])
    for folder, warning, n in (("t", "tilt", 20), ("c", "unreadable", 19)):
        decoded.clear()
        whole = read(tmp_path / folder, None)
        some = read(tmp_path / folder, 20.0)
        assert some.warnings == whole.warnings and len(some.z_mm) == n
        assert any(text.startswith(warning) for text in some.warnings)
        assert np.array_equal(some.grid, whole.grid[some.taken])


@pytest.mark.parametrize("neighbours", [None, 4.0])
def test_store__some_slices_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbours: float | None
) -> None:
    write_nifti(tmp_path / "a.nii", 1)
    ingest([tmp_path / "a.nii"], tmp_path / "store", workers=1)
    ((scan,), _) = scans_in_store(tmp_path / "store")
    inputs = InputSpec(size_px=32, field="body", neighbours_mm=neighbours)
    whole = slices(scan, None, inputs)
    step = float(np.diff(whole.z_mm)[0])
    read_slices: list[NDArray[np.int16]] = []
    from ubr.pretrain.data.store import Store

    reading = Store.read

    def counting(self: Store, key: str, some: Any, *, digest: str = "") -> NDArray[np.int16]:
        read_slices.append(reading(self, key, some, digest=digest))
        return read_slices[-1]

    monkeypatch.setattr(Store, "read", counting)
    some = slices(scan, 4 * step, inputs)
    assert len(some.taken) < len(whole.z_mm) and np.array_equal(some.grid, whole.grid[some.taken])
    if neighbours is None:
        assert len(read_slices[0]) == len(some.taken)
    files = read(tmp_path / "a.nii", 4 * step, inputs)
    assert files.taken.tolist() == some.taken.tolist() and files.grid.shape == some.grid.shape


@pytest.mark.parametrize("every_mm", [None, 10.0])
@pytest.mark.parametrize("neighbours", [None, 5.0])
def test_slices_without_a_body__are_not_taken_and_are_counted(
    tmp_path: Path, every_mm: float | None, neighbours: float | None
) -> None:
    hu = np.full((64, 64, 14), -1024, np.int16)
    hu[12:52, 12:52, 2:11] = np.random.default_rng(0).integers(-50, 90, (40, 40, 9))
    image = nib.Nifti1Image(hu[:, :, ::-1], np.diag([5.0, 5.0, 5.0, 1.0]))
    nib.save(image, tmp_path / "scan.nii")
    inputs = replace(GREY, neighbours_mm=neighbours)
    ingest([tmp_path / "scan.nii"], tmp_path / "store", workers=1)
    ((scan,), _) = scans_in_store(tmp_path / "store")
    asked = spaced(5.0 * np.arange(14), every_mm)
    of_file, of_store = (
        read(tmp_path / "scan.nii", every_mm, inputs),
        slices(scan, every_mm, inputs),
    )
    shown = [z for z in asked.tolist() if 2 <= z < 11]
    blank = f"blank: {len(asked) - len(shown)} slices without a body"
    for found in (of_file, of_store):
        assert found.taken.tolist() == shown and len(found.grid) == len(shown)
        assert found.warnings[-1].startswith(blank)
    assert np.array_equal(of_file.grid, of_store.grid)
