"""The table of slices, in two forms: slices.parquet, or slices.csv where pyarrow is not installed.

Both hold the same columns. The settings of a scoring are in the metadata of slices.parquet; beside
slices.csv they are in settings.json alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common import doors
from ...weights.common.checksums import file_crc32, say_unverified
from ...weights.common.notes import note
from ..data.tables import read_groups, read_table, table_writer

if TYPE_CHECKING:
    import pyarrow as pa

LAST = "slices.parquet"
"""The table that is put in its place last: where it is, the scoring is finished."""
PLAIN = "slices.csv"
"""The same as text."""
AGAIN = "score again into a new folder"
"""What can be done about a damaged table."""
FEATURES = "features.npy"
CHECKSUMS = "crc32 of the others"
"""Key in the metadata of slices.parquet: the checksum of each other file."""
CELLS: Mapping[str, doors.Cell] = {"series": str, "index": int, "z_mm": float, "score": float}
"""What slices.csv must hold."""
KINDS: Mapping[str, Any] = {
    **{"index": np.int32, "score": np.float32, "part": np.str_},
    **dict.fromkeys(("z_mm", "position_mm", "position"), np.float64),
}
"""The types of its columns."""

Columns = dict[str, NDArray[Any]]
Add = Callable[[Columns], None]


def table_name(plain: bool) -> str:
    """The name of the table in a form."""
    return PLAIN if plain else LAST


def is_scores(source: str | Path) -> bool:
    """Whether a path is a folder of scores."""
    return any((Path(source) / name).is_file() for name in (LAST, PLAIN))


def is_plain(folder: Path) -> bool:
    """Whether a folder of scores has the table as text."""
    return (folder / PLAIN).is_file() and not (folder / LAST).exists()


# Writing


@contextmanager
def slices_writer(
    folder: Path,
    plain: bool,
    blank: Columns,
    settings: Mapping[str, object],
    checksums: Callable[[], Mapping[str, str]],
) -> Iterator[Add]:
    """Yield a function that adds rows.

    blank: columns without a row. settings: of the scoring. checksums: of the other files, asked for
    when all rows are written.
    """
    if plain:
        with (folder / PLAIN).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(blank)
            yield lambda columns: table.writerows(zip(*map(_cells, columns.values()), strict=True))
        return
    schema = _typed(blank).schema.with_metadata({"ubr": json.dumps(settings)})
    with table_writer(folder / LAST, schema) as slices:
        yield lambda columns: slices.write_table(_typed(columns).cast(schema))
        slices.add_key_value_metadata({CHECKSUMS: json.dumps(checksums())})


def _typed(columns: Columns) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(column, pa.string() if name == "series" else None)
            for name, column in columns.items()
        }
    )


def _cells(column: NDArray[Any]) -> list[str]:
    """Numbers with as many digits as tell them from their neighbours."""
    return [str(value) for value in column]


# Reading


def read_columns(folder: Path) -> tuple[NDArray[Any], Columns, dict[str, Any]]:
    """The series of each row, the other columns, and the settings; rows in order.

    Raises:
        DamagedTable: its checksum is wrong, or it cannot be read.
        ValueError: slices.csv holds something else.
    """
    if is_plain(folder):
        rows = [row for _, row in doors.read_rows(folder / PLAIN, CELLS, AGAIN)]
        rows.sort(key=lambda row: (row["series"], int(row["index"])))
        columns = _parsed(folder, rows)
        return columns.pop("series"), columns, read_settings(folder)
    table = read_last(folder).sort_by([("series", "ascending"), ("index", "ascending")])
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return columns.pop("series"), columns, json.loads(table.schema.metadata[b"ubr"])


def each_group(folder: Path) -> Iterator[Columns]:
    """The rows of some series at a time. Raises as `read_columns`."""
    if is_plain(folder):
        found = (row for _, row in doors.read_rows(folder / PLAIN, CELLS, AGAIN))
        for _, rows in groupby(found, key=lambda row: row["series"]):
            yield _parsed(folder, list(rows))
        return
    for table in read_groups(folder / LAST):
        yield {name: table[name].to_numpy() for name in table.column_names}


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a scoring. Raises `ValueError` where they cannot be read."""
    if is_plain(folder):
        where = folder / "settings.json"
        settings = doors.read_json(where, dict[str, Any], AGAIN)
    else:
        import pyarrow.parquet as pq

        where = folder / LAST
        try:
            settings = json.loads(pq.read_schema(where).metadata[b"ubr"])
        except Exception as error:  # of a damaged file pyarrow raises anything
            raise ValueError(f"{where} is damaged ({type(error).__name__}); {AGAIN}") from None
    found: dict[str, Any] = doors.check(
        settings, dict[str, Any], f"{folder}: the settings in {where.name}", AGAIN
    )
    return found


def read_last(folder: Path) -> pa.Table:
    """slices.parquet, verified where it has a checksum.

    Tables that are not as `score` wrote them are noted: spreadsheets save them otherwise.
    """
    table, verified = read_table(folder / LAST)
    if not verified:
        say_unverified("the scores")
    for name, expected in checksums_of(table).items():
        if name != FEATURES and _crc32(folder / name) != expected:
            note(f"{folder / name} is not as score wrote it: it was saved anew, or is damaged")
    return table


def checksums_of(table: pa.Table) -> dict[str, str]:
    """The checksum of each other file; none where an earlier version wrote them."""
    return dict(json.loads((table.schema.metadata or {}).get(CHECKSUMS.encode(), b"{}")))


def _crc32(path: Path) -> str:
    """The checksum of a file; empty where there is none."""
    return file_crc32(path) if path.is_file() else ""


def _parsed(folder: Path, rows: list[dict[str, str]]) -> Columns:
    """Columns of slices.csv."""
    columns: Columns = {"series": np.array([row["series"] for row in rows], object)}
    for name in rows[0] if rows else ():
        cells = [row[name] for row in rows]
        try:
            if name == "interpolated":
                columns[name] = np.array([cell == "True" for cell in cells])
            elif name in KINDS:
                columns[name] = np.array(cells, KINDS[name])
        except ValueError:
            raise ValueError(f"{folder / PLAIN}: column {name} is damaged; {AGAIN}") from None
    return columns
