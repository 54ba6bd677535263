"""The catalog: the rows of all series as one table, ordered by their content alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .rows import LEFT_OUT, TAKEN, SeriesRow

if TYPE_CHECKING:
    import pyarrow as pa

SAME_CONTENT = "the same pixels and geometry as another series"


def catalog_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The table of rows as JSON holds them. Of rows with the same content one stays taken."""
    import pyarrow as pa

    # Of equals the one whose patient is known comes first.
    rows.sort(key=lambda r: (r.get("digest", ""), r.get("patient") == r["key"], r["key"]))
    for row, before in zip(rows[1:], rows, strict=False):
        if row["status"] == TAKEN and row["digest"] == before.get("digest"):
            row |= {"status": LEFT_OUT, "reason": SAME_CONTENT}
    rows.sort(key=lambda r: r["status"] == LEFT_OUT)
    return pa.Table.from_pylist(rows, schema=_schema())


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
    lengths = column.combine_chunks().value_lengths().to_numpy()
    values = column.combine_chunks().flatten().to_numpy()
    ends = np.cumsum(lengths)
    return [values[end - length : end] for length, end in zip(lengths, ends, strict=True)]
