"""`Store`: the folder, its series, its catalog."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....weights.common import disk
from ....weights.common.checksums import say_unverified
from ..tables import DamagedTable, read_table, write_table
from ..volume import Series, Volume, shown
from .catalog import (
    DAMAGED,
    catalog_of,
    has_columns,
    is_unverified,
    leave_out_damaged,
    rows_of,
)
from .files import SeriesFiles
from .keys import check_of, hash_text, make_secret, read_secret
from .made import check_utf_8, holds_other_things, read_made, write_made
from .pixels import read_pixels, write_pixels
from .rows import (
    OWN_PATIENT,
    SeriesRow,
    StoreError,
    files_of,
    is_behind,
    row_left_out,
    row_taken,
    slices_crc32,
    whose,
)
from .sources import read_sources, write_sources
from .values import write_values

if TYPE_CHECKING:
    import pyarrow as pa

FOLDERS = {"series": 0o777, "private": 0o700, "private/sources": 0o700}
"""With their modes: what may hold names is its owner's."""


class Store:
    """A store on disk; cheap to open, safe to pass to other processes.

    Made by `Store.open` or `Store.create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Store:
        """Make an empty store, or open the one that is there.

        Raises `StoreError` if the folder holds something else, or as `check_utf_8`.
        """
        root = Path(path)
        check_utf_8(root)
        if not (root / "store.json").exists():
            if root.exists() and (not root.is_dir() or holds_other_things(root)):
                raise StoreError(f"{root} exists and is not a store; name a new or an empty folder")
            try:
                root.mkdir(parents=True, exist_ok=True)
                for folder, mode in FOLDERS.items():
                    disk.make_folder(root / folder, mode)
                make_secret(root / "private" / "secret")
                write_made(root)
            except OSError as error:
                raise StoreError(
                    f"a store cannot be made at {root} ({error.strerror}); name a folder that "
                    "can be written to"
                ) from None
        return cls.open(root)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store.

        Raises `StoreError` if there is none, if it is damaged or if a newer version made it, and as
        `check_utf_8`.
        """
        root = Path(path)
        check_utf_8(root)
        read_made(root)
        if not (root / "series").is_dir():
            raise StoreError(
                f"{root} is damaged: it has no folder series/; ingest into a new store"
            )
        return cls(root)

    # Reading

    def catalog(self) -> pa.Table:
        """One row per series, taken ones first, in an order that their content alone decides.

        It is rebuilt if it is damaged or an earlier version made it; nothing is lost by that.
        """
        try:
            table, verified = read_table(self._catalog)
        except (OSError, DamagedTable):
            return self.rebuild()
        if not (verified and has_columns(table)):
            return self.rebuild()
        have_pixels = table["digest"].is_valid().to_pylist()
        listed = {
            f"{key}.json" if taken else f"{key}.left.json"
            for key, taken in zip(table["key"].to_pylist(), have_pixels, strict=True)
        }
        return leave_out_damaged(table) if listed == self._files.names() else self.rebuild()

    def rows(self) -> list[SeriesRow]:
        """The series that were taken, in the catalog's order."""
        table = self.catalog()
        if is_unverified(table):
            say_unverified("series of the store")
        return rows_of(table)

    def damaged(self) -> list[str]:
        """The keys of series that were taken and whose row has become damaged."""
        table = self.catalog()
        return [
            key
            for key, reason in zip(
                table["key"].to_pylist(), table["reason"].to_pylist(), strict=True
            )
            if reason == DAMAGED
        ]

    def usable(self) -> list[SeriesRow]:
        """`rows()`, or `StoreError` with the reasons when no series was taken."""
        rows = self.rows()
        if not rows:
            reasons = self.catalog()["reason"].to_pylist()
            most = f" (most often: {max(set(reasons), key=reasons.count)})" if reasons else ""
            raise StoreError(
                f"{self.path} holds no usable series; {len(reasons)} were left out{most}; ingest "
                "CT series into it"
            )
        return rows

    def read(
        self, key: str, slices: Sequence[int] | slice | None = None, *, digest: str = ""
    ) -> NDArray[np.int16]:
        """HU of a series, `[z, y, x]`: all slices, a range, or those named, in the order given.

        Only these are decompressed. The file is opened anew each time (0.1 ms), so nothing is kept
        in memory and forked workers share no state.

        digest: of the row that the caller knows.

        Raises:
            StoreError: the pixels or the row are missing, a checksum is wrong, or the series was
                taken anew and has another digest. Series that an earlier version ingested have no
                checksum, so a flipped bit goes unnoticed.
            IndexError: a slice outside the series.
        """
        try:
            row = self._files.read(key, taken=True)
        except FileNotFoundError:
            raise StoreError(
                f"the row of series {key} is missing from the store; ingest its source again"
            ) from None
        if row is None:
            raise StoreError(f"series {key}: {DAMAGED}")
        if digest not in ("", row["digest"]):
            raise StoreError(
                f"series {key} was ingested anew meanwhile; repeat the command, or "
                "the ingest if it was stopped"
            )
        return read_pixels(self._files.pixels(key), row, slices)

    def fingerprint(self, keys: Iterable[str]) -> str:
        """Digest of the content of these series in any order: provenance that identifies no one.

        Raises KeyError for a key that is not in the store.
        """
        table = self.catalog()
        digests = dict(zip(table["key"].to_pylist(), table["digest"].to_pylist(), strict=True))
        return hash_text("\n".join(sorted(digests[k] for k in keys)), size=16)

    # Writing

    @staticmethod
    def key(series: Series) -> str:
        """The series' key, the same in every store."""
        return hash_text(series.uid)

    def patient(self, series: Series) -> str:
        """The patient's key, which depends on the store's secret.

        Where the format names no patient it is the series' own key.
        """
        return self._hashed(series.patient) if series.patient else self.key(series)

    def has(self, key: str) -> bool:
        """Whether the series was taken, row and pixels."""
        return self._files.row(key).exists() and self._files.pixels(key).exists()

    def add(self, series: Series, volume: Volume, boxes: NDArray[np.int16]) -> str:
        """Write a series and its row (boxes: `[z, 4]`). Returns its key.

        One that is there is replaced if anything differs. Killed between its pixels and its row, it
        is refused by their checksums until the next ingest, for which it is still behind.
        """
        key = self.key(series)
        before = self._files.before(key)
        row = row_taken(key, self.patient(series), series.kind, volume, boxes)
        row |= files_of(series, row["slices"]) | self._whose(series, before)
        self._files.left(key).unlink(missing_ok=True)
        if row == before and self.has(key):
            return key
        write_pixels(self._files.pixels(key), volume.hu)
        write_values(self._files.row(key), row)
        if before:
            self._catalog.unlink(missing_ok=True)  # it lists this row, as it was
        return key

    def is_behind(self, series: Series) -> bool:
        """Whether a series that was taken has more files now, or some could not be read then."""
        row = self._files.before(self.key(series))
        return bool(row) and is_behind(row, series)

    def has_more(self, key: str, volume: Volume) -> bool:
        """Whether a series was taken with slices that a volume of it lacks."""
        row = self._files.before(key) if self.has(key) else {}
        stored = row and (row.get("slices_crc32") or slices_crc32(self.read(key)))
        return not set(stored) <= set(slices_crc32(volume.hu))

    def leave_out(self, key: str, kind: str, reason: str) -> None:
        """Record that a series was not taken. reason: one line without path or identity."""
        write_values(self._files.left(key), row_left_out(key, kind, reason))

    def why_not_anew(self, key: str) -> str:
        """Why a series that is there was not taken anew; "" if it was."""
        return str(self._files.before(key, taken=False).get("reason", ""))

    def path_key(self, path: str) -> str:
        """Key of something that was left out before it had a UID.

        Paths can be guessed, hence the secret.
        """
        return hash_text(path, secret=self._secret)

    def name_patients(self, found: Iterable[Series]) -> None:
        """Update the patients' keys of series that were taken before their patient was known, or
        that a table names.
        """
        known = {row.key: row.patient for row in self.rows()}
        for series in found:
            key = self.key(series)
            is_new = series.patient and known.get(key) not in (None, self.patient(series))
            row = self._files.read(key, taken=True) if is_new or series.own_patient else None
            named = None if row is None else {**row, **self._whose(series, row)}
            if named is not None and named != row:
                self._catalog.unlink(missing_ok=True)  # it lists the rows as they were
                write_values(self._files.row(key), named)

    def own_patient(self, key: str) -> str:
        """The patient's key by the series' files, where a table names another; "" where none."""
        return str(self._files.before(key).get(OWN_PATIENT, ""))

    def note_sources(self, sources: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Keep in private/ which files each key came from."""
        write_sources(self.path / "private" / "sources", sources)

    def sources(self) -> dict[str, list[str]]:
        """Files of each key, as far as private/ still lists them."""
        return read_sources(self.path / "private" / "sources")

    def forget_left_out(self, sources: Sequence[Path], keys: set[str]) -> None:
        """Drop rows of what an earlier ingest of `sources` left out, except `keys`.

        The file has gone, or was taken under its UID.
        """
        left = [(p, p.name.split(".")[0]) for p in (self.path / "series").glob("*.left.json")]
        earlier = [(path, key) for path, key in left if key not in keys]
        files = self.sources() if earlier else {}  # as large as the archive has files
        for path, key in earlier:
            if any(
                Path(shown(file)).is_relative_to(shown(str(source.absolute())))
                for file in files.get(key, ())
                for source in sources
            ):
                path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed writers left (`disk.sweep`)."""
        for folder, mode in FOLDERS.items():
            disk.make_folder(self.path / folder, mode)
            disk.sweep(self.path / folder)
        disk.sweep(self.path)

    def rebuild(self) -> pa.Table:
        """Make the catalog from the rows in series/.

        Where the store cannot be written to, it is made in memory only.
        """
        table = catalog_of(self._files.each_row())
        try:
            with disk.whole(self._catalog) as part:
                write_table(table, part)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        return table

    def _hashed(self, patient: str) -> str:
        return hash_text(patient, secret=self._secret)

    def _whose(self, series: Series, before: Mapping[str, Any]) -> dict[str, str]:
        own = self._hashed(series.own_patient) if series.own_patient else series.own_patient
        return whose(self.patient(series), own, before)

    @property
    def _catalog(self) -> Path:
        return self.path / "catalog.parquet"

    @property
    def _files(self) -> SeriesFiles:
        return SeriesFiles(self.path / "series")

    @cached_property
    def _secret(self) -> bytes:
        try:
            secret = read_secret(self.path / "private" / "secret")
        except OSError:
            raise StoreError(
                f"{self.path} has no private/secret; it can be read, but not added to"
            ) from None
        check = check_of(secret)
        if not secret or read_made(self.path).get("keyed_with", check) != check:
            raise StoreError(
                f"{self.path}: private/secret is damaged; the store can be read, but not added to"
            )
        return secret
