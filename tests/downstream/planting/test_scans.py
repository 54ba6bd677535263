"""The scans that are planted: what `ingest` takes and refuses, with the patients of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made import dicom
from tests.made.trunk import SPACING, trunk
from ubr.downstream.planting.scans import find_scans
from ubr.downstream.planting.write import plant
from ubr.pretrain.data.ingestion import ingest


def small() -> NDArray[np.int16]:
    """`[z, y, x]` HU with air and tissue; no two voxels alike."""
    return np.arange(-1000, -1000 + 30 * 3 * 4 * 5, 30, np.int16).reshape(3, 4, 5)


def save(
    path: Path,
    hu: NDArray[Any],
    flip: tuple[int, int, int] = (-1, -1, -1),
    change: Callable[[Any], None] = lambda header: None,
    metres: bool = False,
) -> None:
    """A NIfTI file of `[z, y, x]` in the project's axes.

    flip: directions in which its own axes run, RAS being (1, 1, 1). change: called with its header.
    """
    unit = 0.001 if metres else 1.0
    steps = [flip[0] * SPACING[2], flip[1] * SPACING[1], flip[2] * SPACING[0]]
    data = hu.T[tuple(slice(None, None, -f) for f in flip)]
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(data), np.diag([*(s * unit for s in steps), 1]))
    image.header.set_xyzt_units("meter" if metres else "mm")
    change(image.header)
    nib.save(image, path)


def test_find_scans__turns_to_the_projects_axes(tmp_path: Path) -> None:
    hu = small()
    save(tmp_path / "a.nii.gz", hu)
    save(tmp_path / "b" / "ras.nii", hu + np.int16(1), (1, 1, 1))
    first, second = find_scans(tmp_path)
    assert first.patient != second.patient
    assert np.array_equal(first.volume.hu, hu) and np.array_equal(second.volume.hu, hu + 1)
    for scan in (first, second):
        assert np.allclose(scan.volume.spacing_mm, SPACING)


def test_find_scans__a_slope_metres_and_dicom_are_read(tmp_path: Path) -> None:
    save(tmp_path / "metres.nii", small(), metres=True)
    save(tmp_path / "scaled.nii", small() // 2, change=lambda h: h.set_slope_inter(2, 8))
    dicom.write(tmp_path / "dicom", dicom.Made().datasets())
    found = {Path(scan.source).name: scan.volume for scan in find_scans(tmp_path)}
    assert np.array_equal(found["metres.nii"].hu, small())
    assert np.allclose(found["metres.nii"].spacing_mm, SPACING)
    assert np.array_equal(found["scaled.nii"].hu, small() // 2 * 2 + 8)
    assert np.array_equal(found["dicom"].hu, dicom.expected())


def test_find_scans__patients_from_a_table(tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        save(tmp_path / "ct" / f"{name}.nii", small() + np.int16(i))
    (tmp_path / "catalog.csv").write_text(
        "file,region,patient\nct/a.nii,chest,X\nct/b.nii,chest,X\n"
    )
    assert [scan.patient == "X" for scan in find_scans(tmp_path / "ct")] == [True, True, False]
    assert [scan.patient == "X" for scan in find_scans(tmp_path)] == [True, True, False]
    (tmp_path / "list.csv").write_text("file,patient\nb.nii,Y\nc.nii,Y\n")
    listed = find_scans(tmp_path / "ct", tmp_path / "list.csv")
    assert [scan.patient == "Y" for scan in listed] == [False, True, True]
    (tmp_path / "list.csv").write_text("name,patient\nb.nii,Y\n")
    with pytest.raises(ValueError, match="needs the columns file, patient"):
        find_scans(tmp_path / "ct", tmp_path / "list.csv")


def test_find_scans__the_table_beside_the_files_is_not_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", small())
    (tmp_path / "catalog.csv").write_text("file,patient\na.nii,X\n")
    scans = find_scans(tmp_path)
    assert [scan.patient for scan in scans] == ["X"]
    assert scans.left_out == []


def test_find_scans__what_ingest_refuses_is_refused_with_the_same_reasons(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "broken.nii.gz").write_bytes(b"not a volume")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), files / "four.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), files / "two.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None), files / "unsaid.nii")
    save(files / "mask.nii", small() % 2)
    values = small().astype(np.float32)
    values[0, 0, 0] = np.nan
    save(files / "nan.nii", values)
    scans = find_scans(files)
    assert [*scans] == []
    refused = {Path(one.path).name: one.reason for one in scans.left_out}
    ingested = ingest([files], tmp_path / "store", workers=1)
    assert refused == {Path(one.path).name: one.reason for one in ingested.left_out}
    assert len(refused) == 6 and "4-D" in refused["four.nii"]
    with pytest.raises(ValueError, match=r"6 left out, first: damaged"):
        plant(scans, tmp_path / "set", progress=False)


def test_plant__names_of_files_are_not_told(tmp_path: Path) -> None:
    files = tmp_path / "files"
    save(files / "DOE_JIM.nii", trunk())
    for name in ("DOE_JANE.nii.gz", "DOE_JOHN.nii.gz"):
        (files / name).write_bytes(b"not a volume" + name.encode())
    told = plant(find_scans(files), tmp_path / "set", per_scan=1, progress=False)
    assert len(told.left_out) == 2 and "DOE" not in f"{told}{told.left_out}"
    assert re.search(r"left out +2 damaged", str(told))


def test_find_scans__nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no CT series was found"):
        find_scans(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        find_scans(tmp_path / "absent")


def test_find_scans__float_values_become_whole_hu(tmp_path: Path) -> None:
    values = np.full((3, 4, 5), 41.7, np.float32)
    values[0, 0, 0] = -1500
    save(tmp_path / "a.nii", values)
    (scan,) = find_scans(tmp_path)
    assert scan.volume.hu[0, 0, 0] == -1024
    assert scan.volume.hu[1, 1, 1] == 42


def test_find_scans__store(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        save(tmp_path / "files" / f"{name}.nii", small() + np.int16(i))
    (tmp_path / "list.csv").write_text("file,patient\na.nii,X\nb.nii,X\n")
    store = tmp_path / "store"
    ingest([tmp_path / "files"], store, workers=1, patients=tmp_path / "list.csv")
    first, second = scans = [*find_scans(store)]
    assert first.patient == second.patient != "X"
    volumes = sorted((scan.volume for scan in scans), key=lambda volume: int(volume.hu[0, 0, 0]))
    for i, volume in enumerate(volumes):
        assert np.array_equal(volume.hu, small() + i)
        assert np.allclose(volume.spacing_mm, SPACING)
    (damaged,) = store.glob(f"series/{first.key}.b2nd")
    damaged.unlink()
    scans_left = find_scans(store)
    assert [scan.key for scan in scans_left] == [second.key]
    assert "missing from the store" in scans_left.left_out[0].reason


def test_find_scans__a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "files" / "a.nii", small())
    ingest([tmp_path / "files"], tmp_path / "store", workers=1)
    (tmp_path / "store" / "store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="store format 99"):
        find_scans(tmp_path / "store")


def test_plant__the_same_scan_gives_the_same_slices_from_any_file(tmp_path: Path) -> None:
    """From int16, from a slope of 2, from metres and from a store."""
    hu = trunk() // 2 * 2
    save(tmp_path / "plain" / "a.nii.gz", hu)
    save(tmp_path / "scaled" / "a.nii.gz", hu // 2, change=lambda h: h.set_slope_inter(2, 0))
    save(tmp_path / "metres" / "a.nii.gz", hu, metres=True)
    ingest([tmp_path / "plain"], tmp_path / "store", workers=1)
    written = []
    for source in ("plain", "scaled", "metres", "store"):
        out = tmp_path / f"planted-{source}"
        plant(find_scans(tmp_path / source), out, per_scan=2, progress=False)
        written.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert len(written[0]) > 3
    assert all(one == written[0] for one in written)
