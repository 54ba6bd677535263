"""Parquet tables that hold the CRC-32 of their own file.

Parquet's own checksums cover the pages, but neither their headers nor the footer, where one bit
turns a type or a name into another. So the footer gets eight digits more: the CRC-32 of the whole
file, with question marks in their place. Other readers see one key more in the metadata.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.common.checksums import file_crc32

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

    with pq.ParquetWriter(path, schema) as writer:
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
    import pyarrow.parquet as pq

    content = path.read_bytes()
    *_, seal = [None, *_SEAL.finditer(content)]
    if seal is not None:
        view = memoryview(content)
        before = zlib.crc32(_BLANK, zlib.crc32(view[: seal.start(1)]))
        if zlib.crc32(view[seal.end(1) :], before) != int(seal[1], 16):
            raise DamagedTable("its checksum is wrong")
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            # A table's own metadata lack what its writer added last.
            table = file.read().replace_schema_metadata(file.metadata.metadata)
        return table, seal is not None
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DamagedTable(f"it cannot be read ({type(error).__name__})") from None
