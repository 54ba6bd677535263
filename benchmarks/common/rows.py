"""Result rows: appended to results/NAME.csv, read from it, and recognised in it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"


def append(name: str, rows: Sequence[Mapping[str, object]]) -> Path:
    """Append rows to results/NAME.csv in one write, so that no row is torn.

    Raises:
        ValueError: the file has other columns.
        OSError: the rows could not be written.
    """
    path = RESULTS / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    columns = list(rows[0])
    is_new = not path.exists() or path.stat().st_size == 0
    if not is_new:
        with path.open(newline="") as file:
            found = next(csv.reader(file))
        if found != columns:
            raise ValueError(
                f"{path} has the columns {found}, the rows have {columns}; move the old file away"
            )
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if is_new:
        writer.writeheader()
    writer.writerows(rows)
    _append_bytes(path, text.getvalue().encode())
    return path


def read(name: str) -> list[dict[str, str]]:
    """Read the rows of results/NAME.csv; none if there is no such file."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def matching(name: str, row: Mapping[str, object], columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of results/NAME.csv that have the values of `row` in these columns."""
    return [
        found
        for found in read(name)
        if all(found[column] == str(row[column]) for column in columns)
    ]


def recorded(name: str, row: Mapping[str, object], columns: Sequence[str]) -> bool:
    """Whether results/NAME.csv has a row with the values of `row` in these columns.

    If it has, a line says so.
    """
    found = bool(matching(name, row, columns))
    if found:
        values = ", ".join(f"{column} {row[column]}" for column in columns)
        print(f"skipped, {name}.csv has it: {values}", flush=True)
    return found


def _append_bytes(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, data) != len(data):  # a full disk takes a part
            os.ftruncate(descriptor, before)
            raise OSError(f"{path} could not be written; free some space on its disk")
    finally:
        os.close(descriptor)
