"""Tables: others read them, and one bit more or less is noticed wherever it is."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ubr.pretrain.data.tables import DamagedTable, read_table, table_writer, write_table

from ...made.flips import flipped
from ...made.odd import latin_folder

TABLE = pa.table({"key": ["a", "b", "c"], "mm": [0.0, 2.5, 5.0]})


def test_write_table__others_read_it_and_its_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    write_table(TABLE, path := tmp_path / "t.parquet")
    assert pq.read_table(path).equals(TABLE)
    read, verified = read_table(path)
    assert verified and read.equals(TABLE)
    stated = read.schema.metadata[b"crc32"].removeprefix(b"crc32 of the file: ")
    content = path.read_bytes()
    assert content.count(stated) == 1
    assert zlib.crc32(content.replace(stated, b"????????")) == int(stated, 16)


def test_write_table__under_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    write_table(TABLE, path := latin_folder(tmp_path) / "t.parquet")
    read, verified = read_table(path)
    assert verified and read.equals(TABLE)


def test_table_writer__what_is_added_last_is_read(tmp_path: Path) -> None:
    with table_writer(path := tmp_path / "t.parquet", TABLE.schema) as writer:
        writer.write_table(TABLE)
        writer.write_table(TABLE)
        writer.add_key_value_metadata({"rows": "6"})
    read, verified = read_table(path)
    assert verified and read.num_rows == 6 and read.schema.metadata[b"rows"] == b"6"


def test_read_table__a_flipped_bit_gives_no_other_table(tmp_path: Path) -> None:
    write_table(TABLE, path := tmp_path / "t.parquet")
    refused = 0
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            assert read_table(path)[0].equals(TABLE)
        except DamagedTable:
            refused += 1
    assert refused > 280  # but for the name of the checksum and that of the writer


def test_read_table__of_an_earlier_version_and_none(tmp_path: Path) -> None:
    pq.write_table(TABLE, path := tmp_path / "t.parquet")
    read, verified = read_table(path)
    assert read.equals(TABLE) and not verified
    for content in (b"", b"PAR1 and then nothing"):
        path.write_bytes(content)
        with pytest.raises(DamagedTable, match=r"it cannot be read \(Arrow"):
            read_table(path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "absent")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("read", ["read_table(path)", "list(read_groups(path))"])
def test_reading__starts_no_thread_that_could_abort_a_process_at_its_end(
    tmp_path: Path, read: str
) -> None:
    write_table(TABLE, path := tmp_path / "t.parquet")
    script = f"""
import os
from pathlib import Path
import pyarrow.parquet
from ubr.pretrain.data.tables import read_groups, read_table
path, before = Path({str(path)!r}), len(os.listdir("/proc/self/task"))
{read}
print(len(os.listdir("/proc/self/task")) - before)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert ran.stdout.strip() == b"0", ran.stderr.decode()
