"""Checksums of files of torch.save, and what is said of files without any."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made.flips import flipped
from ubr.weights.common.checkpoints import torch_save
from ubr.weights.common.checksums import check_members, file_crc32
from ubr.weights.common.commandline import Verb, main
from ubr.weights.common.notes import Note, note
from ubr.weights.common.tensors import load_torch

BEFORE = Path(__file__).parents[2] / "made" / "before" / "half" / "checkpoints" / "last.ckpt"
STATE = {"step": 7, "model": {"w": torch.arange(400.0), "b": torch.ones(3, dtype=torch.bfloat16)}}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)


def test_load_torch__a_flipped_bit_gives_no_other_numbers(tmp_path: Path) -> None:
    torch_save(STATE, path := tmp_path / "last.ckpt")
    assert same(load_torch(path, ""), STATE)
    refused = 0
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            assert same(load_torch(path, "remove it to start over"), STATE)
        except ValueError as error:
            assert str(error) == (
                f"{path} is damaged, or holds more than numbers, so it is not opened; remove it to "
                "start over"
            )
            refused += 1
    assert refused > 150  # most of so small a file is padding


def test_check_members__those_of_an_earlier_version_have_checksums_too(tmp_path: Path) -> None:
    check_members(BEFORE)
    content, path = BEFORE.read_bytes(), tmp_path / "last.ckpt"
    for middle in range(len(content) // 3, len(content) // 2, 20_000):
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
        with pytest.raises(ValueError, match="a checksum is wrong"):
            check_members(path)


def test_check_members__a_file_that_is_no_zip_has_none(tmp_path: Path) -> None:
    torch.save(STATE, path := tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    check_members(path)
    assert same(load_torch(path, ""), STATE)


def test_file_crc32__of_a_known_text(tmp_path: Path) -> None:
    (path := tmp_path / "t").write_bytes(b"123456789")
    assert file_crc32(path) == "cbf43926"  # the check value of CRC-32


def test_note__is_said_once_and_is_a_line_on_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note.cache_clear()

    def run(*_: Any) -> None:
        for _ in range(3):
            note("the grids are old")
        warnings.warn("another", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True, action="always") as others:
        assert main("ubr", "about", {"verb": Verb(run, "")}, ["verb"]) == 0
    assert capsys.readouterr().err == "ubr verb: note: the grids are old\n"
    assert [one.category for one in others] == [UserWarning]
    with pytest.warns(Note, match="something else"):
        note("something else")
