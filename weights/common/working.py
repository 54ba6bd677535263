"""A folder of results that can be interrupted at any moment and resumes: each finished series is
kept in a file of its own.

    FOLDER/settings.json      what the result depends on besides the series
    FOLDER/working/KEY.npz    arrays of one series; the folder is removed once the tables exist

Every file appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import doors
from .disk import is_part, make_folder, sweep, whole, write_text


class Working:
    """What has been finished in a folder of results, and in `begun` the settings it began with.

    Nothing is written before the first series is added.

    Args:
        folder: of the results.
        settings: what the result depends on besides the series, as JSON values.
        last: the table whose presence says that all are written.

    Raises:
        ValueError: the folder holds something else, or was begun with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object], last: str) -> None:
        self.folder, self.path = folder, folder / "working"
        self.settings, self._last = dict(settings), last
        self.begun: dict[str, object] = {}
        begun = folder / "settings.json"
        if begun.exists():
            self.begun = self._compare(begun)
        elif folder.exists() and (
            not folder.is_dir() or any(not is_part(path) for path in folder.iterdir())
        ):
            raise ValueError(f"{folder} is not empty, or is a file; give a new `out`")

    def _compare(self, begun: Path) -> dict[str, object]:
        found: dict[str, object] = doors.read_json(
            begun, dict[str, Any], "it is damaged; give a new `out`"
        )
        for name, asked in self.settings.items():
            if found.get(name) != asked:
                was, now = (setting_shown(value) for value in (found.get(name), asked))
                option = name.removesuffix("_sha256")
                raise ValueError(
                    f"{self.folder} was begun with {option} {was}, not {now}; give what it was "
                    "begun with, or a new `out`"
                )
        return found

    @property
    def finished(self) -> bool:
        """Whether the tables are written."""
        return (self.folder / self._last).exists()

    @cached_property
    def keys(self) -> frozenset[str]:
        """The series that were there when this was first asked."""
        return frozenset(path.stem for path in self.path.glob("*.npz"))

    def already(
        self, given: Mapping[str, Sequence[int]], listed: Callable[[], set[str]]
    ) -> set[str]:
        """The series that an earlier call has finished.

        One that has grown since is not finished. Of one kept by an earlier version it is not known,
        and it counts as finished.

        Args:
            given: the series that are given now, by key: what `add` is given as their `counts`.
            listed: the keys in the tables, once they are written.

        Raises:
            ValueError: that call was given other series.
        """
        if self.finished:
            there = listed() - {""}
            if there != set(given):
                raise ValueError(
                    f"{self.folder} already holds the results of other series; give a new `out`"
                )
            return there
        if self.keys.isdisjoint(given) and self.keys:
            raise ValueError(
                f"{self.folder} was begun with other series; give the sources it was begun with, "
                "or a new `out`"
            )
        return {key for key in self.keys.intersection(given) if self._is_of(key, given[key])}

    def _is_of(self, key: str, counts: Sequence[int]) -> bool:
        with self._kept(key) as arrays:
            return np.array_equal(arrays.get("counts", counts), counts)

    def begin(self) -> None:
        """Make the folder, where it is not there."""
        if not self.path.is_dir() or self.path.is_symlink():
            write_text(self.folder / "settings.json", json.dumps(self.settings))
            make_folder(self.path)

    def add(self, key: str, **arrays: NDArray[Any]) -> None:
        """Keep the arrays of a series; it is done from then on.

        Its `counts`, if given, say of how much it was made, e.g. of how many files (`already`).
        """
        self.begin()
        with whole(self.path / f"{key}.npz") as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def read(self, key: str, *needed: str) -> dict[str, NDArray[Any]]:
        """The arrays of a series, with those that are needed."""
        with self._kept(key) as arrays:
            found = dict(arrays)
            return {**{name: found[name] for name in needed}, **found}

    @contextmanager
    def _kept(self, key: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        path = self.path / f"{key}.npz"
        try:
            with np.load(path) as arrays:
                yield arrays
        except Exception:  # of a damaged archive NumPy raises anything
            raise ValueError(
                f"{path} is damaged; delete it and repeat the command to redo this series"
            ) from None

    def finish(self, made: Path, tables: Sequence[str]) -> None:
        """Move the tables from where they were made to their place, the last one last, and tidy."""
        for name in sorted(tables, key=lambda name: name == self._last):
            with whole(self.folder / name) as part:
                (made / name).replace(part)
        self.tidy()

    def tidy(self) -> None:
        """Remove the working folder, and what killed processes left."""
        shutil.rmtree(self.path, ignore_errors=True)
        sweep(self.folder)


def setting_shown(value: object) -> str:
    """A setting's value in a few words."""
    if isinstance(value, str) and len(value) > 16:
        return f"{value[:12]}..."
    return "none" if value is None else json.dumps(value)
