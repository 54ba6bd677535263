"""Values: the checksum is of them, and whatever changes them is noticed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from ubr.pretrain.data.store.values import read_values, write_values

from ....made.flips import flipped

VALUES = {"key": "ab", "mm": [0.0, 2.5, 5.0], "kind": "nifti"}


def test_write_values__states_the_checksum_of_the_rest(tmp_path: Path) -> None:
    write_values(path := tmp_path / "v.json", VALUES)
    rest, _, checksum = path.read_text().rpartition(', "crc32": ')
    assert json.loads(rest + "}") == VALUES == read_values(path, ())
    assert json.loads(checksum[:-1]) == f"{zlib.crc32((rest + '}').encode()):08x}"
    write_values(path, {**json.loads(path.read_text()), "kind": "itk"})
    assert read_values(path, ()) == {**VALUES, "kind": "itk"}


def test_read_values__a_flipped_bit_gives_no_others(tmp_path: Path) -> None:
    write_values(path := tmp_path / "v.json", VALUES)
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not JSON|checksum is wrong|no version of"):
            read_values(path, VALUES)


def test_read_values__of_an_earlier_version(tmp_path: Path) -> None:
    (path := tmp_path / "v.json").write_text(json.dumps(VALUES))
    assert read_values(path, VALUES) == VALUES
    with pytest.raises(ValueError, match="no version of ubr-pretrain writes"):
        read_values(path, ("key", "mm"))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1e999", "", '"x"', "\udcff"])
def test_read_values__what_is_no_table(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "v.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"not JSON|not a table"):
        read_values(path, VALUES)
