"""Progress of long work: a bar on a terminal; elsewhere, as in a log file, a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

EVERY_S = 30.0
"""Seconds between two lines."""


class Lines(Generic[Item]):
    """What a bar of tqdm does for this project, as lines. Work that ends before the first line is
    due prints none.

    Args:
        items: what to go through, if it is done here and not by `update`.
        total: how many there are, if that is known.
        done: how many of them were done earlier; they say nothing of the time left.
        title, unit: of the line, as "score: 3 of 12 series".
    """

    def __init__(
        self, items: Iterable[Item] | None, *, total: int | None, done: int, title: str, unit: str
    ) -> None:
        self.items, self.title, self.unit = items, title, unit
        known = isinstance(items, Sized)
        self.total = len(items) if total is None and known else total  # type: ignore[arg-type]
        self.before = self.done = done
        self.began = self.said = time.monotonic()

    def __enter__(self) -> Lines[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def __iter__(self) -> Iterator[Item]:
        for item in self.items or ():
            yield item
            self.update()

    def update(self, count: int = 1, shown: Mapping[str, str] | None = None) -> None:
        """Count what was done, and write a line if one is due.

        Args:
            count: items since the last call.
            shown: what else to say, label -> value.
        """
        self.done += count
        now = time.monotonic()
        if now - self.said < EVERY_S:
            return
        self.said = now
        of = "" if self.total is None else f" of {self.total}"
        told = [f"{self.title}: {self.done}{of} {self.unit}"]
        told += [f"{label} {value}" for label, value in (shown or {}).items()]
        if self.total is not None and self.done > self.before:
            left = (now - self.began) * (self.total - self.done) / (self.done - self.before)
            told.append(f"{duration(left)} left")
        sys.stderr.write(", ".join(told) + "\n")
        sys.stderr.flush()


def progress_bar(
    items: Iterable[Item] | None = None,
    *,
    total: int | None = None,
    title: str,
    unit: str,
    done: int = 0,
    show: bool = True,
) -> Any:
    """A bar of tqdm on a terminal, else `Lines`, which has the arguments; or one that shows
    nothing. Iterate over it, or enter it and call `update`.
    """
    if show and not on_terminal():
        return Lines(items, total=total, done=done, title=title, unit=unit)
    from tqdm import tqdm

    return tqdm(items, total=total, initial=done, desc=title, unit=unit, disable=not show)


def on_terminal() -> bool:
    """Whether standard error, where progress is shown, is a terminal."""
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """Seconds as "50 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
