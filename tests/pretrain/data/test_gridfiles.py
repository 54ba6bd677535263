"""Files of slices: NumPy reads them, and no slice is given that is damaged."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.data.gridfiles import open_grid, write_grid
from ubr.pretrain.data.store import StoreError

from ...made.flips import flipped

SLICES = np.random.default_rng(0).integers(-1000, 1000, (5, 8, 8)).astype(np.int16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_grid(tmp_path / "a.npy", SLICES)
    return tmp_path / "a.npy"


def test_write_grid__numpy_reads_it_and_a_checksum_follows_for_each_slice(path: Path) -> None:
    for mode in (None, "r"):
        np.testing.assert_array_equal(np.load(path, mmap_mode=mode), SLICES)  # type: ignore[call-overload]
    grid = open_grid(path)
    np.testing.assert_array_equal(grid.read(), SLICES)
    np.testing.assert_array_equal(grid.read(np.array([4, 0, 0])), SLICES[[4, 0, 0]])
    crc32 = [zlib.crc32(one.tobytes()) for one in SLICES]
    assert path.read_bytes()[-24:-4] == struct.pack("<5I", *crc32)


def test_open_grid__a_flipped_bit_gives_no_other_slices(path: Path) -> None:
    refused = 0
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(open_grid(path).read(), SLICES)
        except StoreError as error:
            assert "a.npy in the store is missing or damaged; delete it" in str(error)
            refused += 1
    assert refused > 290  # but for blanks in NumPy's header


def test_read__a_damaged_slice_leaves_the_others(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(SLICES[2].tobytes())] ^= 1
    path.write_bytes(content)
    grid = open_grid(path)
    np.testing.assert_array_equal(grid.read(np.array([0, 1, 3, 4])), SLICES[[0, 1, 3, 4]])
    with pytest.raises(StoreError, match="damaged"):
        grid.read(np.array([2]))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00" + b"(" * 118, b"PK\x03\x04"])
def test_open_grid__what_is_no_grid(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="missing or damaged"):
        open_grid(path)


@pytest.mark.parametrize("array", [SLICES.astype(np.float32), np.asfortranarray(SLICES), SLICES[0]])
def test_open_grid__other_arrays(path: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    np.save(path, array)
    with pytest.raises(StoreError, match="missing or damaged"):
        open_grid(path)


def test_open_grid__of_an_earlier_version_is_read(path: Path) -> None:
    np.save(path, SLICES)
    grid = open_grid(path)
    assert grid.crc32 is None
    np.testing.assert_array_equal(grid.read(np.array([1])), SLICES[[1]])
