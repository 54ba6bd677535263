"""The store:

what goes in comes out, nothing half made is taken for whole, nothing identifies a patient.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ubr.pretrain.data.store import SAME_CONTENT, SeriesRow, Store, StoreError
from ubr.pretrain.data.volume import Series, Volume


def made_volume(seed: int, slices: int = 9) -> Volume:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3072, (slices, 20, 30), dtype=np.int16)
    return Volume(
        hu,
        (2.5, 0.75, 1.5),
        np.arange(slices) * 2.5,
        ("gap: 1 step of 5.0 mm after slice 3, usual 2.5 mm",),
    )


def made_series(seed: int, patient: str = "") -> Series:
    return Series("nifti", (f"/hospital/JANE-DOE-{seed}.nii",), f"1.2.840.{seed}", patient)


def made_boxes(volume: Volume) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    return np.tile(np.arange(4, dtype=np.int16), (len(volume.hu), 1))


def add(store: Store, seed: int, patient: str = "") -> str:
    volume = made_volume(seed)
    return store.add(made_series(seed, patient), volume, made_boxes(volume))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def one_row(store: Store) -> SeriesRow:
    (row,) = store.rows()
    return row


def test_round_trip_is_bitwise(store: Store) -> None:
    volume = made_volume(1)
    key = store.add(made_series(1, "4711"), volume, made_boxes(volume))
    read = Store.open(store.path).read(key)
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, volume.hu)
    row = one_row(Store.open(store.path))
    assert (row.key, row.kind, row.slices, row.rows, row.columns) == (key, "nifti", 9, 20, 30)
    assert row.spacing_mm == volume.spacing_mm and row.warnings == volume.warnings
    assert (row.hu_min, row.hu_max) == (volume.hu.min(), volume.hu.max())
    np.testing.assert_array_equal(row.z_mm, volume.z_mm)
    np.testing.assert_array_equal(row.body, made_boxes(volume))
    assert row.z_mm.dtype == np.float64 and row.body.dtype == np.int16


def test_uneven_lists_stay_with_their_series(store: Store) -> None:
    volumes = {store.key(made_series(i)): made_volume(i, slices=i) for i in (1, 5, 2, 7)}
    for i in (1, 5, 2, 7):
        store.add(made_series(i), made_volume(i, slices=i), made_boxes(made_volume(i, slices=i)))
    for row in store.rows():
        np.testing.assert_array_equal(row.z_mm, volumes[row.key].z_mm)
        assert row.body.shape == (row.slices, 4) == (len(volumes[row.key].hu), 4)


@pytest.mark.parametrize(
    "slices", [[3], [8, 0, 4, 4], [], slice(2, 5), slice(0, 9, 4), [-1], range(1, 9, 3)]
)
def test_slices_in_the_order_asked_for(store: Store, slices: list[int] | slice) -> None:
    key = add(store, 1)
    found = store.read(key, slices)
    np.testing.assert_array_equal(
        found, made_volume(1).hu[slices if isinstance(slices, slice) else list(slices)]
    )
    assert found.dtype == np.int16


def test_slice_outside_the_series(store: Store) -> None:
    with pytest.raises(IndexError):
        store.read(add(store, 1), [9])


def test_one_slice_costs_one_chunk(store: Store) -> None:
    """Damage in one slice leaves the others readable: they are not decompressed together."""
    import blosc2

    key = add(store, 1)
    array = blosc2.open(str(store.path / "series" / f"{key}.b2nd"), mode="r")
    assert array.chunks == (1, 20, 30)
    data = bytearray((store.path / "series" / f"{key}.b2nd").read_bytes())
    chunk = array.schunk.get_chunk(5)[-64:]
    data[(at := data.index(chunk)) : at + 64] = bytes(64)
    (store.path / "series" / f"{key}.b2nd").write_bytes(data)
    np.testing.assert_array_equal(store.read(key, [4, 6]), made_volume(1).hu[[4, 6]])


def _read_in_worker(store: Store, key: str) -> int:
    return int(store.read(key, [2, 3]).astype(np.int64).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(store: Store, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    key = add(store, 1)
    here = _read_in_worker(store, key)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_read_in_worker, [(store, key)] * 4) == [here] * 4


def test_reading_does_not_grow(store: Store) -> None:
    def resident_kib() -> int:
        return int(
            next(
                line
                for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmRSS")
            ).split()[1]
        )

    if not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")
    volume = Volume(
        np.random.default_rng(0).integers(-1000, 1000, (8, 256, 256), dtype=np.int16),
        (1, 1, 1),
        np.arange(8.0),
    )
    keys = [
        store.add(made_series(i), replace(volume, hu=volume.hu + np.int16(i)), made_boxes(volume))
        for i in range(40)
    ]
    for key in keys[:10]:
        store.read(key)
    before = resident_kib()
    for key in keys * 3:  # 120 times 1 MiB
        store.read(key)
        store.read(key, [3])
    assert resident_kib() - before < 8 * 1024


# -----------------------------------------------------------------------------------------------------------
# what is damaged


def test_missing_pixels(store: Store) -> None:
    key = add(store, 1)
    assert store.has(key)
    (store.path / "series" / f"{key}.b2nd").unlink()
    assert not store.has(key)
    with pytest.raises(StoreError, match=f"pixels of series {key} are missing.*ingest"):
        store.read(key)


@pytest.mark.parametrize("left", [0.0, 0.001, 0.5, 0.999])
def test_truncated_pixels(store: Store, left: float) -> None:
    key = add(store, 1)
    path = store.path / "series" / f"{key}.b2nd"
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(
        StoreError, match=f"pixels of series {key} cannot be read.*delete series/{key}.b2nd"
    ):
        store.read(key)


def test_damaged_catalogue_is_made_anew(store: Store) -> None:
    add(store, 1)
    whole = store.rebuild()
    (store.path / "catalog.parquet").write_bytes(b"PAR1 and then nothing")
    assert store.catalog().equals(whole)
    (store.path / "catalog.parquet").unlink()
    assert store.catalog().equals(whole)


def test_catalogue_that_lags_behind_the_rows_is_made_anew(store: Store) -> None:
    """As after a kill: rows are there, the catalogue was not written."""
    add(store, 1)
    assert len(store.rows()) == 1
    key = add(store, 2)
    store.leave_out("0" * 16, "dicom", "no pixel data")
    assert len(store.rows()) == 2
    assert store.catalog()["reason"].to_pylist() == ["", "", "no pixel data"]
    (store.path / "series" / f"{key}.json").unlink()
    assert len(store.rows()) == 1


def test_pixels_without_a_row_are_not_a_series(store: Store) -> None:
    key = add(store, 1)
    (store.path / "series" / f"{key}.json").unlink()
    assert not store.has(key) and not store.rows()


def test_left_out_and_then_taken(store: Store) -> None:
    key = store.key(made_series(1))
    store.leave_out(key, "nifti", "damaged")
    assert not store.has(key) and store.catalog()["status"].to_pylist() == ["left out"]
    add(store, 1)
    assert store.has(key) and store.catalog()["status"].to_pylist() == ["taken"]


@pytest.mark.skipif(os.name != "posix", reason="asks the system which processes live")
def test_leftovers_of_dead_writers_are_cleaned_and_those_of_living_ones_are_not(
    store: Store,
) -> None:
    from ubr.pretrain.data import store as module

    living = module.temporary_name(store.path / "series" / "a.b2nd")
    host, _, _ = living.suffixes[-2].removeprefix(".").partition("-")
    process = multiprocessing.get_context("spawn").Process()
    process.start()
    process.join()
    dead = living.with_name(f"b.b2nd.{host}-{process.pid}.tmp")
    elsewhere = living.with_name(f"c.b2nd.ffffffff-{process.pid}.tmp")
    old = living.with_name("d.b2nd.ffffffff-1.tmp")
    for path in (living, dead, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.clean()
    assert [p.exists() for p in (living, dead, elsewhere, old)] == [True, False, True, False]


# ------------------------------------------------------------------------------------------------------------
# opening, making


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


# -----------------------------------------------------------------------------------------------------------
# order and identity


def test_order_grouping_and_fingerprint_do_not_depend_on_the_secret(tmp_path: Path) -> None:
    one, other = Store.create(tmp_path / "one"), Store.create(tmp_path / "other")
    patients = {1: "A", 2: "B", 3: "A", 4: "", 5: ""}
    for seed in (1, 2, 3, 4, 5):
        add(one, seed, patients[seed])
    for seed in (4, 1, 5, 3, 2):
        add(other, seed, patients[seed])
    rows, same = one.rows(), other.rows()
    assert [r.key for r in rows] == [r.key for r in same]
    assert [r.digest for r in rows] == sorted(r.digest for r in rows)

    def grouping(rows: list[SeriesRow]) -> list[int]:
        patients = [r.patient for r in rows]
        return [patients.index(p) for p in patients]

    assert grouping(rows) == grouping(same) and len(set(grouping(rows))) == 4
    named = {one.key(made_series(s)) for s in (1, 2, 3)}
    assert all(
        (a.patient != b.patient) == (a.key in named) for a, b in zip(rows, same, strict=True)
    )
    assert all(r.patient == r.key for r in rows if r.key not in named)
    keys = [r.key for r in rows]
    assert one.fingerprint(keys) == other.fingerprint(reversed(keys)) != one.fingerprint(keys[1:])
    with pytest.raises(KeyError):
        one.fingerprint(["0" * 16])


@pytest.mark.parametrize("change", ["pixel", "spacing", "position", "shape"])
def test_digest_is_of_pixels_and_geometry(tmp_path: Path, change: str) -> None:
    volume = made_volume(1)
    hu = volume.hu.copy()
    hu[4, 3, 2] ^= 1
    changed = {
        "pixel": replace(volume, hu=hu),
        "spacing": replace(volume, spacing_mm=(2.5, 0.75, 1.501)),
        "position": replace(volume, z_mm=volume.z_mm + np.linspace(0, 0.01, 9)),
        "shape": replace(volume, hu=volume.hu.reshape(9, 30, 20)),
    }[change]
    digests = []
    for name, v in (("a", volume), ("b", volume), ("c", changed)):
        store = Store.create(tmp_path / name)
        store.add(made_series(1), v, made_boxes(v))
        digests.append(one_row(store).digest)
    assert digests[0] == digests[1] != digests[2]


def test_same_content_under_two_uids_is_taken_once(store: Store) -> None:
    volume = made_volume(1)
    for uid, patient in ((7, ""), (8, "A"), (9, "")):
        store.add(made_series(uid, patient), volume, made_boxes(volume))
    add(store, 2)
    rows = store.rows()
    assert len(rows) == 2
    assert {r.key for r in rows} == {store.key(made_series(8)), store.key(made_series(2))}, (
        "the one whose patient is known is kept"
    )
    assert store.catalog()["reason"].to_pylist() == ["", "", SAME_CONTENT, SAME_CONTENT]


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


def test_catalogue_columns_are_the_known_ones(store: Store) -> None:
    """A column more would be a place for identity; whoever adds one should read this."""
    add(store, 1)
    store.catalog()
    columns = (
        "key patient status reason kind slices rows columns spacing_z_mm spacing_y_mm "
        "spacing_x_mm z_mm body"
    )
    assert pq.read_schema(store.path / "catalog.parquet").names == [
        *columns.split(),
        "hu_min",
        "hu_max",
        "warnings",
        "digest",
    ]
