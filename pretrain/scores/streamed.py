"""Reading a folder of scores a few series at a time, for folders that do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from ..data.tables import DamagedTable, read_groups
from ..reading.context import Context
from ..reading.finding import Finding
from .read import OVERVIEWS, read_rows
from .scored import warnings_in
from .series import SeriesScores
from .slices import AGAIN, FEATURES, each_group, is_plain, table_name


def each_series(folder: Path, *, features: bool = False) -> Iterator[SeriesScores]:
    """The series of a folder that `score` wrote, in the order of their keys, with their findings.

    features: also those of features.npy.

    Raises `ValueError` where its tables are missing, damaged or do not belong together.
    """
    faults: dict[str, list[Finding]] = {}
    for row in read_rows(folder / "findings.csv"):
        place = int(row["first"]), int(row["last"])
        faults.setdefault(row["series"], []).append(
            Finding(row["kind"], *place, float(row["confidence"]), row["reason"])
        )
    rows = read_rows(folder / "series.csv")
    last = table_name(is_plain(folder))
    pooled = np.load(folder / FEATURES, mmap_mode="r") if features else None
    at = 0
    try:
        for group in each_group(folder):
            keys = group["series"]
            starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
            columns = {
                name: group[name]
                for name in ("score", "z_mm", "interpolated", "position_mm")
                if name in group
            }
            for a, b in zip(starts, [*starts[1:], len(keys)], strict=True):
                row = next(rows, {})
                if row.get("series") != keys[a]:
                    raise ValueError(f"{folder}: series.csv and {last} differ; {AGAIN}")
                of = {name: column[a:b] for name, column in columns.items()}
                yield SeriesScores(
                    str(keys[a]),
                    of["score"],
                    of["z_mm"],
                    warnings_in(row["warnings"]),
                    row.get("path", ""),
                    features=None if pooled is None else pooled[at : at + b - a],
                    findings=tuple(faults.get(str(keys[a]), ())),
                    interpolated=of.get("interpolated"),
                    position_mm=of.get("position_mm"),
                    context=cast(Context | None, row.get("context")),
                )
                at += b - a
    except (DamagedTable, KeyError, OSError) as error:
        raise ValueError(f"{folder}: {last} is damaged ({error}); {AGAIN}") from None
    if next(rows, None) is not None:
        raise ValueError(f"{folder}: series.csv and {last} differ; {AGAIN}")


def each_overview(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The key and the picture, as WebP, of each series that has one. Raises as `each_series`."""
    try:
        for table in read_groups(folder / OVERVIEWS):
            for row in table.to_pylist():
                if row["webp"] is not None:
                    yield row["series"], row["webp"]
    except (DamagedTable, KeyError, OSError) as error:
        raise ValueError(f"{folder}: {OVERVIEWS} is damaged ({error}); {AGAIN}") from None
