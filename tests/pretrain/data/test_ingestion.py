"""Ingest: good and bad files together, and every way to be stopped."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset

from ubr.pretrain.data import ingestion
from ubr.pretrain.data.find import find_one, read_volume
from ubr.pretrain.data.ingestion import DIED, LACKS, Ingested, ingest
from ubr.pretrain.data.scans import scans_of
from ubr.pretrain.data.store import SAME_CONTENT, Store, StoreError, folder
from ubr.pretrain.data.store.rows import BEFORE, FILES, OWN_PATIENT
from ubr.pretrain.data.store.values import read_values, write_values
from ubr.pretrain.data.volume import UnusableError
from ubr.weights.body import body_boxes
from ubr.weights.common.notes import Note, note

from ...made.dicom import Made, Z, enhanced, expected, write
from ...made.odd import brighter, concatenated, latin_folder, lost, odd_entries


def write_nifti(path: Path, seed: int, slices: int = 6, size: int = 32) -> None:
    hu = np.random.default_rng(seed).integers(-1000, 1000, (size, size, slices), dtype=np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0])), path)


def run(*sources: Path, store: Path, workers: int = 1, **options: object) -> Ingested:
    return ingest(sources, store, workers=workers, **options)  # type: ignore[arg-type]


def same_store(a: Path, b: Path) -> bool:
    """Same catalog and same pixels; for stores with the same secret."""
    one, other = Store.open(a), Store.open(b)
    assert one.catalog().equals(other.catalog())
    return all((one.read(r.key) == other.read(r.key)).all() for r in one.usable())


# Good and bad


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ingested]:
    """Good and bad files in folders whose names tell too much, and the store made of them."""
    scans = tmp_path_factory.mktemp("in") / "DOE^JANE 19610304"
    write(scans / "dicom", Made(series="1.2.3.4.5.99").datasets())
    for seed in range(3):
        write_nifti(scans / f"JANE-DOE-{seed}.nii.gz", seed)
    shutil.copy(scans / "JANE-DOE-1.nii.gz", scans / "copy.nii.gz")
    write_nifti(scans / "single.nii", 7, slices=1)
    whole = (scans / "JANE-DOE-0.nii.gz").read_bytes()
    (scans / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (scans / "letter.txt").write_text("Dear Jane Doe, born 19610304,")
    (scans / "empty").mkdir()
    patients = scans.parent / "patients.csv"
    patients.write_text(
        "file,patient\nDOE^JANE "
        "19610304/JANE-DOE-0.nii.gz,MRN-0815\nJANE-DOE-2.nii.gz,MRN-0815\nJANE-DOE-9.nii.gz,x\n",
        encoding="utf-8-sig",
    )
    store = tmp_path_factory.mktemp("out") / "store"
    return scans, store, run(scans, store=store, patients=patients, min_slices=2)


def test_the_good_are_taken_and_the_bad_left_out_with_the_reason(
    mixed: tuple[Path, Path, Ingested],
) -> None:
    scans, store, done = mixed
    assert sorted(row.kind for row in done.taken) == ["dicom", "nifti", "nifti", "nifti"]
    reasons = {Path(o.path).name: o.reason for o in done.left_out}
    assert len(done.left_out) == 5
    assert reasons.keys() == {
        "copy.nii.gz",
        "single.nii",
        "truncated.nii.gz",
        "letter.txt",
        "empty",
    }
    assert reasons["single.nii"] == "1 slices, fewer than the 2 asked for"
    assert all(
        str(scans) not in reason and "JANE" not in reason.upper() for reason in reasons.values()
    )
    assert sorted(Store.open(store).catalog()["reason"].to_pylist())[4:] == sorted(reasons.values())


def test_pixels_and_boxes_are_the_volumes(mixed: tuple[Path, Path, Ingested]) -> None:
    (row,) = (r for r in mixed[2].taken if r.kind == "dicom")
    np.testing.assert_array_equal(Store.open(mixed[1]).read(row.key), expected())
    assert row.body.shape == (len(expected()), 4) and (row.body[:, 1] > row.body[:, 0]).all()


def test_the_list_of_patients_joins_series(mixed: tuple[Path, Path, Ingested]) -> None:
    rows = mixed[2].taken
    assert len({r.patient for r in rows}) == 3
    assert mixed[2].unmatched == 1
    assert sum(r.patient == r.key for r in rows) == 1, (
        "the DICOM header and the list name the others"
    )


def test_nothing_identifies_a_patient_outside_private(mixed: tuple[Path, Path, Ingested]) -> None:
    planted = "jane doe secret mrn-0815 0815 1961 1970 1.2.3.4.5.99 nii.gz dicom/ letter".split()
    store = mixed[1]
    public = [p for p in store.rglob("*") if p.is_file() and "private" not in p.parts]
    assert len(public) > 8
    texts = {
        str(p.relative_to(store)): p.read_bytes().lower() for p in public if p.suffix != ".b2nd"
    }
    texts["catalog, decoded"] = repr(Store.open(store).catalog().to_pylist()).lower().encode()
    texts["names"] = " ".join(str(p.relative_to(store)) for p in public).lower().encode()
    for name, text in texts.items():
        for word in planted:
            assert (
                re.search(rf"(?<![0-9a-f.]){re.escape(word)}(?![0-9a-f])".encode(), text) is None
            ), (name, word)
    for p in public:
        if p.suffix == ".b2nd":  # words long enough not to turn up in compressed pixels by chance
            assert not [
                w
                for w in ("jane", "secret", "mrn-0815", "nii.gz", "1.2.3.4.5.99")
                if w.encode() in p.read_bytes().lower()
            ]
    kept = b"".join(p.read_bytes() for p in (store / "private").rglob("*") if p.is_file())
    assert b"JANE" in kept or b"DOE" in kept, "the test would find what is there"


def test_table(mixed: tuple[Path, Path, Ingested]) -> None:
    assert str(mixed[0]) not in mixed[2].table()
    text = mixed[2].table(with_paths=True)
    assert re.search(r"taken +4 series, 38 slices", text) and re.search(r"left out +5\n", text)
    assert re.search(r"1 1 slices, fewer than the 2 asked for\n +e\.g\. .*single\.nii", text)
    assert re.search(r"1 lines of the list of patients match no", text)


def test_again_nothing_is_read_twice_and_what_was_left_out_is_tried_again(
    mixed: tuple[Path, Path, Ingested], tmp_path: Path
) -> None:
    scans, store = tmp_path / "scans", tmp_path / "store"
    shutil.copytree(mixed[0], scans)
    shutil.copytree(mixed[1], store)
    before = {p: p.stat().st_mtime_ns for p in store.glob("series/*.b2nd")}
    (scans / "letter.txt").unlink()
    write_nifti(scans / "truncated.nii.gz", 50)
    done = run(scans, store=store)
    assert (len(done.taken), done.already) == (2, 4), (
        "single.nii is long enough now, truncated.nii.gz is whole"
    )
    assert {p: p.stat().st_mtime_ns for p in before} == before
    left = Store.open(store).catalog()["reason"].to_pylist()[6:]
    assert len(done.left_out) == 2 and len(left) == 2 + 4, (
        "what other sources left out stays: letter, truncated, copy, empty"
    )
    again = run(scans, store=store)
    assert (again.taken, again.already) == ((), 6)


def test_rows_of_what_is_gone_are_dropped(tmp_path: Path) -> None:
    scans, store = tmp_path / "scans", tmp_path / "store"
    write_nifti(scans / "a.nii", 1)
    (scans / "b.txt").write_text("b")
    (tmp_path / "c.txt").write_text("c")
    run(scans, tmp_path / "c.txt", store=store)
    assert Store.open(store).catalog()["status"].to_pylist() == ["taken", "left out", "left out"]
    (scans / "b.txt").unlink()
    run(scans, store=store)
    assert Store.open(store).catalog()["status"].to_pylist() == ["taken", "left out"]


def test_lost_pixels_are_read_again(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    (row,) = run(tmp_path / "scans", store=tmp_path / "store").taken
    store = Store.open(tmp_path / "store")
    pixels = store.read(row.key)
    (store.path / "series" / f"{row.key}.b2nd").unlink()
    assert len(run(tmp_path / "scans", store=store.path).taken) == 1
    np.testing.assert_array_equal(store.read(row.key), pixels)


def test_same_scan_in_two_formats_is_taken_once(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    write_nifti(tmp_path / "scans" / "b.nii.gz", 1)
    done = run(tmp_path / "scans", store=tmp_path / "store")
    assert len(done.taken) == 1 and [o.reason for o in done.left_out] == [SAME_CONTENT]


def test_dry(mixed: tuple[Path, Path, Ingested], tmp_path: Path) -> None:
    done = run(mixed[0], store=tmp_path / "store", dry=True)
    assert not (tmp_path / "store").exists()
    assert len(done.would_take) + len(done.left_out) == 9 and not done.taken
    assert re.search(
        r"would take +6 series\n( +1 file   nifti .*\n)* +20 files  dicom ", done.table()
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"name,id\na,b\n", "needs the columns file, patient; this one has name, id"),
        (b"\xff\xfe\x00", "not a readable CSV"),
    ],
)
def test_bad_list_of_patients(tmp_path: Path, text: bytes, match: str) -> None:
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(ValueError, match=match):
        run(tmp_path, store=tmp_path / "store", patients=tmp_path / "list.csv")
    assert not (tmp_path / "store").exists()


def test_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run(tmp_path, store=tmp_path / "store", workers=0)
    with pytest.raises(ValueError, match="does not exist"):
        run(tmp_path / "nowhere", store=tmp_path / "store")
    with pytest.raises(StoreError, match="M\ufffdnster: the path of a store must be UTF-8"):
        run(tmp_path / "nowhere", store=latin_folder(tmp_path))
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="store format 99"):
        run(tmp_path / "nowhere", store=tmp_path / "store")


@pytest.mark.parametrize("name", ["README.md", "weights.safetensors", "a.csv"])
def test_nothing_found_makes_no_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / name).write_text("a")
    for source in (tmp_path / "scans", tmp_path / "scans" / name):
        with pytest.raises(
            UnusableError, match=r"holds no CT series, so no store was made; 1 were left out .*not"
        ):
            run(source, store=tmp_path / "new" / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]
    write_nifti(tmp_path / "ct" / "a.nii", 1)
    run(tmp_path / "ct", store=tmp_path / "store")
    again = run(tmp_path / "scans", store=tmp_path / "store")  # one that is there stays
    assert (again.taken, len(again.left_out)) == ((), 1)
    assert len(Store.open(tmp_path / "store").usable()) == 1


@pytest.mark.parametrize("below", ["", "series", "private/sources"])
def test_a_store_is_no_source(tmp_path: Path, below: str) -> None:
    write_nifti(tmp_path / "ct" / "a.nii", 1)
    run(tmp_path / "ct", store=tmp_path / "store")
    for target in (tmp_path / "other", tmp_path / "store"):
        with pytest.raises(StoreError, match="is a store, or inside one; fit and score read it"):
            run(tmp_path / "store" / below, store=target)
    assert not (tmp_path / "other").exists()


def test_a_store_among_its_sources_is_not_looked_at(tmp_path: Path) -> None:
    write_nifti(tmp_path / "ct" / "a.nii", 1)
    for already in (0, 1):
        done = run(tmp_path / "ct", store=tmp_path / "ct" / "store")
        assert (done.already, len(done.taken), done.left_out) == (already, 1 - already, ())


def test_warnings_are_told_on_every_run(tmp_path: Path) -> None:
    for seed, z in ((1, 5.0), (2, 3.0)):
        write_nifti(tmp_path / "ct" / f"{seed}.nii", seed)
        path = tmp_path / "ct" / f"{seed}.nii"
        image = nib.load(path)
        turn = np.radians(z)
        turned = np.eye(4)
        turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        nib.save(nib.Nifti1Image(np.array(image.dataobj), turned @ image.affine), path)
    first, again = (run(tmp_path / "ct", store=tmp_path / "store") for _ in range(2))
    assert first.warnings() == again.warnings() == {"oblique": 2}
    assert "with warning      2 oblique" in first.table() and "     2 oblique" in again.table()
    assert (len(first.taken), first.already, len(again.taken), again.already) == (2, 0, 0, 2)


# Odd entries and UIDs


def test_odd_entries__all_at_once_cost_a_line_each(tmp_path: Path) -> None:
    write(tmp_path / "scans" / "good", Made().datasets())
    write(latin_folder(tmp_path / "scans"), brighter(Made().datasets()))
    with odd_entries(tmp_path / "scans" / "odd") as expected_reasons:
        done = run(tmp_path / "scans", store=tmp_path / "store")
        again = run(tmp_path / "scans", store=tmp_path / "store")
    assert len(done.taken) == 2 and again.already == 2
    assert len(done.left_out) == len(expected_reasons)
    assert str(tmp_path) not in done.table() and "nster" not in done.table()
    # Everything that is printed can be encoded, and is one line an entry.
    assert "two\ufffdlines" in done.table(with_paths=True).encode().decode()
    sources = Store.open(tmp_path / "store").sources()
    assert {Path(files[0]).parent.name for key, files in sources.items() if len(files) == 20} == {
        "good",
        "M\ufffdnster",
    }


def test_a_folder_that_is_not_utf_8__in_the_list_of_patients(tmp_path: Path) -> None:
    folder = latin_folder(tmp_path / "scans")
    write(folder, Made().datasets())
    (tmp_path / "list.csv").write_text("file,patient\nM\ufffdnster,P1\n", "utf-8")
    done = run(tmp_path / "scans", store=tmp_path / "store", patients=tmp_path / "list.csv")
    assert done.unmatched == 0


def test_a_uid_of_another_patient_in_the_store__makes_a_series_of_its_own(tmp_path: Path) -> None:
    made = Made(series="1.2.3", study="1.2.4")
    write(tmp_path / "a", made.datasets())
    write(tmp_path / "b", brighter(made.datasets(PatientID="OTHER")))
    store = tmp_path / "store"
    assert len(run(tmp_path / "a", store=store).taken) == 1
    done = run(tmp_path / "b", store=store)
    assert len(done.taken) == 1 and done.already == 0
    rows = Store.open(store).usable()
    assert len(rows) == 2 and len({row.patient for row in rows}) == 2
    assert sorted(int(Store.open(store).read(row.key).max()) for row in rows) == [
        int(expected().max()),
        int(expected().max()) + 24,
    ]
    assert run(tmp_path / "a", store=store).already == 1
    assert run(tmp_path / "b", store=store).already == 1
    assert len(Store.open(store).usable()) == 2
    # Both at once: the one that is there is recognized by its content.
    run(tmp_path, store=store)
    assert len(Store.open(store).usable()) == 2


def test_a_uid_of_another_patient_in_the_store__of_a_series_with_a_lost_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(series="1.2.3", study="1.2.4")
    write(tmp_path / "a", made.datasets())
    store = tmp_path / "store"
    run(tmp_path / "a", store=store)
    files = write(tmp_path / "b", brighter(made.datasets(PatientID="OTHER")))
    write(tmp_path / "b" / "good", brighter(Made().datasets(), 48))
    lost(monkeypatch, files[3])
    done = run(tmp_path / "b", store=store)
    assert len(done.taken) == 1 and len(Store.open(store).usable()) == 2
    ((path, reason),) = [(left.path, left.reason) for left in done.left_out]
    assert Path(path) == files[3] and str(tmp_path) not in reason
    assert reason.startswith("the file cannot be read (No such file or directory)")


def test_a_uid_of_another_patient_in_the_store__of_a_file_with_two_stacks(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number, patient in enumerate(["ONE", "OTHER"]):
        image = enhanced(np.tile(np.arange(len(Z)), 2))
        for k, functional in enumerate(image.PerFrameFunctionalGroupsSequence):
            functional.FrameContentSequence = [Dataset()]
            functional.FrameContentSequence[0].TemporalPositionIndex = 1 + k // len(Z)
        image.PatientID, image.SeriesInstanceUID, image.StudyInstanceUID = patient, "1.2.3", "1.2.4"
        stored = np.frombuffer(image.PixelData, np.uint16).reshape(2, -1)
        brightness = np.array([[2 * number], [2 * number + 1]], np.uint16)
        image.PixelData = (stored + brightness).astype(np.uint16).tobytes()
        write(tmp_path / patient, [image])
        assert len(run(tmp_path / patient, store=store).taken) == 2
    assert len(Store.open(store).usable()) == 4


# Patients that a table named


def exams_of_one(root: Path, count: int) -> Path:
    """Exams of one person, each under an ID of its own, and the table that joins them."""
    for number in range(count):
        made = Made(series=f"1.2.3.{number}", study=f"1.2.4.{number}")
        datasets = made.datasets(PatientID=f"ANON{number}")
        write(root / "scans" / f"exam{number}", brighter(datasets, 8 * number))
    lines = [f"exam{number},one-person" for number in range(count)]
    (root / "list.csv").write_text("\n".join(["file,patient", *lines]))
    return root / "list.csv"


def test_patients_of_a_table__stay_where_a_later_ingest_has_none(tmp_path: Path) -> None:
    table, store = exams_of_one(tmp_path, 3), tmp_path / "store"
    for patients in (None, table, None, table, None):  # it may come first or later
        run(tmp_path / "scans", store=store, patients=patients)
        rows = Store.open(store).rows()
        assert len(list((store / "series").glob("*.b2nd"))) == len(rows) == 3
        if patients is not None:
            named = {row.patient for row in rows}
    assert {row.patient for row in rows} == named and len(named) == 1
    (store / "series" / f"{rows[0].key}.b2nd").unlink()
    assert len(run(tmp_path / "scans", store=store).taken) == 1
    assert {row.patient for row in Store.open(store).rows()} == named
    # Another table wins, and another patient with such a UID is nobody whom a table has named.
    table.write_text("file,patient\nexam0,other\nexam1,other\nexam2,ANON2\n")
    run(tmp_path / "scans", store=store, patients=table)
    rows = Store.open(store).rows()
    assert len(rows) == 3 and len({row.patient for row in rows} | named) == 3
    write(tmp_path / "more", brighter(Made(series="1.2.3.0").datasets(PatientID="NEW"), 99))
    assert len(run(tmp_path / "more", store=store).taken) == 1
    assert len({row.patient for row in Store.open(store).rows()}) == 3


def test_patients_of_a_table__stay_in_stores_of_earlier_versions(tmp_path: Path) -> None:
    table, store = exams_of_one(tmp_path, 6), tmp_path / "store"
    run(tmp_path / "scans", store=store, patients=table)
    named = {row.patient for row in Store.open(store).rows()}
    for path in (store / "series").glob("*.json"):
        row = read_values(path, ())
        del row[OWN_PATIENT]  # which did not note it
        write_values(path, row)
    run(tmp_path / "scans", store=store)
    rows = Store.open(store).rows()
    assert len(rows) == 6 and {row.patient for row in rows} == named
    run(tmp_path / "scans", store=store, patients=table)  # notes it
    again = run(tmp_path / "scans", store=store)
    assert again.already == 6 and {row.patient for row in again.before} == named


# Series that have grown


def in_series(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "series").iterdir()}


def test_grown__a_series_is_taken_anew_when_the_rest_of_it_has_come(tmp_path: Path) -> None:
    datasets, scans = Made().datasets(), tmp_path / "scans"
    (tmp_path / "list.csv").write_text("file,patient\nscans,one\n")
    write(scans, datasets[:8])
    first = run(scans, store=tmp_path / "store", patients=tmp_path / "list.csv")
    shutil.copytree(tmp_path / "store", tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / "series")
    (tmp_path / "whole" / "series").mkdir()
    write(scans, datasets[8:])
    done = run(scans, store=tmp_path / "store")
    assert (len(done.taken), done.replaced, done.already, done.left_out) == (1, 1, 0, ())
    assert re.search(r"1 series, 20 slices\n  replacing +1 taken earlier", done.table())
    assert done.taken[0].patient == first.taken[0].patient, "which the table named"
    np.testing.assert_array_equal(
        Store.open(tmp_path / "store").read(done.taken[0].key), expected()
    )
    run(scans, store=tmp_path / "whole", patients=tmp_path / "list.csv")
    assert in_series(tmp_path / "store") == in_series(tmp_path / "whole")
    again = run(scans, store=tmp_path / "store")
    assert (again.taken, again.replaced, again.already) == ((), 0, 1)
    (row,) = (tmp_path / "store" / "series").glob("*.json")
    assert read_values(row, ()).keys() == {*BEFORE, "slices_crc32", OWN_PATIENT}


def test_grown__of_several_frames_a_file_or_with_copies_of_slices(tmp_path: Path) -> None:
    parts = concatenated(enhanced(np.arange(20)), 2)
    copies = brighter(Made(series="1.2.5").datasets(), 8)
    for number, one in enumerate((*copies, copies[3], copies[4])):
        write(tmp_path / "copies", [one], seed=number)
        one.ContentTime = "120000"  # a copy with other bytes
    write(tmp_path / "whole", [enhanced(np.arange(19))])
    for number, part in enumerate(parts, 1):
        write(tmp_path / "frames", [part])
        done = run(tmp_path, store=tmp_path / "store")
        slices = {row.slices for row in (*done.taken, *done.before)}
        assert (done.replaced, slices) == (number - 1, {10 * number, 19, 20})
    kept = in_series(tmp_path / "store")
    rows = {p: read_values(p, ()) for p in (tmp_path / "store" / "series").glob("*.json")}
    assert sorted(row.pop(FILES, 0) for row in rows.values()) == [0, 2, 22]
    for path, row in rows.items():
        write_values(path, row)  # as earlier versions wrote it
    done = run(tmp_path, store=tmp_path / "store")
    assert (done.taken, done.already, done.left_out) == ((), 3, ())
    after = in_series(tmp_path / "store")
    assert sum(after[name] != kept[name] for name in kept) == 1  # that of the parts, which are all


def test_grown__with_as_many_files_as_there_were_slices(tmp_path: Path) -> None:
    """Objects of two frames: ten files then, where five gave ten slices."""
    whole = [enhanced(np.arange(k, k + 2)) for k in range(0, 20, 2)]
    for number, one in enumerate(whole):
        one.SOPInstanceUID, one.InstanceNumber = f"1.2.7.{number}", number + 1
        for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
            setattr(one, name, whole[0].get(name))
    write(tmp_path / "scans", whole[:5])
    run(tmp_path / "scans", store=tmp_path / "store")
    write(tmp_path / "scans", whole[5:], seed=1)
    done = run(tmp_path / "scans", store=tmp_path / "store")
    assert done.replaced == 1 and [row.slices for row in done.taken] == [20]


def test_grown__files_that_could_not_be_read_and_are_whole_now(tmp_path: Path) -> None:
    paths = write(tmp_path / "scans", Made().datasets())
    whole = paths[5].read_bytes()
    paths[5].write_bytes(whole[:-100])
    first = run(tmp_path / "scans", store=tmp_path / "store")
    assert (first.taken[0].slices, first.warnings()) == (19, {"gap": 1, "unreadable": 1})
    kept = in_series(tmp_path / "store")
    again = run(tmp_path / "scans", store=tmp_path / "store")
    assert (again.taken, again.already, again.left_out) == ((), 1, ())
    assert in_series(tmp_path / "store") == kept
    paths[5].write_bytes(whole)
    done = run(tmp_path / "scans", store=tmp_path / "store")
    assert (done.replaced, done.taken[0].slices, done.warnings()) == (1, 20, {})


def test_grown__files_that_lack_slices_of_the_store_replace_nothing(tmp_path: Path) -> None:
    datasets = Made().datasets()
    write(tmp_path / "scans" / "a", datasets[:8])
    write(tmp_path / "scans" / "b", datasets[8:])
    run(tmp_path / "scans" / "a", store=tmp_path / "store")
    kept = in_series(tmp_path / "store")
    done = run(tmp_path / "scans" / "b", store=tmp_path / "store")
    assert (done.taken, done.already) == ((), 1)
    assert [(o.reason, o.key) for o in done.left_out] == [(LACKS, done.before[0].key)]
    (key,) = (row.key for row in Store.open(tmp_path / "store").rows())
    assert in_series(tmp_path / "store").items() >= kept.items() and key == done.before[0].key
    done = run(tmp_path / "scans", store=tmp_path / "store")
    assert (done.replaced, done.taken[0].slices, done.left_out) == (1, 20, ())
    assert len(in_series(tmp_path / "store")) == 2


def test_grown__killed_between_pixels_and_row_and_read_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, scans = Made().datasets(), tmp_path / "scans"
    write(scans, datasets[:8])
    run(scans, store=tmp_path / "store")
    store = Store.open(tmp_path / "store")
    (before,) = scans_of([store.path]).unread
    write(scans, datasets[8:])

    def killed(path: Path, values: object) -> None:
        raise KeyboardInterrupt

    series = find_one(scans)
    volume = read_volume(series)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_values", killed)
        with pytest.raises(KeyboardInterrupt):
            store.add(series, volume, body_boxes(volume.hu, volume.spacing_mm))
    with pytest.raises(StoreError, match="cannot be read"):  # neither the one nor the other
        before.read()
    assert run(scans, store=store.path).replaced == 1
    with pytest.raises(StoreError, match="was ingested anew meanwhile; repeat the command"):
        before.read()
    assert len(scans_of([store.path]).unread[0].read().volume.hu) == 20


# What goes wrong


def test_only_reasons_known_to_be_free_of_identity_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ubr.pretrain.data.volume import Series

    def read(series: Series) -> None:
        raise KeyError("PatientName DOE^JANE")

    monkeypatch.setattr(ingestion, "read_volume", read)
    store = Store.create(tmp_path / "store")
    ingestion._take(store, 1, Series("nifti", ("/a",), "u", ""))
    assert store.catalog()["reason"].to_pylist() == ["could not be read (KeyError)"]


def test_a_series_that_kills_its_process_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write_nifti(tmp_path / "scans" / f"{seed}.nii", seed)

    def dying(task: object, items: list[object], workers: int, name: str) -> object:
        yield from ((item, None if i == 1 else task(item)) for i, item in enumerate(items))  # type: ignore[operator]

    monkeypatch.setattr(ingestion, "each", dying)
    done = run(tmp_path / "scans", store=tmp_path / "store")
    assert len(done.taken) == 2 and [o.reason for o in done.left_out] == [DIED]


def test_a_script_without_guard_is_told_so(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    script = tmp_path / "script.py"
    call = f"ingest([{str(tmp_path / 'scans')!r}], {str(tmp_path / 'store')!r}, workers=1)"
    script.write_text(f"from ubr.pretrain.data.ingestion import ingest\n{call}\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (
        done.returncode == 1 and "under if __name__ == '__main__'" in done.stderr.splitlines()[-1]
    )


# Being stopped

SERIES = 24


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Folder, an empty store, and the store that an ingest nobody disturbed made of it; both with
    one secret.
    """
    root = tmp_path_factory.mktemp("stopped")
    for seed in range(SERIES):
        write_nifti(root / "scans" / f"{seed}.nii", seed, slices=60, size=96)
    (root / "scans" / "bad.nii").write_bytes(b"bad")
    Store.create(root / "empty")
    shutil.copytree(root / "empty", root / "whole")
    run(root / "scans", store=root / "whole")
    assert len(Store.open(root / "whole").rows()) == SERIES
    return root / "scans", root / "empty", root / "whole"


def start(scans: Path, store: Path) -> subprocess.Popen[bytes]:
    code = f"""
        import signal
        from ubr.pretrain.data.ingestion import ingest
        if __name__ == "__main__":
            # Ignored where the tests run in the background.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            ingest([{str(scans)!r}], {str(store)!r}, workers=2)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen[bytes], store: Path, pattern: str, count: int) -> None:
    """Until as many files are there and workers run: a file may be left from an earlier kill."""
    deadline = time.monotonic() + 180  # of a machine that does much else
    while (
        len(list(store.glob(pattern))) < count or not children(process)
    ) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Those of all its threads."""
    return [
        int(child)
        for thread in Path(f"/proc/{process.pid}/task").glob("*/children")
        for child in thread.read_text().split()
    ]


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "moments",
    [
        [("series/*[!t].json", 1), ("series/.*.part", 1), ("series/*[!t].json", 12)],
        [("series/*.b2nd", 5)],
    ],
)
def test_killed_and_started_again_equals_unbroken(
    unbroken: tuple[Path, Path, Path], tmp_path: Path, moments: list[tuple[str, int]]
) -> None:
    scans, empty, whole = unbroken
    store = Path(shutil.copytree(empty, tmp_path / "store"))
    for pattern, count in moments:
        process = start(scans, store)
        wait_for(process, store, pattern, count)
        workers = children(process)
        process.kill()
        assert process.wait() == -signal.SIGKILL and workers, (
            "it was over before it could be killed"
        )
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{p}").exists() for p in workers):
            assert time.monotonic() < deadline, "workers outlive a parent that was killed"
            time.sleep(0.01)
        assert len(Store.open(store).rows()) < SERIES
    run(scans, store=store)
    assert same_store(store, whole)
    assert not list(store.rglob("*.part"))


@pytest.mark.heavy
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process group")
def test_interrupted_leaves_a_store_that_can_be_continued(
    unbroken: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    scans, empty, whole = unbroken
    store = Path(shutil.copytree(empty, tmp_path / "store"))
    process = start(scans, store)
    wait_for(process, store, "series/*[!t].json", 3)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to the workers too
    assert process.wait(30) != 0
    assert not list(store.rglob("*.part"))
    assert (store / "catalog.parquet").exists() and 3 <= len(Store.open(store).rows()) < SERIES
    run(scans, store=store)
    assert same_store(store, whole)


@pytest.mark.heavy
def test_two_ingests_at_once_make_one_store(
    unbroken: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    scans, empty, whole = unbroken
    store = Path(shutil.copytree(empty, tmp_path / "store"))
    both = [start(scans, store) for _ in range(2)]
    # The second one is refused, unless it starts so late that the first has ended.
    assert sorted(p.wait(60) for p in both) in ([0, 1], [0, 0])
    assert same_store(store, whole)
    assert not list(store.rglob("*.part"))


# Real scans


@pytest.mark.heavy
def test_every_real_scan_is_taken(shared: Path, tmp_path: Path) -> None:
    with (shared / "ct" / "catalog.csv").open(newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    dicom = [path for path in (shared / "ct" / "dicom").iterdir() if path.is_dir()]
    patients_of = shared / "ct" / "catalog.csv"
    done = run(shared / "ct", store=tmp_path / "store", workers=2, patients=patients_of)
    assert len(done.taken) == len(listed) + len(dicom)
    assert {Path(o.path).name for o in done.left_out} == {"README.md", "catalog.csv"}
    assert done.unmatched == 0
    patients = {row["patient"] for row in listed}
    assert len({r.patient for r in done.taken}) == len(patients) + len(dicom)
    store = Store.open(tmp_path / "store")
    for row in done.taken:
        without_body = np.flatnonzero(row.body[:, 1] == 0).tolist()
        assert (store.read(row.key, without_body) < -300).all()  # nothing but air
    # Warnings where a NIfTI file gives reason for one.
    sources, warned = store.sources(), {}
    nifti = {row.key: Path(sources[row.key][0]) for row in done.taken if row.kind == "nifti"}
    there = sorted(path.name for path in (shared / "ct").rglob("*.nii.gz"))
    assert sorted(path.name for path in nifti.values()) == there
    for row in done.taken:
        if row.key in nifti:
            assert row.hu_min >= -1024
            if row.warnings:
                warned[nifti[row.key].name] = row.warnings
    assert warned["ge_head_dcm_qa_ct.nii.gz"] == ("tilt: 18.5 degrees",)
    assert all(
        w[0].startswith("clipped") for name, w in warned.items() if not name.startswith("ge_head")
    )


def test_an_ingest_stopped_while_it_searched__reads_no_header_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ubr.pretrain.data import find

    for number in range(3):
        for path in write(tmp_path / "scans" / str(number), Made().datasets()[number:]):
            os.utime(path, (1e9, 1e9))
    whole = run(tmp_path / "scans", store=tmp_path / "whole", workers=1)
    look, looked_at = find._look, Counter[str]()

    def stopped(path: str) -> object:
        if sum(looked_at.values()) == 40:
            raise KeyboardInterrupt
        looked_at[path] += 1
        return look(path)

    monkeypatch.setattr(find, "_look", stopped)
    monkeypatch.setattr(find, "_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "scans", store=tmp_path / "store", workers=1)
    assert not (tmp_path / "store" / "store.json").exists()
    looked_at.update({"the stop": 1})
    assert len(run(tmp_path / "scans", store=tmp_path / "store", workers=1).taken) == 3
    assert set(looked_at.values()) == {1} and len(looked_at) == 58
    rows = [Store.open(tmp_path / name).rows() for name in ("store", "whole")]
    assert [row.digest for row in rows[0]] == [row.digest for row in rows[1]]
    assert len(whole.taken) == 3 and not list(tmp_path.rglob("search-*"))


def test_a_damaged_row_in_the_store_is_noted_when_it_grows(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_nifti(tmp_path / name / "ct.nii", seed)
    store = ingest([tmp_path / "a"], tmp_path / "store", workers=1).store
    (row,) = (store / "series").glob("*.json")
    row.write_bytes(row.read_bytes()[:-9])
    note.cache_clear()
    with pytest.warns(Note, match="1 series of .*store cannot be used: its row in the store is"):
        ingest([tmp_path / "b"], store, workers=1)


def test_private__is_its_owners_only_while_an_ingest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(tmp_path / "scans" / "ct.nii", 1)
    from ubr.pretrain.data import find

    modes: dict[str, int] = {}
    look, private = find._look, tmp_path / "store" / "private"

    def looking(path: str) -> object:
        modes.update({p.suffix: p.stat().st_mode & 0o777 for p in (private, *private.iterdir())})
        return look(path)

    monkeypatch.setattr(find, "_look", looking)
    run(tmp_path / "scans", store=tmp_path / "store", workers=1)
    assert modes == {"": 0o700, ".sqlite": 0o600, ".sqlite-wal": 0o600}
    assert private.stat().st_mode & 0o777 == 0o700
