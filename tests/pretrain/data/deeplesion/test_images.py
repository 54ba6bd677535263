"""Slices as 16-bit PNG: there and back, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made.deeplesion import write_slice
from ubr.pretrain.data.deeplesion.images import load_hu, save_hu


def test_load_hu__gives_back_what_was_written(tmp_path: Path) -> None:
    hu = np.array([[-32768, -1024, 0], [1, 3071, 32767]])
    write_slice(tmp_path, "a_b_c/001", hu)
    found = load_hu(tmp_path / "Images_png/a_b_c/001.png")
    assert found.dtype == np.int16 and (found == hu).all()


def test_load_hu__refuses_in_one_line_without_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "000001_01_01"
    folder.mkdir()
    for mode in ("L", "RGB"):
        Image.new(mode, (4, 4)).save(folder / "001.png")
        with pytest.raises(
            ValueError, match=rf"^000001_01_01/001\.png is {mode} and not 16-bit grey"
        ):
            load_hu(folder / "001.png")
    with pytest.raises(ValueError, match=r"^000001_01_01/002\.png is absent"):
        load_hu(folder / "002.png")


def test_load_hu__any_damage_is_a_refusal(tmp_path: Path) -> None:
    write_slice(tmp_path, "a_b_c/001", np.random.default_rng(0).integers(-1000, 1000, (32, 32)))
    path = tmp_path / "Images_png/a_b_c/001.png"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 13, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^a_b_c/001\.png is damaged, or not a PNG"):
            load_hu(path)


def test_load_hu__a_flipped_bit_gives_no_other_pixels(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (32, 32))
    write_slice(tmp_path, "a_b_c/001", hu)
    path = tmp_path / "Images_png/a_b_c/001.png"
    whole = path.read_bytes()
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 16]) + whole[k + 1 :])
        try:
            assert (load_hu(path) == hu).all()
        except ValueError as error:
            assert str(error).startswith("a_b_c/001.png is ")


@pytest.mark.parametrize("place", [16, 20])
@pytest.mark.parametrize("size", [2**31 - 1, 4_000_000])
def test_load_hu__a_declared_size_of_ten_billion_is_damage(
    tmp_path: Path, place: int, size: int, recwarn: pytest.WarningsRecorder
) -> None:
    write_slice(tmp_path, "a_b_c/001", np.zeros((32, 32)))
    path = tmp_path / "Images_png/a_b_c/001.png"
    whole = bytearray(path.read_bytes())
    whole[place : place + 4] = size.to_bytes(4, "big")
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"^a_b_c/001\.png is damaged, or not a PNG"):
        load_hu(path)
    assert not recwarn.list


def test_save_hu__writes_what_load_hu_reads(tmp_path: Path) -> None:
    hu = np.array([[-32768, -1024, 0], [1, 3071, 32767]], np.int16)
    save_hu(tmp_path / "001.png", hu)
    with Image.open(tmp_path / "001.png") as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 31744, 32768], [32769, 35839, 65535]]
    assert (load_hu(tmp_path / "001.png") == hu).all()
