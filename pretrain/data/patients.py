"""A user's table of patients: which file belongs to whom, where the format does not say.

A CSV file with the columns `file` and `patient`. `file` is the end of the path of a file or of a
folder (`torso/a.nii.gz`). Where several lines fit a file, the longest one counts. What of a path is
not UTF-8 or cannot be printed is written as U+FFFD, as in what `--with-paths` shows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from .volume import Series, shown


def read_patients(path: Path) -> dict[str, str]:
    """The table as a mapping from `file` to `patient`.

    Raises:
        ValueError: the file cannot be read, a column is missing, or a line names no patient or has
            another number of columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if not {"file", "patient"} <= set(table.fieldnames or ()):
                columns = ", ".join(table.fieldnames or ["none"])
                raise ValueError(
                    f"{path}: a list of patients needs the columns file, patient; this one has "
                    f"{columns}"
                )
            whose = {}
            for row in table:
                if not row["file"]:
                    continue
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path}: line {table.line_num} must have {len(table.fieldnames or ())} "
                        "columns, like the first line; correct it, or save the table again"
                    )
                patient = (row["patient"] or "").strip()
                if not patient:
                    raise ValueError(
                        f"{path}: line {table.line_num} names no patient; give one, or drop "
                        "the line"
                    )
                whose[row["file"].strip().strip("/").replace("\\", "/")] = patient
            return whose
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path}: not a readable CSV file of patients ({type(error).__name__})"
        ) from None


def assign_patients(found: Iterable[Series], whose: Mapping[str, str]) -> tuple[list[Series], int]:
    """The series with the patients of the table, and how many of its lines fit no file.

    The table wins over what the files themselves say.
    """
    used: set[str] = set()
    return [with_patient(series, whose, used) for series in found], len(whose) - len(used)


def with_patient(series: Series, whose: Mapping[str, str], used: set[str]) -> Series:
    """The series with its patient of the table. The line that fits is added to `used`."""
    path = min(series.files) if whose else ""
    ends = chain(_path_ends(path), _path_ends(shown(path)))
    entry = next((end for end in ends if end in whose), None)
    if entry is None:
        return series
    used.add(entry)
    return replace(series, patient=whose[entry])


def _path_ends(path: str) -> Iterator[str]:
    """What a line of the table may call a file.

    The ends of its path come first, then those of its folders, each from the longest.
    """
    parts = Path(path).parts
    for stop in range(len(parts), 0, -1):
        for start in range(stop):
            yield "/".join(parts[start:stop]).lstrip("/")
