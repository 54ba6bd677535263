"""The catalog: the rows of all series as one table, ordered by their content alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .rows import LEFT_OUT, TAKEN, SeriesRow, row_left_out

if TYPE_CHECKING:
    import pyarrow as pa

SAME_CONTENT = "the same pixels and geometry as another series"
DAMAGED = (
    "its row in the store is damaged: a number is missing or none, or slice positions do not "
    "increase; delete the row in series/ and ingest its source again"
)


def catalog_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The table of rows as JSON holds them.

    Of rows with the same content one stays taken. A row that makes no sense is left out: one of
    them must not end the use of the others.
    """
    import pyarrow as pa

    rows = [row if row.get("status") != TAKEN or _whole(row) else damaged(row) for row in rows]
    # Of equals the one whose patient is known comes first.
    rows.sort(key=lambda r: (r.get("digest", ""), r.get("patient") == r["key"], r["key"]))
    for row, before in zip(rows[1:], rows, strict=False):
        if row["status"] == TAKEN and row["digest"] == before.get("digest"):
            row |= {"status": LEFT_OUT, "reason": SAME_CONTENT}
    rows.sort(key=lambda r: r["status"] == LEFT_OUT)
    return pa.Table.from_pylist(rows, schema=_schema())


def damaged(row: dict[str, Any]) -> dict[str, Any]:
    """A row that was taken and makes no sense, as one that is left out."""
    # A digest is what tells the catalog that a row has pixels.
    digest = str(row.get("digest") or "")
    return {**row_left_out(str(row["key"]), str(row.get("kind", "")), DAMAGED), "digest": digest}


def _whole(row: dict[str, Any]) -> bool:
    """Whether a row that was taken holds what it must, in the catalog's types."""
    import pyarrow as pa

    try:
        table = pa.Table.from_pylist([row], schema=_schema())
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    complete = all(column.null_count == 0 for column in table.columns)
    return (
        complete and table["status"].to_pylist() == leave_out_damaged(table)["status"].to_pylist()
    )


def leave_out_damaged(table: pa.Table) -> pa.Table:
    """The catalog, with those taken series left out whose geometry is damaged."""
    import pyarrow as pa

    status, reason = table["status"].to_pylist(), table["reason"].to_pylist()
    spacing = np.stack([_numbers(table[f"spacing_{axis}_mm"]) for axis in "zyx"], 1)
    slices, z_mm, body = _numbers(table["slices"]), _lists(table["z_mm"]), _lists(table["body"])
    for i, taken in enumerate(status):
        if taken == TAKEN and not (
            len(z_mm[i]) == slices[i] == len(body[i]) / 4 > 0
            and np.isfinite(z_mm[i]).all()
            and z_mm[i][0] == 0
            and (np.diff(z_mm[i]) > 0).all()
            and np.isfinite(body[i]).all()
            and np.isfinite(spacing[i]).all()
            and (spacing[i] > 0).all()
        ):
            status[i], reason[i] = LEFT_OUT, DAMAGED
    if DAMAGED not in reason:
        return table
    for name, column in (("status", status), ("reason", reason)):
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(column, pa.string())
        )
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


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers; NaN for what is missing."""
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False), np.float64)
