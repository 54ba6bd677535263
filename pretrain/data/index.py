"""The results of a search, kept on disk to bound memory.

They are in an SQLite database. If it has a path, a killed search can resume: a file is not read
again if its size and modification time are unchanged. The database holds patient ids and paths, but
no names or birth dates.

Files may be added in any order. They are returned by series, in the order of their paths.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

from .dicom.headers import Header, Slice
from .volume import LeftOut, Series, UnusableError

FORMAT = 2
"""To be raised when what is kept of a file, or how a header is read, changes."""
RACY_S = 2.0
"""A file that changed so shortly before it was read may change again without a newer time."""
_COMMIT_S = 2.0
_CACHE_KIB = 1 << 16

_KEPT = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INT, changed INT, run INT, kind TEXT, part BLOB, said TEXT
) WITHOUT ROWID
"""
_OF_THIS_RUN = """
CREATE TEMP TABLE apart (stage TEXT, part BLOB, path BLOB);
CREATE TEMP TABLE found (uid BLOB, first BLOB, said TEXT, copy INT DEFAULT 0);
CREATE TEMP TABLE left_out (path BLOB, reason TEXT);
CREATE TEMP TABLE data (path BLOB PRIMARY KEY) WITHOUT ROWID;
"""

Stamp = tuple[int, int]
"""Size and time of change, by which a file is known again."""


class Index:
    """What one search found. `close` it.

    path: where what was read is kept for a search that goes on; None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._db = _opened(path)
        self._run = time.time_ns()
        self._committed = time.monotonic()
        self._db.executescript(_OF_THIS_RUN)

    def close(self) -> None:
        """Commit and close."""
        self._db.commit()
        self._db.close()

    # Files

    def is_new(self, path: str, stamp: Stamp) -> bool:
        """Whether a file is to be read: it was neither met in this search nor read before."""
        key = _bytes(path)
        asked = "SELECT size, changed, run, kind FROM files WHERE path = ?"
        size, changed, run, kind = self._db.execute(asked, (key,)).fetchone() or (0, 0, 0, None)
        if run == self._run:
            return False
        if kind is not None and (size, changed) == stamp:
            self._db.execute("UPDATE files SET run = ? WHERE path = ?", (self._run, key))
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL, NULL, NULL)",
            (key, *stamp, self._run),
        )
        return True

    def add(self, path: str, looked: Header | Series | LeftOut | bool) -> None:
        """What was read of a file; for a PNG whether it has 16 bits."""
        # Why a file was left out may lie elsewhere, and several files may change one by one.
        again = not isinstance(looked, LeftOut)
        part = b""
        if isinstance(looked, Header):
            kind = "fault" if looked.fault else "dicom"
            said = _written(replace(looked, whose=(_hash(looked.whose).hex(),)))
            part = _hash(looked.series) + _hash(looked.whose)
        elif isinstance(looked, Series):
            kind, said = "series", _series_written(looked)
            again = len(looked.files) == 1
        elif isinstance(looked, LeftOut):
            kind, said = "left", json.dumps(looked.reason)
        else:
            kind, said, part = "png", json.dumps(looked), _bytes(str(Path(path).parent))
        known = "changed" if again else "-1"
        racy = time.time_ns() - int(RACY_S * 1e9)
        self._db.execute(
            "UPDATE files SET kind = ?, part = ?, said = ?, changed = "
            f"CASE WHEN changed < ? THEN {known} ELSE -1 END WHERE path = ?",
            (kind, part, said, racy, _bytes(path)),
        )
        if time.monotonic() - self._committed > _COMMIT_S:
            self._db.commit()
            self._committed = time.monotonic()

    def leave_out(self, left: LeftOut) -> None:
        """Something that gave no series."""
        self._db.execute("INSERT INTO left_out VALUES (?, ?)", (_bytes(left.path), left.reason))

    def end_search(self) -> None:
        """All files have been met: those of earlier searches that were not have gone."""
        self._db.execute("DELETE FROM files WHERE run != ?", (self._run,))
        for path, said in self._files("left"):
            self.leave_out(LeftOut(path, json.loads(said)))
        for _, said in self._files("series"):
            self.found(_series_read(said))
        self._db.commit()

    # What makes series

    def by_series(self) -> Iterator[list[Header]]:
        """The DICOM files of each patient's SeriesInstanceUID, in the order of their paths."""
        yield from self._headers("FROM files WHERE kind IN ('dicom', 'fault') ORDER BY part, path")

    def shared_uids(self) -> dict[str, int]:
        """How many patients or studies have a SeriesInstanceUID, where there are several."""
        rows = self._db.execute(
            "SELECT MIN(said), COUNT(DISTINCT part) FROM files WHERE kind = 'dicom' "
            "GROUP BY substr(part, 1, 16) "
            "HAVING COUNT(DISTINCT part) > 1"
        )
        return {json.loads(said)["series"]: count for said, count in rows}

    def set_apart(self, stage: str, key: object, path: str) -> None:
        """Keep a DICOM file for later, with the others of its stage and key."""
        self._db.execute("INSERT INTO apart VALUES (?, ?, ?)", (stage, _hash(key), _bytes(path)))

    def apart(self, stage: str) -> Iterator[list[Header]]:
        """The files of a stage that have a key in common, in the order of their paths."""
        yield from self._headers(
            "FROM (SELECT path, part FROM apart WHERE stage = ?) AS apart JOIN "
            "(SELECT path AS p, said FROM files) ON p = apart.path ORDER BY apart.part, path",
            (stage,),
        )

    def png_folders(self) -> Iterator[tuple[list[str], set[str]]]:
        """The PNG of each folder, and which of them do not have 16 bits."""
        for _, rows in groupby(
            self._files("png", by="part, "), key=lambda row: Path(row[0]).parent
        ):
            files = [(path, json.loads(said)) for path, said in rows]
            yield [path for path, _ in files], {path for path, deep in files if not deep}

    def headers(self, paths: Iterable[str]) -> Iterator[Header]:
        """What was read of DICOM files; nothing of others."""
        asked = "SELECT said FROM files WHERE path = ? AND kind = 'dicom'"
        for path in paths:
            for (said,) in self._db.execute(asked, (_bytes(path),)):
                yield _read(path, said)

    # Series

    def found(self, series: Series) -> None:
        """A series."""
        self._db.execute(
            "INSERT INTO found (uid, first, said) VALUES (?, ?, ?)",
            (_bytes(series.uid), _bytes(series.files[0]), _series_written(series)),
        )
        if series.kind != "dicom":
            self._db.executemany(
                "INSERT OR IGNORE INTO data VALUES (?)", [(_bytes(p),) for p in series.files[1:]]
            )

    def drop_copies(self) -> None:
        """Keep of each series the one whose first file comes first; a pair is met at both files."""
        rows = self._db.execute("SELECT uid, said, rowid FROM found ORDER BY uid, first, rowid")
        kept: tuple[bytes, Series] | None = None
        for uid, said, row in rows:
            series = _series_read(said)
            if kept is None or uid != kept[0]:
                kept = uid, series
                continue
            self._db.execute("UPDATE found SET copy = 1 WHERE rowid = ?", (row,))
            if series.files != kept[1].files:
                self.leave_out(LeftOut(series.files[0], "a copy of another file"))

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM found WHERE copy = 0").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Series]:
        """The series, by path."""
        for (said,) in self._db.execute(
            "SELECT said FROM found WHERE copy = 0 ORDER BY first, uid"
        ):
            yield _series_read(said)

    def left_out(self) -> Iterator[LeftOut]:
        """What gave no series, by path; the data of a file with a header apart is none of it."""
        for path, reason in self._db.execute(
            "SELECT path, reason FROM left_out WHERE path NOT IN (SELECT path FROM data) "
            "ORDER BY path, reason"
        ):
            yield LeftOut(_text(path), reason)

    def _files(self, kind: str, by: str = "") -> Iterator[tuple[str, str]]:
        """Path, and what was read, of all files of a kind."""
        asked = f"SELECT path, said FROM files WHERE kind = ? ORDER BY {by}path"
        for path, said in self._db.execute(asked, (kind,)):
            yield _text(path), said

    def _headers(self, asked: str, values: Iterable[str] = ()) -> Iterator[list[Header]]:
        rows = self._db.execute(f"SELECT part, path, said {asked}", tuple(values))
        for _, files in groupby(rows, key=lambda row: row[0]):
            yield [_read(_text(path), said) for _, path, said in files]


@contextmanager
def told(path: Path | None) -> Iterator[None]:
    """Say in the project's words what SQLite finds wrong while an index is in use.

    path: of a kept index; a damaged one is removed, so that the same command begins anew.

    Raises:
        UnusableError: the kept index is damaged.
        OSError: the disk is full, or cannot be written to.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        if path is None or code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise OSError(errno.EIO, f"the search cannot be kept on disk ({error})") from error
        remove(path)
        raise UnusableError(
            "what an earlier search kept is damaged and was removed; repeat the command"
        ) from error


def _opened(path: Path | None) -> sqlite3.Connection:
    """The database; one that belongs to another search now, or cannot be kept, is left alone."""
    for attempt in range(2 if path else 0):
        assert path is not None
        try:
            if path.is_symlink():
                path.unlink()
            path.touch(0o600)  # what SQLite puts beside it has the same mode
            return _prepared(sqlite3.connect(path, timeout=0))
        except (OSError, sqlite3.OperationalError):  # locked, or a disk that cannot lock or write
            break
        except sqlite3.DatabaseError:  # damaged
            if attempt == 0:
                remove(path)
    return _prepared(sqlite3.connect(""))  # in memory, and beyond that in a nameless file


def remove(path: Path) -> None:
    """Remove an index and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA temp_store = FILE")
        db.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        (made,) = db.execute("PRAGMA user_version").fetchone()
        if made != FORMAT:
            db.execute("DROP TABLE IF EXISTS files")
        db.execute(_KEPT)
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.commit()
    except BaseException:
        db.close()
        raise
    return db


def _bytes(text: str) -> bytes:
    """A text that SQLite orders as Python does; a path may hold what is not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _hash(key: object) -> bytes:
    return blake2b(_bytes(repr(key)), digest_size=16).digest()


def _written(header: Header) -> str:
    values = vars(header) | {"slices": [[*vars(one).values()] for one in header.slices]}
    del values["path"]
    return json.dumps(values)


def _read(path: str, said: str) -> Header:
    values: dict[str, Any] = json.loads(said)
    slices = tuple(Slice(*map(_tuples, one)) for one in values.pop("slices"))
    return Header(path, slices=slices, **{name: _tuples(v) for name, v in values.items()})


def _series_written(series: Series) -> str:
    return json.dumps([*vars(series).values()])


def _series_read(said: str) -> Series:
    return Series(*map(_tuples, json.loads(said)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
