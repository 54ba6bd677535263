"""The catalog: every row once, ordered by content alone, and made anew when it lags behind."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ubr.pretrain.data.store import DAMAGED, SAME_CONTENT, SeriesRow, Store, catalog
from ubr.pretrain.data.store.catalog import UNKNOWN
from ubr.pretrain.data.store.rows import BEFORE, LEFT_OUT, row_taken
from ubr.pretrain.data.store.values import write_values
from ubr.pretrain.data.tables import write_table

from ....made.flips import flipped
from ....made.stores import add, made_boxes, made_series, made_volume


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def one_row(store: Store) -> SeriesRow:
    (row,) = store.rows()
    return row


def test_uneven_lists_stay_with_their_series(store: Store) -> None:
    volumes = {store.key(made_series(i)): made_volume(i, slices=i) for i in (1, 5, 2, 7)}
    for i in (1, 5, 2, 7):
        store.add(made_series(i), made_volume(i, slices=i), made_boxes(made_volume(i, slices=i)))
    for row in store.rows():
        np.testing.assert_array_equal(row.z_mm, volumes[row.key].z_mm)
        assert row.body.shape == (row.slices, 4) == (len(volumes[row.key].hu), 4)


def test_damaged_catalog_is_made_anew(store: Store) -> None:
    add(store, 1)
    whole = store.rebuild()
    (store.path / "catalog.parquet").write_bytes(b"PAR1 and then nothing")
    assert store.catalog().equals(whole)
    (store.path / "catalog.parquet").unlink()
    assert store.catalog().equals(whole)


def test_catalog_that_lags_behind_the_rows_is_made_anew(store: Store) -> None:
    """As after a kill: rows are there, the catalog was not written."""
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


def test_catalog_columns_are_the_known_ones(store: Store) -> None:
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


MM = [2.5 * i for i in range(9)]


@pytest.mark.parametrize(
    "change",
    [
        {"z_mm": [*MM[:4], math.nan, *MM[5:]]},
        {"z_mm": [*MM[:4], None, *MM[5:]]},
        {"z_mm": [*MM[:8], math.inf]},
        {"z_mm": MM[:8]},
        {"z_mm": [*MM[:4], MM[3], *MM[5:]]},
        {"z_mm": None},
        {"z_mm": "far"},
        {"spacing_y_mm": math.nan},
        {"spacing_z_mm": 0.0},
        {"body": [0, 1, 2]},
        {"slices": None},
        {"patient": None},
        {"spacing_y_mm": -0.75},
        {"spacing_y_mm": 0.001},
        {"spacing_x_mm": 1e10},
        {"spacing_x_mm": 3.0},
        {"spacing_z_mm": 5.0},
        {"z_mm": [40 * mm for mm in MM], "spacing_z_mm": 101.0},
        {"z_mm": [1 + mm for mm in MM]},
        {"slices": 10**10},
        {"slices": 0, "z_mm": [], "body": []},
        {"rows": -20},
        {"rows": 10**6, "hu_min": math.nan},
        {"body": [0, 21, 0, 30] * 9},
        {"body": [5, 4, 0, 30] * 9},
        {"body": [-1, 4, 0, 30] * 9},
        {"hu_min": 3000, "hu_max": -1000},
        {"hu_max": 30000},
        {"kind": "exe"},
        {"key": "0" * 16},
        {"patient": "../x"},
        {"digest": "../../x"},
        {"warnings": ["gap: \x1b[31mred"]},
        {"warnings": ["Jane Doe"]},
        {"status": "left out"},
        {"slices_crc32": [1]},
        {"slices_crc32": None},
        {"own_patient": "Jane Doe"},
        {"files": "many"},
    ],
)
@pytest.mark.parametrize("checksum", [True, False])
def test_a_damaged_row_leaves_out_its_series_only(
    store: Store, change: dict[str, Any], checksum: bool
) -> None:
    """However the damage came about: a stranger's store can have right checksums."""
    keys = [add(store, seed) for seed in (1, 2, 3)]
    good = {row.key: row.digest for row in store.rows()}
    path = store.path / "series" / f"{keys[1]}.json"
    row = json.loads(path.read_text())
    if checksum:
        write_values(path, {**row, **change})
    else:
        before = {name: row[name] for name in BEFORE}
        path.write_text(json.dumps({**before, **change}))
    store.rebuild()
    for _ in range(2):  # as it is made, and as it is read
        assert {row.key: row.digest for row in store.rows()} == {
            key: good[key] for key in (keys[0], keys[2])
        }
        assert store.damaged() == [keys[1]]
    assert DAMAGED in store.catalog()["reason"].to_pylist()


@pytest.mark.parametrize("text", [b"{", b"", b"[1, 2]", b"null", b"\xff\xfe"])
def test_a_row_that_cannot_be_read_leaves_out_its_series_only(store: Store, text: bytes) -> None:
    keys = [add(store, seed) for seed in (1, 2, 3)]
    (store.path / "series" / f"{keys[0]}.json").write_bytes(text)
    (store.path / "catalog.parquet").unlink(missing_ok=True)
    assert sorted(row.key for row in store.rows()) == sorted(keys[1:])
    assert store.damaged() == [keys[0]]


@pytest.mark.parametrize("value", [None, math.nan])
def test_catalog__one_that_was_handed_in_is_judged_too(store: Store, value: float | None) -> None:
    """A checksum can be computed by anyone."""
    for seed in (1, 2, 3):
        add(store, seed)
    table = store.rebuild()
    z_mm = table["z_mm"].to_pylist()
    z_mm[1][4] = value
    table = table.set_column(
        table.schema.get_field_index("z_mm"), "z_mm", pa.array(z_mm, pa.list_(pa.float64()))
    )
    write_table(table, store.path / "catalog.parquet")
    keys = table["key"].to_pylist()
    assert [row.key for row in store.rows()] == [keys[0], keys[2]] and store.damaged() == [keys[1]]


def test_row__a_flipped_bit_leaves_its_series_out(store: Store) -> None:
    keys = [add(store, seed) for seed in (1, 2)]
    path = store.path / "series" / f"{keys[1]}.json"
    for content in flipped(path.read_bytes(), 40):
        path.write_bytes(content)
        (store.path / "catalog.parquet").unlink(missing_ok=True)
        assert [row.key for row in store.rows()] == keys[:1] and store.damaged() == keys[1:]


def test_catalog__a_flipped_bit_changes_nothing(store: Store) -> None:
    """It is made anew from the rows."""
    for seed in (1, 2):
        add(store, seed)
    store.leave_out("0" * 16, "dicom", "no pixel data")
    whole, path = store.rebuild(), store.path / "catalog.parquet"
    for content in flipped(path.read_bytes(), 60):
        path.write_bytes(content)
        assert store.catalog().equals(whole)


@pytest.mark.parametrize("name", ["body", "digest", "status"])
def test_catalog__other_columns_or_types(store: Store, name: str) -> None:
    add(store, 1)
    whole, path = store.rebuild(), store.path / "catalog.parquet"
    for other in (whole.drop_columns([name]), whole.append_column("more", whole[name])):
        write_table(other, path)
        assert store.catalog().equals(whole)
    wrong = pa.array([1], pa.int64())
    write_table(whole.set_column(whole.schema.get_field_index(name), name, wrong), path)
    assert store.catalog().equals(whole)


@pytest.mark.parametrize("text", ["{", '{"key": "x"}', '{"reason": "\\u001b[31m"}'])
def test_row__that_says_why_a_series_was_left_out_is_damaged(store: Store, text: str) -> None:
    key = add(store, 1)
    store.leave_out("0" * 16, "dicom", "no pixel data")
    (store.path / "series" / f"{'0' * 16}.left.json").write_text(text)
    (store.path / "catalog.parquet").unlink(missing_ok=True)
    for _ in range(2):
        assert [row.key for row in store.rows()] == [key] and store.damaged() == []
        assert store.catalog()["reason"].to_pylist() == ["", UNKNOWN]


def test_rows__are_taken_from_files_with_the_name_of_a_key_only(store: Store) -> None:
    key = add(store, 1)
    shutil.copy(store.path / "series" / f"{key}.json", store.path / "series" / "notes.json")
    assert [row.key for row in store.rows()] == [key] and len(store.catalog()) == 1


def test_catalog_of__holds_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_AT_ONCE", 32)

    def rows(count: int) -> Iterator[dict[str, Any]]:
        volume = made_volume(0, slices=50)
        one = row_taken("0" * 16, "p", "nifti", volume, made_boxes(volume))
        for number in range(count):
            digest = f"{number // 2:032x}"  # of each two, one is a copy
            yield {**json.loads(json.dumps(one)), "key": f"{number:016x}", "digest": digest}

    peaks = []
    for count in (100, 100, 1600):
        tracemalloc.start()
        table = catalog.catalog_of(rows(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert table["status"].to_pylist() == ["taken"] * (count // 2) + [LEFT_OUT] * (count // 2)
        assert table["key"].to_pylist()[:2] == [f"{number:016x}" for number in (0, 2)]
        assert set(table["reason"].to_pylist()) == {"", catalog.SAME_CONTENT}
    assert peaks[2] < 3 * peaks[1]  # 16 times as many rows
