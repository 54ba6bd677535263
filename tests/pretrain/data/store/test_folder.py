"""The store as a folder: nothing half made is taken for whole, nothing identifies a patient."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.data.digests import volume_digest
from ubr.pretrain.data.store import Store, StoreError
from ubr.pretrain.data.store.rows import BEFORE
from ubr.weights.common import disk
from ubr.weights.common.notes import note

from ....made.flips import flipped
from ....made.odd import latin_folder
from ....made.stores import add, made_boxes, made_series, made_volume


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_round_trip_is_bitwise(store: Store) -> None:
    volume = made_volume(1)
    key = store.add(made_series(1, "4711"), volume, made_boxes(volume))
    read = Store.open(store.path).read(key)
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, volume.hu)
    (row,) = Store.open(store.path).rows()
    assert (row.key, row.kind, row.slices, row.rows, row.columns) == (key, "nifti", 9, 20, 30)
    assert row.spacing_mm == volume.spacing_mm and row.warnings == volume.warnings
    assert (row.hu_min, row.hu_max) == (volume.hu.min(), volume.hu.max())
    np.testing.assert_array_equal(row.z_mm, volume.z_mm)
    np.testing.assert_array_equal(row.body, made_boxes(volume))
    assert row.z_mm.dtype == np.float64 and row.body.dtype == np.int16


def test_left_out_and_then_taken(store: Store) -> None:
    key = store.key(made_series(1))
    store.leave_out(key, "nifti", "damaged")
    assert not store.has(key) and store.catalog()["status"].to_pylist() == ["left out"]
    add(store, 1)
    assert store.has(key) and store.catalog()["status"].to_pylist() == ["taken"]


def test_taken_anew(store: Store) -> None:
    """The names of its files stay the same, by which the catalog is judged."""
    key = add(store, 1)
    (before,) = store.rows()
    volume = made_volume(1, slices=12)
    assert store.add(made_series(1), volume, made_boxes(volume)) == key
    (row,) = store.rows()
    assert (row.slices, row.digest) == (12, volume_digest(volume)) != (9, before.digest)


@pytest.mark.skipif(os.name != "posix", reason="asks the system which processes live")
def test_leftovers_of_dead_writers_are_cleaned_and_those_of_living_ones_are_not(
    store: Store,
) -> None:
    with disk.whole(store.path / "series" / "a.json") as part:
        living, host = part.parent, part.parent.name.split(".")[3].partition("-")[0]
        process = multiprocessing.get_context("spawn").Process()
        process.start()
        process.join()
        dead = living.with_name(f".b.b2nd.{host}-{process.pid}.x.part")
        dead.mkdir()
        (dead / "b.b2nd").write_bytes(b"half")
        before = living.with_name(f"b.b2nd.{host}-{process.pid}.tmp")  # as earlier versions left it
        elsewhere = living.with_name(f"c.b2nd.ffffffff-{process.pid}.tmp")
        for path in (before, elsewhere):
            path.write_bytes(b"half")
        assert not Store.open(store.path).rows()
        store.clean()
        left = [path.exists() for path in (living, dead, before, elsewhere)]
        assert left == [True, False, False, True]
        part.write_text("{}")


@pytest.mark.parametrize("leftover", ["store.json.0123abcd-5.tmp", ".store.json.0123abcd-5.x.part"])
def test_a_store_cut_while_it_was_made_is_made_whole(tmp_path: Path, leftover: str) -> None:
    (tmp_path / "private" / "sources").mkdir(parents=True)
    (tmp_path / leftover).write_text("{")
    store = Store.create(tmp_path)
    add(store, 1, "4711")
    assert len(store.rows()) == 1
    assert len((tmp_path / "private" / "secret").read_text()) == 64


def test_the_secret_of_the_first_writer_stays(store: Store) -> None:
    from ubr.pretrain.data.store.keys import make_secret

    path = store.path / "private" / "secret"
    first = path.read_text()
    make_secret(path)
    assert path.read_text() == first
    assert {p.name for p in path.parent.iterdir()} == {"secret", "sources"}


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is not a store.*ubr-pretrain ingest"):
        Store.open(tmp_path)
    (tmp_path / "store.json").write_text("[]")
    with pytest.raises(StoreError, match="is not a store"):
        Store.open(tmp_path)


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(
        StoreError, match="exists and is not a store; name a new or an empty folder"
    ):
        Store.create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_folder_that_is_not_utf_8_is_refused_as_a_whole(store: Store, tmp_path: Path) -> None:
    """Otherwise its pixels would seem to be damaged."""
    folder = latin_folder(tmp_path)
    with pytest.raises(StoreError, match="M\ufffdnster: the path of a store must be UTF-8"):
        Store.create(folder)
    assert [*folder.iterdir()] == []
    with pytest.raises(StoreError, match="M\ufffdnster/store: the path of a store must be UTF-8"):
        Store.open(store.path.rename(folder / "store"))


def test_a_store_half_made_is_made_whole(store: Store) -> None:
    secret = (store.path / "private" / "secret").read_text()
    (store.path / "store.json").unlink()
    assert not Store.create(store.path).rows()
    assert (store.path / "private" / "secret").read_text() == secret


def test_newer_format(store: Store) -> None:
    (store.path / "store.json").write_text(
        json.dumps({"format": 2, "made_with": "ubr-pretrain 9.1"})
    )
    for use in (Store.open, Store.create):
        with pytest.raises(
            StoreError,
            match=r"store format 2, made with ubr-pretrain 9\.1; this version reads up to 1: "
            r"update",
        ):
            use(store.path)


def test_nothing_usable(store: Store) -> None:
    with pytest.raises(StoreError, match="holds no usable series; 0 were left out"):
        store.usable()
    for i, reason in enumerate(["no pixel data", "4-D image", "no pixel data"]):
        store.leave_out(f"{i:016x}", "nifti", reason)
    with pytest.raises(StoreError, match=r"3 were left out \(most often: no pixel data\)"):
        store.usable()
    add(store, 1)
    assert len(store.usable()) == 1


def test_patient_known_later(store: Store) -> None:
    add(store, 1)
    add(store, 2, "B")
    store.name_patients([made_series(1, "B"), made_series(2, "")])
    store.rebuild()
    assert {r.patient for r in store.rows()} == {store.patient(made_series(9, "B"))}


def test_without_private_a_store_is_read_but_not_added_to(store: Store) -> None:
    key = add(store, 1, "A")
    shutil.rmtree(store.path / "private")
    again = Store.open(store.path)
    assert len(again.rows()) == 1 and len(again.read(key)) == 9
    with pytest.raises(StoreError, match=r"no private/secret; it can be read, but not added to"):
        add(again, 2, "B")


def test_sources_are_kept_in_private(store: Store) -> None:
    store.note_sources([("k1", ["/scans/a/1.dcm", "/scans/a/b/2.dcm"]), ("k2", ["/scans/c.nii"])])
    store.note_sources([("k3", ["/other/d.nii"])])
    store.note_sources([("k3", ["/other/d.nii"])])
    assert store.sources() == {
        "k1": ["/scans/a/1.dcm", "/scans/a/b/2.dcm"],
        "k2": ["/scans/c.nii"],
        "k3": ["/other/d.nii"],
    }
    assert len(list((store.path / "private" / "sources").iterdir())) == 2


@pytest.mark.parametrize("name", ["series", "private", "private/sources"])
def test_links__a_store_is_not_written_through_them(name: str, tmp_path: Path) -> None:
    store, elsewhere = Store.create(tmp_path / "store"), tmp_path / "elsewhere"
    (store.path / name).rename(elsewhere)
    (store.path / name).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(ValueError, match="is a link, which is not followed"):
        Store.open(store.path).clean()
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        '{"format": 1e999}',
        '{"format": "1"}',
        '{"format": true}',
        '{"format": 0}',
        '{"made_with": "ubr-pretrain"}',
        '{"format": 1, "made_by": "ubr-pretrain"}',
        '{"format": 1, "crc32": "00000000"}',
    ],
)
def test_open__a_damaged_description_is_named_and_made_anew(store: Store, text: str) -> None:
    key = add(store, 1)
    store.rebuild()
    (store.path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged .*; delete that file, and the"):
        Store.open(store.path)
    (store.path / "store.json").unlink()
    assert [row.key for row in Store.create(store.path).rows()] == [key]


def test_open__a_flipped_bit_in_the_description(store: Store) -> None:
    path = store.path / "store.json"
    for content in flipped(path.read_bytes(), 60):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"is damaged|newer version|update"):
            Store.open(store.path)


def test_open__without_its_series(store: Store) -> None:
    shutil.rmtree(store.path / "series")
    with pytest.raises(StoreError, match="has no folder series/"):
        Store.open(store.path)


def test_patient__another_secret_gives_no_other_patients(store: Store) -> None:
    path = store.path / "private" / "secret"
    patient = Store.open(store.path).patient(made_series(1, "A"))
    for content in flipped(path.read_bytes(), 60):
        path.write_bytes(content)
        try:
            assert Store.open(store.path).patient(made_series(1, "A")) == patient  # a capital
        except StoreError as error:
            assert "private/secret is damaged" in str(error)


def test_sources__a_damaged_table_is_named(store: Store) -> None:
    store.note_sources([("k1", ["/scans/a/1.dcm"])])
    (path,) = (store.path / "private" / "sources").iterdir()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.dcm", b"2.dcm", 1))
    with pytest.raises(StoreError, match=rf"private/sources/{path.name} .* damaged .*; delete it"):
        store.sources()


def test_rows__of_an_earlier_version_are_said_to_be_unverified_once(store: Store) -> None:
    note.cache_clear()
    key = add(store, 1)
    path = store.path / "series" / f"{key}.json"
    row = json.loads(path.read_text())
    with warnings.catch_warnings(record=True, action="always") as said:
        assert len(store.rows()) == 1 and not said
        path.write_text(json.dumps({name: row[name] for name in BEFORE}))
        (store.path / "catalog.parquet").unlink()
        for _ in range(3):
            assert len(store.rows()) == 1 and len(store.read(key)) == 9
    assert [str(one.message) for one in said] == [
        "series of the store are from a version without checksums: they are read, but not verified"
    ]


def test_private__is_readable_by_its_owner_only(store: Store) -> None:
    add(store, 1)
    store.note_sources([("0" * 16, ["/archive/doe_jane/1.dcm"])])
    private = store.path / "private"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (private, *private.rglob("*"))}
    assert modes.pop("private") == modes.pop("sources") == 0o700
    assert len(modes) == 2 and set(modes.values()) == {0o600}
    assert store.sources() == {"0" * 16: ["/archive/doe_jane/1.dcm"]}
