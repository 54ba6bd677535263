"""Pixels: what goes in comes out, slice by slice, and damage is said."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.data.store import Store, StoreError
from ubr.pretrain.data.store.pixels import write_pixels
from ubr.pretrain.data.volume import Volume

from ....made.flips import flipped
from ....made.stores import add, made_boxes, made_series, made_volume

ROOT = Path(__file__).parents[4]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


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


def test_read__a_flipped_bit_gives_no_other_pixels(store: Store) -> None:
    key, hu = add(store, 1), made_volume(1).hu
    path = store.path / "series" / f"{key}.b2nd"
    refused = 0
    for content in flipped(path.read_bytes(), 200):
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(store.read(key), hu)
        except StoreError as error:
            assert f"the pixels of series {key}" in str(error) and "ingest its source" in str(error)
            refused += 1
    assert refused > 190


def test_read__swapped_and_foreign_slices_are_refused(store: Store) -> None:
    """Each is whole, and not where it belongs."""
    key, other = add(store, 1), add(store, 2)
    folder, hu = store.path / "series", made_volume(1).hu
    for wrong in (hu[::-1], hu[:, ::-1], hu[:8], hu.reshape(9, 30, 20), hu.astype(np.int32)):
        write_pixels(folder / f"{key}.b2nd", wrong)
        with pytest.raises(StoreError, match="of series"):
            store.read(key)
    shutil.copy(folder / f"{other}.b2nd", folder / f"{key}.b2nd")
    with pytest.raises(StoreError, match=f"pixels of series {key} are damaged"):
        store.read(key, [3])


@pytest.mark.parametrize("slices", [[5], [-4], slice(5, 6), slice(None, None, 5), range(5, 9)])
def test_read__a_damaged_slice_is_found_among_those_asked_for(
    store: Store, slices: list[int] | slice | range
) -> None:
    key, changed = add(store, 1), made_volume(1).hu.copy()
    changed[5, 0, 0] ^= 1
    write_pixels(store.path / "series" / f"{key}.b2nd", changed)
    with pytest.raises(StoreError, match="their checksum is wrong"):
        store.read(key, slices)
    np.testing.assert_array_equal(store.read(key, [4, 6]), changed[[4, 6]])


def test_read__without_its_row(store: Store) -> None:
    key = add(store, 1)
    path = store.path / "series" / f"{key}.json"
    path.write_text(path.read_text().replace('"rows": 20', '"rows": 21'))
    with pytest.raises(StoreError, match=f"series {key}: its row in the store is damaged"):
        store.read(key)
    path.unlink()
    with pytest.raises(StoreError, match=f"the row of series {key} is missing"):
        store.read(key)


@pytest.mark.parametrize("key", ["../../x", "", "x" * 16, "0" * 15, "0" * 17, "0" * 15 + "\n"])
def test_read__a_key_that_is_none(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="a series' key is 16 hexadecimal digits"):
        store.read(key)


# Without annotations, because blosc2 stores its text and runs that where no name is known.
def kernel(inputs, output, offset):  # type: ignore[no-untyped-def]
    """Past the builtins that blosc2 leaves to a function out of a file, to all of Python."""
    one = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == "_wrap_close"][0]  # noqa: RUF015
    one.__init__.__globals__["mkdir"]("executed")
    output[:] = 1


@pytest.mark.parametrize("kind", ["function", "expression", "objects", "numbers"])
def test_read__a_foreign_store_runs_no_python(
    kind: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import blosc2

    key, shape = add(store, 1), made_volume(1).hu.shape
    path = store.path / "series" / f"{key}.b2nd"
    monkeypatch.chdir(path.parent)  # what it computes with lies beside it
    zeros = blosc2.asarray(np.zeros(shape, np.int16), urlpath="zeros.b2nd", mode="w")
    path.unlink()
    if kind == "function":
        lazy = blosc2.lazyudf(kernel, (zeros,), dtype=np.int16, shape=shape)
        lazy.save(urlpath=str(path))
    elif kind == "expression":
        (zeros + 1).save(urlpath=str(path))
    elif kind == "objects":
        blosc2.ObjectArray(urlpath=str(path), mode="w").append({"a": 1})
    else:
        blosc2.SChunk(data=np.zeros(9, np.int16), urlpath=str(path), mode="w")
    for slices in (None, [0], slice(0, 2)):
        with pytest.raises(StoreError, match=f"the pixels of series {key} cannot be read"):
            store.read(key, slices)
    assert not list(store.path.rglob("executed"))


def test_blosc2__versions_that_run_a_stores_python_are_not_installed() -> None:
    needed = re.search(r'"blosc2>=(\d+)\.(\d+)', (ROOT / "setup.py").read_text())
    assert needed and (int(needed[1]), int(needed[2])) >= (4, 14)
