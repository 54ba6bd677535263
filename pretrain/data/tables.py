"""Parquet tables that hold the CRC-32 of their own file.

Parquet's own checksums cover the pages, but neither their headers nor the footer, where one bit
turns a type or a name into another. So the footer gets eight digits more: the CRC-32 of the whole
file, with question marks in their place. Other readers see one key more in the metadata.

Tables are read in the caller's thread. Arrow's own threads can abort a process that ends soon after
they have read: one in a hundred, on a busy machine.
"""

from __future__ import annotations

import mmap
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...weights.common.checksums import file_crc32

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_NAME, _MARK, _BLANK = b"crc32", b"crc32 of the file: ", b"????????"
_SEAL = re.compile(_MARK + rb"([0-9a-f]{8})")


class DamagedTable(ValueError):
    """A table that cannot be read, or whose checksum is wrong."""


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a table; the file gets its checksum when the block ends without an error."""
    import pyarrow.parquet as pq

    # Arrow itself opens no path that is not UTF-8.
    with path.open("wb") as opened, pq.ParquetWriter(opened, schema) as writer:
        yield writer
        writer.add_key_value_metadata({_NAME: _MARK + _BLANK})
    checksum = file_crc32(path)  # the question marks are still in place
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        footer = file.seek(-8 - int.from_bytes(file.read(4), "little"), os.SEEK_END)
        file.seek(footer + file.read().rindex(_MARK + _BLANK) + len(_MARK))
        file.write(checksum.encode())


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table with its checksum."""
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


def read_table(path: Path) -> tuple[pa.Table, bool]:
    """A table, and whether a checksum showed it to be whole; earlier versions wrote none.

    Raises:
        DamagedTable: it is no Parquet file, or its checksum is wrong.
        OSError: there is no such file, or it cannot be opened.
    """
    import pyarrow as pa

    with _opened(path) as (file, sealed):
        try:
            # A table's own metadata lack what its writer added last.
            table = file.read(use_threads=False)
            return table.replace_schema_metadata(file.metadata.metadata), sealed
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            raise _damaged(error) from None


def read_groups(path: Path) -> Iterator[pa.Table]:
    """The row groups of a table, one at a time in memory. Raises as `read_table` does."""
    import pyarrow as pa

    with _opened(path) as (file, _):
        for group in range(file.num_row_groups):
            try:
                yield file.read_row_group(group, use_threads=False)
            except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
                raise _damaged(error) from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pq.ParquetFile, bool]]:
    """A table that is whole, as far as a checksum tells, and whether one does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as raw:
        is_empty = not os.fstat(raw.fileno()).st_size  # which cannot be mapped
        content = b"" if is_empty else mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
    *_, seal = [None, *_SEAL.finditer(content)]
    if seal is not None:
        start, end, digits = seal.start(1), seal.end(1), int(seal[1], 16)
        with memoryview(content) as view:
            before = zlib.crc32(_BLANK, zlib.crc32(view[:start]))
            if zlib.crc32(view[end:], before) != digits:
                raise DamagedTable("its checksum is wrong")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise _damaged(error) from None
    with file:
        yield file, seal is not None


def _damaged(error: Exception) -> DamagedTable:
    return DamagedTable(f"it cannot be read ({type(error).__name__})")
