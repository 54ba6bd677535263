"""The files of each series in a store: its pixels, its row, and why it was left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import damaged, is_whole
from .rows import BEFORE, StoreError, is_key
from .values import read_values


@dataclass(frozen=True)
class SeriesFiles:
    """What is in a store's folder series/."""

    folder: Path

    def pixels(self, key: str) -> Path:
        """The pixels of a series."""
        return self._file(key, ".b2nd")

    def row(self, key: str) -> Path:
        """The row of a series that was taken."""
        return self._file(key, ".json")

    def left(self, key: str) -> Path:
        """The row of a series that was left out."""
        return self._file(key, ".left.json")

    def _file(self, key: str, ending: str) -> Path:
        if not is_key(key):
            raise StoreError(f"a series' key is 16 hexadecimal digits, got {key!r}")
        return self.folder / f"{key}{ending}"

    def read(self, key: str, *, taken: bool) -> dict[str, Any] | None:
        """A row as JSON holds it; none where it is damaged.

        Raises `FileNotFoundError` where there is no such row.
        """
        path = self.row(key) if taken else self.left(key)
        try:
            row = read_values(path, BEFORE)
        except ValueError:
            return None
        return row if is_whole(row, key, taken=taken) else None

    def before(self, key: str, *, taken: bool = True) -> dict[str, Any]:
        """What an earlier ingest wrote; empty where there is nothing, or it is damaged."""
        try:
            return self.read(key, taken=taken) or {}
        except FileNotFoundError:
            return {}

    def each_row(self) -> Iterator[dict[str, Any]]:
        """The rows of all series, damaged ones as left out."""
        for name in self.names():
            key, taken = name.split(".")[0], not name.endswith(".left.json")
            with suppress(FileNotFoundError):  # another ingest took it meanwhile
                yield self.read(key, taken=taken) or damaged(key, taken=taken)

    def names(self) -> set[str]:
        """Names of the files with rows; one that was taken counts, whatever was left out later."""
        names = {
            path.name
            for path in self.folder.iterdir()
            if path.suffix == ".json" and is_key(path.name.split(".")[0])
        }
        return {
            n for n in names if not (n.endswith(".left.json") and n.replace(".left", "") in names)
        }
