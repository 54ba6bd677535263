"""A user's table of patients: which file belongs to whom, where the format does not say.

A CSV file with the columns `file` and `patient`. `file` is the end of the path of a file or of a
folder (`torso/a.nii.gz`). Where several lines fit a file, the longest one counts. What of a path is
not UTF-8 or cannot be printed is written as U+FFFD, as in what `--with-paths` shows.

Where the table says nothing, and the store has a series' UID as another patient's, the series gets
a key of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from .digests import UnreadableError, files_digest
from .index import Index
from .store import Store
from .volume import UID_OF_ANOTHER, LeftOut, Series, shown


def read_patients(path: Path) -> dict[str, str]:
    """The table as a mapping from `file` to `patient`.

    Raises:
        ValueError: the file cannot be read, a column is missing, or a line names no patient, has
            another number of columns, or names another patient for a file than an earlier line.
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
            whose: dict[str, str] = {}
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
                name = row["file"].strip().strip("/").replace("\\", "/")
                if whose.setdefault(name, patient) != patient:
                    raise ValueError(
                        f"{path}: line {table.line_num} names another patient for its file than "
                        "an earlier line; drop the wrong one"
                    )
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
    return replace(series, patient=whose[entry], own_patient=series.patient)


def _path_ends(path: str) -> Iterator[str]:
    """What a line of the table may call a file.

    The ends of its path come first, then those of its folders, each from the longest.
    """
    parts = Path(path).parts
    for stop in range(len(parts), 0, -1):
        for start in range(stop):
            yield "/".join(parts[start:stop]).lstrip("/")


class Named:
    """The series of a search, with their patients; read anew in each iteration.

    A series gets a key of its content where the store has its UID as another patient's, unless the
    table says whose it is.

    unmatched: lines of the table that fit no file.
    left_out: series whose content cannot be read for such a key, once they have been met.
    """

    def __init__(self, found: Index, whose: Mapping[str, str], store: Store) -> None:
        self.store = store
        self._found, self._whose = found, whose
        self._known = {row.key: row.patient for row in store.rows()}
        self._own: dict[str, str] = {}  # as far as it was asked for
        self._used: set[str] = set()
        # By UID, so that a file which can be read at times only makes no two series of one.
        self._digests: dict[str, str | LeftOut] = {}

    @property
    def unmatched(self) -> int:
        return len(self._whose) - len(self._used)

    @property
    def left_out(self) -> list[LeftOut]:
        return [left for left in self._digests.values() if isinstance(left, LeftOut)]

    def __iter__(self) -> Iterator[Series]:
        for series in self._found:
            named = with_patient(series, self._whose, self._used)
            if named.patient != series.patient or not self._is_anothers(named):
                yield named
            elif not isinstance(digest := self._digest(named), LeftOut):
                yield _by_content(named, digest)

    def _is_anothers(self, series: Series) -> bool:
        """Whether the store has the series' UID as another patient's, whatever a table said."""
        key, patient = self.store.key(series), self.store.patient(series)
        if not series.patient or self._known.get(key, key) in (key, patient):
            return False
        if key not in self._own:
            self._own[key] = self.store.own_patient(key)
        return self._own[key] != patient

    def _digest(self, series: Series) -> str | LeftOut:
        if series.uid not in self._digests:
            try:
                self._digests[series.uid] = files_digest(series.files)
            except UnreadableError as error:
                self._digests[series.uid] = error.of_series()
        return self._digests[series.uid]


def _by_content(series: Series, digest: str) -> Series:
    """The series with the digest of its files in place of its UID."""
    _, mark, stack = series.uid.partition("#")  # a file may hold several stacks
    return replace(
        series,
        uid="content-" + digest + mark + stack,
        warnings=(*series.warnings, UID_OF_ANOTHER),
    )
