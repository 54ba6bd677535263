"""One reader for files of every kind and for stores; what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ubr import pretrain
from ubr.pretrain.data import scans
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import StoreError
from ubr.pretrain.data.volume import UnusableError

from ...made.dicom import Made, expected, write
from ...made.scans import save_volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "ct" / "dicom", Made().datasets())
    save_volume(tmp_path / "ct" / "b.nii.gz", expected() + 1)
    (tmp_path / "ct" / "c.nii").write_bytes(b"not a volume")
    (tmp_path / "ct" / "notes.txt").write_text("no CT")
    return tmp_path / "ct"


def test_scans_of__files_of_every_kind_in_the_projects_axes(folder: Path) -> None:
    found = scans.scans_of([folder])
    assert len(found) == 3
    b, dicom = found
    np.testing.assert_array_equal(b.volume.hu, expected() + 1)
    np.testing.assert_array_equal(dicom.volume.hu, expected())
    assert b.volume.spacing_mm == dicom.volume.spacing_mm == (5.0, 4.0, 4.0)
    assert b.source.endswith("b.nii.gz") and dicom.source == str(folder / "dicom")
    assert b.patient == b.key  # the format names none
    assert "SECRET" in dicom.patient and "SECRET" not in repr(dicom)
    assert [(Path(out.path).name, out.reason) for out in found.left_out] == [
        ("notes.txt", "not DICOM, NIfTI, NRRD, MetaImage or PNG"),
        ("c.nii", "damaged or truncated NIfTI file"),
    ]


def test_scans_of__iterated_again_reads_again(folder: Path) -> None:
    found = scans.scans_of([folder])
    assert len([*found]) == len([*found]) == 2
    assert len(found.left_out) == 2


@pytest.mark.heavy
def test_scans_of__workers_read_the_same(folder: Path) -> None:
    here, there = scans.scans_of([folder]), scans.scans_of([folder], workers=2)
    by_key = {scan.key: scan.volume for scan in there}
    for scan in here:
        np.testing.assert_array_equal(by_key.pop(scan.key).hu, scan.volume.hu)
    assert not by_key
    assert here.left_out == there.left_out


def test_scans_of__a_store_gives_what_was_ingested(folder: Path, tmp_path: Path) -> None:
    ingest([folder], tmp_path / "store", workers=1)
    stored = [*scans.scans_of([tmp_path / "store"])]
    assert [scan.key for scan in stored] == sorted(scan.key for scan in stored)
    read = {scan.key: scan for scan in scans.scans_of([folder])}
    for scan in stored:
        np.testing.assert_array_equal(scan.volume.hu, read[scan.key].volume.hu)
        np.testing.assert_array_equal(scan.volume.z_mm, read[scan.key].volume.z_mm)
        assert scan.volume.spacing_mm == read[scan.key].volume.spacing_mm
        assert scan.source == scan.key
    next((tmp_path / "store" / "series").glob(f"{stored[0].key}.b2nd")).unlink()
    found = scans.scans_of([tmp_path / "store"])
    assert len([*found]) == 1
    assert found.left_out[0].key == stored[0].key
    assert "are missing from the store" in found.left_out[0].reason


def test_scans_of__patients_of_a_table(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("file,patient\nct/b.nii.gz,1\nct/dicom,1\nabsent.nii,2\n")
    found = scans.scans_of([folder], patients=table)
    assert [scan.patient for scan in found] == ["1", "1"]
    assert found.unmatched == 1


def test_scans_of__what_cannot_be_meant_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UnusableError, match=r"no CT series was found \(the folder is empty"):
        scans.scans_of([tmp_path / "none"])
    with pytest.raises(UnusableError, match="does not exist"):
        scans.scans_of([tmp_path / "absent"])
    ingest([folder / "b.nii.gz"], tmp_path / "store", workers=1)
    with pytest.raises(StoreError, match="a store is read alone"):
        scans.scans_of([tmp_path / "store", folder])
    with pytest.raises(StoreError, match="a store knows its patients"):
        scans.scans_of([tmp_path / "store"], patients=tmp_path / "patients.csv")
    (tmp_path / "store" / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="has store format 99"):
        scans.scans_of([tmp_path / "store"])


def test_read_scan__one_series(folder: Path) -> None:
    scan = scans.read_scan(folder / "dicom")
    np.testing.assert_array_equal(scan.volume.hu, expected())
    with pytest.raises(UnusableError, match="holds 3 series"):
        scans.read_scan(folder)
    with pytest.raises(UnusableError, match="damaged or truncated NIfTI"):
        scans.read_scan(folder / "c.nii")


def test_read__is_the_volume_under_its_public_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for volume in (
        pretrain.read(str(save_volume(tmp_path / "one" / "a.nii.gz"))),
        pretrain.read(tmp_path / "one"),
    ):
        np.testing.assert_array_equal(volume.hu, expected())
        assert volume.spacing_mm == (5.0, 4.0, 4.0)
        assert (volume.z_mm == 5.0 * np.arange(len(expected()))).all()
    with pytest.raises(UnusableError, match="does not exist"):
        pretrain.read(tmp_path / "nowhere")
    with pytest.raises(UnusableError, match="series; give the file or folder of one"):
        pretrain.read(folder)


def test_why_unread__others_texts_may_hold_identity() -> None:
    assert scans.why_unread(UnusableError("no slices")) == "no slices"
    assert scans.why_unread(RuntimeError("/scans/DOE^JANE")) == "could not be read (RuntimeError)"
    assert scans.why_unread(MemoryError()) == "not enough memory to read it"


def test_found_scans__are_those_of_the_lists_and_are_read_anew(folder: Path) -> None:
    unread, left_out = scans.scans_in_files([folder])
    with scans.found_scans([folder]) as found:
        assert len(found) == 3  # one of them turns out to be damaged
        for _ in range(2):
            assert [one.key for one in found] == [one.key for one in unread]
            assert list(found.left_out()) == left_out
        nifti, _, dicom = found
        assert found.headers(nifti) == []
        headers = found.headers(dicom)
        assert [header.path for header in headers] == list(dicom.origin.files)  # type: ignore[union-attr]
        numbers = sorted(one.instance for header in headers for one in header.slices)
        assert numbers == list(range(1, 21))


def test_found_scans__of_a_store(folder: Path, tmp_path: Path) -> None:
    ingest([folder], tmp_path / "store", workers=1)
    with scans.found_scans([tmp_path / "store"]) as found:
        assert len(found) == 2 == len([*found]) and not [*found.left_out()]
        assert found.headers(next(iter(found))) == []
    with pytest.raises(StoreError, match="a store is read alone"):
        with scans.found_scans([tmp_path / "store", folder]):
            pass
