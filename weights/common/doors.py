"""Reading untrusted files: plain values of the expected shape, or a one-line error that names the
file and the remedy.

A file may be damaged, hand-made or malicious. Nothing here executes code or follows references, and
time and memory are bounded by the size of the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = {"JSON": 64 << 20, "YAML": 1 << 20}
"""Larger files of these kinds are refused. The largest of ours have a hundredth of it."""


def check(values: Any, shape: Any, where: object, remedy: str) -> Any:
    """The values, if they have the shape.

    Args:
        values: plain values.
        shape: a `shapes.Shape`, or a type such as `dict[str, int]`.
        where: the file.
        remedy: what its user can do, as the end of a sentence.

    Raises:
        ValueError: they do not; the message names the first value that differs.
    """
    from .shapes import difference  # here, because pydantic takes a while to import

    if differs := difference(values, shape):
        raise ValueError(f"{where}: {differs}; {remedy}")
    return values


def from_json(text: str | bytes, where: object, remedy: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({_why(error)}); {remedy}") from None


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    """YAML of plain values, without references: ten lines of them unfold to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            raise yaml.YAMLError(f"*{event.anchor} refers to another value; write that out")
        return super().compose_node(parent, index)


def from_yaml(text: str) -> Any:
    """The value of a YAML text of plain values, without references.

    Raises:
        ValueError: it is something else, or is nested too deep; the text says why.
    """
    if len(text) > MOST_BYTES["YAML"]:
        raise ValueError(f"longer than {MOST_BYTES['YAML']:,} characters")
    try:
        return yaml.load(text, _Plain)
    except Exception as error:  # of odd scalars PyYAML raises KeyError, IndexError and others
        raise ValueError(_why(error)) from None


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return " ".join(str(error).split())[:120] or type(error).__name__


def read_json(path: Path, shape: Any, remedy: str) -> Any:
    """The value of a JSON file, if it has the shape.

    Raises:
        ValueError: it cannot be read, is not JSON, or has another shape.
    """
    return check(from_json(_text(path, "JSON", remedy), path, remedy), shape, path, remedy)


def read_yaml(path: Path, shape: Any, remedy: str) -> Any:
    """The value of a YAML file, if it has the shape.

    Raises:
        ValueError: it cannot be read, is not YAML of plain values, or has another shape.
    """
    text = _text(path, "YAML", remedy)
    try:
        values = from_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is not plain YAML ({error}); {remedy}") from None
    return check(values, shape, path, remedy)


def _text(path: Path, kind: str, remedy: str) -> str:
    try:
        if (size := path.stat().st_size) > MOST_BYTES[kind]:
            raise ValueError(
                f"{path}: {size:,} bytes of {kind}; at most {MOST_BYTES[kind]:,} are read; {remedy}"
            )
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({_kind(error)}); {remedy}") from None


def _kind(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return getattr(error, "strerror", None) or type(error).__name__


def read_rows(
    path: Path, columns: Mapping[str, Cell], remedy: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line numbers and rows of a CSV file with a header. Bytes that are not UTF-8 stay.

    Args:
        path: the file; a byte order mark, which spreadsheets write, is passed over.
        columns: those that it must have, and what they hold: a key of `CELLS`.
        remedy: what its user can do.

    Raises:
        ValueError: it cannot be read, lacks a column, or a row is cut or holds something else.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            table = csv.DictReader(file)
            _check_header(path, table.fieldnames or (), columns, remedy)
            for row in table:
                for name, kind in columns.items():
                    if not _is(row[name], kind):
                        raise ValueError(
                            f"{path} line {table.line_num}: {name} must be {CELLS[kind]}, got "
                            f"{(row[name] or '')[:60]!r}; {remedy}"
                        )
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path} line {table.line_num}: it must have {len(table.fieldnames or ())} "
                        f"columns, like the first line; {remedy}"
                    )
                yield table.line_num, row
    except (OSError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read ({_kind(error)}); {remedy}") from None


def number_or_none(cell: str) -> float:
    """A number, NaN where the cell is empty."""
    return float(cell or "nan")


Cell = Callable[[str], object]
CELLS: Mapping[Cell, str] = {
    **{str: "text", int: "a whole number", float: "a number"},
    number_or_none: "a number or empty",
}
"""What a cell of a table may hold, as the function that reads it."""


def _is(cell: str | None, kind: Cell) -> bool:
    try:
        return cell is not None and kind(cell) is not None
    except ValueError:
        return False


def _check_header(path: Path, found: Collection[str], needed: Collection[str], remedy: str) -> None:
    if absent := [name for name in needed if name not in found]:
        divided = len(found) == 1 and all(name in next(iter(found)) for name in needed)
        why = "its columns are not separated by commas" if divided else f"no column {absent[0]}"
        raise ValueError(f"{path}: {why}; {remedy}")
