"""The rows of an audit as CSV and as Parquet, some at a time in memory; and read again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.released import check_there

from ...data.tables import DamagedTable, read_groups, table_writer
from .rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 1000
TABLE = "audit.parquet"


def write_tables(
    rows: Iterable[Row], columns: Mapping[str, type], table: Path, parquet: Path
) -> None:
    """Write the rows as CSV to `table`, and as Parquet to `parquet`."""
    import pyarrow as pa

    schema = _schema(columns)
    remaining = iter(rows)
    with (
        table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        table_writer(parquet, schema) as typed,
    ):
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        while batch := list(islice(remaining, ROWS_AT_ONCE)):
            writer.writerows(batch)
            typed.write_table(pa.Table.from_pylist(batch, schema))


def read_rows(folder: str | Path) -> Iterator[Row]:
    """The rows of an audit.

    Raises `ValueError` for another folder, or a table that is damaged.
    """
    check_there(Path(folder))
    path = Path(folder) / TABLE
    try:
        for table in read_groups(path):
            yield from table.to_pylist()
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is not a folder that audit wrote; give the folder of an audit"
        ) from None
    except DamagedTable as error:
        raise ValueError(f"{path} is damaged ({error}); repeat the audit") from None


def _schema(columns: Mapping[str, type]) -> pa.Schema:
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}
    return pa.schema({name: types[kind] for name, kind in columns.items()})
