"""The catalog: the rows of all series as one table, ordered by their content alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..volume import UID_OF_ANOTHER
from .rows import (
    FILES,
    LEFT_OUT,
    OWN_PATIENT,
    TAKEN,
    SeriesRow,
    is_key,
    is_sensible,
    row_left_out,
)

if TYPE_CHECKING:
    import pyarrow as pa

SAME_CONTENT = "the same pixels and geometry as another series"
DAMAGED = (
    "its row in the store is damaged: a checksum is wrong, a value is missing, or its geometry is "
    "not a scan's; delete the row in series/ and ingest its source again"
)
UNKNOWN = "it was left out, and the reason is damaged; ingest its source again"

_UNVERIFIED = b"unverified"
_AT_ONCE = 1024
"""Rows that are in memory as JSON holds them, which takes many times the catalog's memory."""


def catalog_of(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """The table of rows as JSON holds them, of which some are in memory at a time.

    Of rows with the same content one stays taken. The table's metadata say whether a row that is
    taken has no checksums.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, tables, unverified = iter(rows), [_schema().empty_table()], False
    while batch := list(islice(rows, _AT_ONCE)):
        unverified |= any(row["status"] == TAKEN and "slices_crc32" not in row for row in batch)
        tables.append(pa.Table.from_pylist(batch, schema=_schema()))
    table = pa.concat_tables(tables)
    # Of equals the one whose patient is known comes first, and the one whose UID is its own: with
    # equal pixels it is no other patient's, but one whom a table has named.
    by = {
        "digest": pc.fill_null(table["digest"], ""),
        "unknown": pc.fill_null(pc.equal(table["patient"], table["key"]), False),
        "renamed": pa.array([UID_OF_ANOTHER in (of or ()) for of in table["warnings"].to_pylist()]),
        "key": table["key"],
    }
    order = pc.sort_indices(pa.table(by), [(name, "ascending") for name in by]).to_numpy()
    few = table.select(["status", "reason", "digest"]).take(order)
    status, reason, digest = (column.to_pylist() for column in few.columns)
    for i in range(1, len(order)):
        if status[i] == TAKEN and digest[i] == digest[i - 1]:
            status[i], reason[i] = LEFT_OUT, SAME_CONTENT
    taken_first = np.argsort([one == LEFT_OUT for one in status], kind="stable")
    # What is long is copied once.
    table = table.take(order[taken_first])
    texts = {"status": [status[i] for i in taken_first], "reason": [reason[i] for i in taken_first]}
    metadata = {_UNVERIFIED: b"1"} if unverified else {}
    return _with_texts(table, **texts).combine_chunks().replace_schema_metadata(metadata)


def is_unverified(table: pa.Table) -> bool:
    """Whether a series that is taken has no checksums."""
    return _UNVERIFIED in (table.schema.metadata or {})


def has_columns(table: pa.Table) -> bool:
    """Whether a table has a catalog's columns, in its types."""
    return bool(table.schema.equals(_schema()))


def damaged(key: str, *, taken: bool) -> dict[str, Any]:
    """A row that cannot be used, as one that is left out."""
    # A digest is what tells the catalog that a row has pixels.
    return (
        {**row_left_out(key, "", DAMAGED), "digest": ""}
        if taken
        else row_left_out(key, "", UNKNOWN)
    )


def is_whole(row: dict[str, Any], key: str, *, taken: bool) -> bool:
    """Whether a row holds what it must, in the catalog's types; one of them must not end the use of
    the others.

    key, taken: what the name of its file says.
    """
    import pyarrow as pa

    try:
        table = pa.Table.from_pylist([row], schema=_schema())
        filled = [name for name in table.column_names if table[name].null_count == 0]
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    named = row.get("key") == key and is_key(key)
    if not taken:
        left_out = {"key", "status", "reason", "kind"}
        whole = named and set(filled) == left_out and row["status"] == LEFT_OUT
        return whole and str(row["reason"]).isprintable()
    whole = named and filled == table.column_names and row["status"] == TAKEN
    checksums = row.get("slices_crc32", [])
    return (
        whole
        and is_sensible(row)
        and isinstance(checksums, list)
        and len(checksums) in ((row["slices"],) if "slices_crc32" in row else (0,))
        and is_key(row.get(OWN_PATIENT, key))
        and isinstance(row.get(FILES, 0), int)
    )


def leave_out_damaged(table: pa.Table) -> pa.Table:
    """The catalog, with those taken series left out that cannot be scans."""

    status, reason = table["status"].to_pylist(), table["reason"].to_pylist()
    z_mm, body = _lists(table["z_mm"]), _lists(table["body"])
    for i, row in enumerate(table.drop_columns(["z_mm", "body"]).to_pylist()):
        if row["status"] == TAKEN and not is_sensible({**row, "z_mm": z_mm[i], "body": body[i]}):
            status[i], reason[i] = LEFT_OUT, DAMAGED
    if DAMAGED not in reason:
        return table
    return _with_texts(table, status=status, reason=reason)


def _with_texts(table: pa.Table, **columns: list[str]) -> pa.Table:
    """The table with other texts in some of its columns."""
    import pyarrow as pa

    for name, column in columns.items():
        where = table.schema.get_field_index(name)
        table = table.set_column(where, name, pa.array(column, pa.string()))
    return table


def rows_of(table: pa.Table) -> list[SeriesRow]:
    """The series that a catalog lists as taken, in its order."""
    import pyarrow.compute as pc

    table = table.filter(pc.equal(table["status"], TAKEN)).combine_chunks()
    arrays = {name: _lists(table[name]) for name in ("z_mm", "body")}
    scalars = table.drop_columns(list(arrays)).to_pylist()
    same = "key patient kind slices rows columns hu_min hu_max digest".split()
    return [
        SeriesRow(
            **{name: row[name] for name in same},
            spacing_mm=(row["spacing_z_mm"], row["spacing_y_mm"], row["spacing_x_mm"]),
            z_mm=z_mm,
            body=body.reshape(-1, 4),
            warnings=tuple(row["warnings"]),
        )
        for row, z_mm, body in zip(scalars, *arrays.values(), strict=True)
    ]


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number, real = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        {
            **dict.fromkeys(("key", "patient", "status", "reason", "kind"), text),
            **dict.fromkeys(("slices", "rows", "columns"), number),
            **dict.fromkeys(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), real),
            **{"z_mm": pa.list_(real), "body": pa.list_(pa.int16())},
            **dict.fromkeys(("hu_min", "hu_max"), number),
            **{"warnings": pa.list_(text), "digest": text},
        }
    )


def _lists(column: pa.ChunkedArray) -> list[NDArray[Any]]:
    """A column of lists as arrays, without a Python number for each of their elements."""
    column = column.combine_chunks()
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)  # NaN for what is missing
    ends = np.cumsum(lengths)
    return [values[end - length : end] for length, end in zip(lengths, ends, strict=True)]
