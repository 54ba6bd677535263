"""`Store`: the folder, its series, its catalog."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common import disk

from ..volume import Series, Volume, shown
from .catalog import DAMAGED, catalog_of, damaged, leave_out_damaged, rows_of
from .keys import hash_text, make_secret, read_secret
from .pixels import read_pixels, write_pixels
from .rows import SeriesRow, StoreError, row_left_out, row_taken
from .sources import read_sources, write_sources

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1


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

        Raises `StoreError` if the folder holds something else.
        """
        root = Path(path)
        if not (root / "store.json").exists():
            if root.exists() and (not root.is_dir() or _holds_other_things(root)):
                raise StoreError(f"{root} exists and is not a store; name a new or an empty folder")
            try:
                (root / "series").mkdir(parents=True, exist_ok=True)
                for private in (root / "private", root / "private" / "sources"):
                    private.mkdir(mode=0o700, exist_ok=True)  # its owner's: paths may hold names
                make_secret(root / "private" / "secret")
                _write_json(root / "store.json", {"format": FORMAT, "made_with": _version()})
            except OSError as error:
                raise StoreError(
                    f"a store cannot be made at {root} ({error.strerror}); name a folder that "
                    "can be written to"
                ) from None
        return cls.open(root)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store. Raises `StoreError` if there is none or if a newer version made it."""
        root = Path(path)
        try:
            made = json.loads((root / "store.json").read_text("utf-8"))
            found = int(made["format"])
        except (OSError, ValueError, KeyError, TypeError):
            make = f"ubr-pretrain ingest SOURCE --store {root}"
            raise StoreError(
                f"{root} is not a store (no readable store.json); make one with: {make}"
            ) from None
        if found > FORMAT:
            raise StoreError(
                f"{root} has store format {found}, made with "
                f"{made.get('made_with', 'a newer version')}; "
                f"this version reads up to {FORMAT}: update ubr-pretrain, or ingest into a new "
                "store"
            )
        return cls(root)

    # Reading

    def catalog(self) -> pa.Table:
        """One row per series, taken ones first, in an order that their content alone decides."""
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path / "catalog.parquet")
        except (OSError, ValueError):
            return self.rebuild()
        have_pixels = table["digest"].is_valid().to_pylist()
        listed = {
            f"{key}.json" if taken else f"{key}.left.json"
            for key, taken in zip(table["key"].to_pylist(), have_pixels, strict=True)
        }
        return leave_out_damaged(table) if listed == self._row_files() else self.rebuild()

    def rows(self) -> list[SeriesRow]:
        """The series that were taken, in the catalog's order."""
        return rows_of(self.catalog())

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

    def read(self, key: str, slices: Sequence[int] | slice | None = None) -> NDArray[np.int16]:
        """HU of a series, `[z, y, x]`: all slices, a range, or those named, in the order given.

        Only these are decompressed. The file is opened anew each time (0.1 ms), so nothing is kept
        in memory and forked workers share no state.

        Raises:
            StoreError: the pixel file is missing or damaged (as far as its structure shows it:
                single bits that flip on the disk do not).
            IndexError: a slice outside the series.
        """
        return read_pixels(self._pixels(key), slices)

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
        if not series.patient:
            return self.key(series)
        return hash_text(series.patient, secret=self._secret)

    def has(self, key: str) -> bool:
        """Whether the series was taken, row and pixels."""
        return self._row(key).exists() and self._pixels(key).exists()

    def add(self, series: Series, volume: Volume, boxes: NDArray[np.int16]) -> str:
        """Write a series and its row (boxes: `[z, 4]`). Returns its key."""
        key = self.key(series)
        write_pixels(self._pixels(key), volume.hu)
        row = row_taken(key, self.patient(series), series.kind, volume, boxes)
        _write_json(self._row(key), row)
        self._left(key).unlink(missing_ok=True)
        return key

    def leave_out(self, key: str, kind: str, reason: str) -> None:
        """Record that a series was not taken. reason: one line without path or identity."""
        _write_json(self._left(key), row_left_out(key, kind, reason))

    def path_key(self, path: str) -> str:
        """Key of something that was left out before it had a UID.

        Paths can be guessed, hence the secret.
        """
        return hash_text(path, secret=self._secret)

    def name_patients(self, found: Iterable[Series]) -> None:
        """Update the patients' keys of series that were taken before their patient was known."""
        known = {row.key: row.patient for row in self.rows()}
        for series in found:
            key = self.key(series)
            if series.patient and known.get(key, self.patient(series)) != self.patient(series):
                row = json.loads(self._row(key).read_text("utf-8"))
                _write_json(self._row(key), {**row, "patient": self.patient(series)})

    def note_sources(self, sources: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Keep in private/ which files each key came from."""
        write_sources(self.path / "private" / "sources", sources)

    def sources(self) -> dict[str, list[str]]:
        """Files of each key, as far as private/ still says."""
        return read_sources(self.path / "private" / "sources")

    def forget_left_out(self, sources: Sequence[Path], keys: set[str]) -> None:
        """Drop rows of what an earlier ingest of `sources` left out, except `keys`.

        The file has gone, or was taken under its UID.
        """
        files = self.sources()
        for path in (self.path / "series").glob("*.left.json"):
            key = path.name.split(".")[0]
            if key not in keys and any(
                Path(shown(file)).is_relative_to(shown(str(source.absolute())))
                for file in files.get(key, ())
                for source in sources
            ):
                path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed writers left (`disk.sweep`)."""
        for folder in (".", "series", "private", "private/sources"):
            if (self.path / folder).is_dir():
                disk.sweep(self.path / folder)

    def rebuild(self) -> pa.Table:
        """Make the catalog from the rows in series/.

        Where the store cannot be written to, it is made in memory only.
        """
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = []
        for name in self._row_files():
            key = name.split(".")[0]
            try:
                row = json.loads((self.path / "series" / name).read_text("utf-8"))
                rows.append({**row, "key": key})
            except FileNotFoundError:  # another ingest took it meanwhile
                continue
            except (ValueError, TypeError):  # no JSON, or another value than a row
                rows.append(damaged({"key": key}))
        table = catalog_of(rows)
        try:
            with disk.whole(self.path / "catalog.parquet") as part:
                pq.write_table(table, part)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        return table

    # Files

    def _pixels(self, key: str) -> Path:
        return self.path / "series" / f"{key}.b2nd"

    def _row(self, key: str) -> Path:
        return self.path / "series" / f"{key}.json"

    def _left(self, key: str) -> Path:
        return self.path / "series" / f"{key}.left.json"

    def _row_files(self) -> set[str]:
        names = {p.name for p in (self.path / "series").iterdir() if p.suffix == ".json"}
        return {
            n for n in names if not (n.endswith(".left.json") and n.replace(".left", "") in names)
        }

    @cached_property
    def _secret(self) -> bytes:
        try:
            return read_secret(self.path / "private" / "secret")
        except OSError:
            raise StoreError(
                f"{self.path} has no private/secret; it can be read, but not added to"
            ) from None


def _holds_other_things(root: Path) -> bool:
    """Whether a folder holds more than a store that was only begun."""
    names = {path.name for path in root.iterdir() if not disk.is_part(path)}
    return bool(names - {"series", "private"})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    disk.write_text(path, json.dumps(content))


def _version() -> str:
    try:
        return f"ubr-pretrain {version('ubr-pretrain')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "ubr-pretrain"
