"""Watching a DICOMweb server: each CT series that is complete is scored, and a Structured Report of
its parts and landmarks is stored beside it.

OUT/watched.json    the outcome of each series, by its key

A series is complete once its number of images stays the same for some minutes, over two searches at
least. It is noted only once its report is seen on the server. A report's UIDs derive from the
images, the weights and the regions. A restart before the note therefore makes the same report,
finds it there and does not store it again. Pixels are in a hidden folder of OUT during scoring.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ubr.weights.common import doors
from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import scratch, write_text
from ubr.weights.common.optional import optional

from ..data.dicomweb.server import AwayError, Listed, RefusedError, Server, ServerError
from ..data.scans import UnreadScan, scans_in_files, why_unread
from ..reading.regions import Regions
from .reported import opened, reported

if TYPE_CHECKING:
    from ubr.weights import Weights

TRIES = 3
"""How often in a row a series is tried that the server does not give, or on which this machine
fails.
"""
PAUSE_S = 3600.0
"""How long it rests then."""
MACHINE = (MemoryError, OSError, RuntimeError)
"""What says nothing of a series: memory, disk or GPU are full or gone. What decoders raise does not
come through: readers make `UnusableError` of it."""


@claiming("out", fills=True)
def watch(
    url: str,
    out: str | Path,
    *,
    weights: str | Path | Weights = "released",
    regions: str | Path | Regions | None = None,
    stable: float = 10.0,
    every: float = 60.0,
    since: str | None = None,
    once: bool = False,
    ca: str | None = None,
    tell: Callable[[str], None],
) -> None:
    """Report on each CT series of a DICOMweb server once it is complete, and continue watching.

    A series that grows after its report gets another one. Repeat an interrupted call to resume
    it: each series has one report, whenever the process was killed.

    Args:
        url: the root of the server's DICOMweb services.
        out: a folder for the outcome of each series, or one that the same call began.
        weights: a file that `fit` wrote, or "released", the bundled weights.
        regions: a file that `calibrate` wrote for these weights; released weights include theirs.
        stable: minutes without a new image after which a series counts as complete.
        every: seconds between two searches.
        since: date, e.g. 2026-01-31, of the oldest study to look at.
        once: end once every series has been reported on or left out.
        ca: a file of certificates to trust instead of the usual ones.
        tell: called with a line for each series and each problem, without identity.

    Raises:
        ValueError: dicomweb-client or highdicom is not installed; the server is not a URL, does not
            answer when the call begins, or refuses the login; `out` was begun with other weights
            or regions.
    """
    if not (0 <= stable < float("inf") and 0 < every < float("inf")):
        raise ValueError(f"stable={stable:g} must be 0 or more, and every={every:g} more than 0")
    server = Server(url, ca)
    optional("highdicom", extra="dicom", purpose="watch")
    weights, regions = opened(weights, regions)
    notes = _Notes(Path(out) / "watched.json", weights, regions)
    pause_s = math.inf if once else PAUSE_S
    watcher = _Watcher(server, notes, weights, regions, 60 * stable, pause_s, tell)
    answered = False
    while True:
        try:
            there = server.series(since=since)
            if not answered:
                done = sum(map(notes.has, there))
                tell(f"{len(there):,} CT series on the server, {done:,} already done")
            answered = True
            waiting = watcher.look_at(there)
        except RefusedError:
            raise
        except ServerError as error:
            if once or not answered:
                raise
            tell(f"{error}; retrying in {every:g} s")
        else:
            if once and not waiting:
                break
        sleep(every)
    if failed := len(watcher.failed):
        raise ServerError(f"{failed} series could not be reported on; repeat the command later")


class _Notes:
    """What came of each series, on disk after each. Raises `ValueError` for another call's."""

    def __init__(self, path: Path, weights: Weights, regions: Regions) -> None:
        self.path = path
        self._series: dict[str, dict[str, Any]] = {}
        self._begun = {"weights": weights.sha256(), "regions": regions.sha256()}
        if not path.exists():
            return
        shape, remedy = dict[str, Any], "delete it: a report that is on the server is not repeated"
        found = doors.read_json(path, shape, remedy)
        doors.check(found.get("series"), dict[str, dict[str, int | str]], path, remedy)
        for name, value in self._begun.items():
            if found.get(name) != value:
                raise ValueError(f"{path.parent} was begun with other {name}; give a new `out`")
        self._series = found["series"]

    def has(self, one: Listed) -> bool:
        """Whether a series is done, with all images that it has now."""
        return bool(self._series.get(one.key, {}).get("images") == one.images)

    def add(self, one: Listed, said: str) -> None:
        """Note what came of a series."""
        self._series[one.key] = {"images": one.images, "said": said}
        write_text(self.path, json.dumps({**self._begun, "series": self._series}, indent=1))


@dataclass
class _Watcher:
    """What is known of series that are not done.

    pause_s: how long a series rests that failed `TRIES` times. seen: since when a series has how
    many images. failed: of those that the server did not give, or on which this machine failed,
    with how many images, how often, and when last.
    """

    server: Server
    notes: _Notes
    weights: Weights
    regions: Regions
    stable_s: float
    pause_s: float
    tell: Callable[[str], None]
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    failed: dict[str, tuple[int, int, float]] = field(default_factory=dict)

    def look_at(self, there: list[Listed]) -> int:
        """Report on the series that are complete. Returns how many of the others may follow.

        Raises:
            AwayError: the server has stopped answering.
            RefusedError: it refuses the login.
        """
        waiting = 0
        # by chance: where a damaged file crashes its decoder, and so this process, the others
        # get their turn after another start
        for one in random.sample(there, len(there)):
            if self.notes.has(one) or self._rests(one):
                continue
            if not self._is_complete(one) or not self._is_done(one):
                waiting += 1
        return waiting

    def _rests(self, one: Listed) -> bool:
        images, tries, last = self.failed.get(one.key, (-1, 0, 0.0))
        return images == one.images and tries >= TRIES and monotonic() - last < self.pause_s

    def _is_complete(self, one: Listed) -> bool:
        images, since = self.seen.get(one.key, (-1, 0.0))
        if images != one.images:
            self.seen[one.key] = (one.images, monotonic())
            return False
        return monotonic() - since >= self.stable_s

    def _is_done(self, one: Listed) -> bool:
        """Report on a series. Returns whether it is not to be tried again."""
        try:
            said = self._reported(one)
        except (AwayError, RefusedError):
            raise
        except ServerError as error:
            return self._has_failed(one, str(error))
        except MACHINE as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            return self._has_failed(one, f"this machine could not do it ({why})")
        self.notes.add(one, said)
        self.seen.pop(one.key)
        self.failed.pop(one.key, None)
        self.tell(f"{one.key}: {said}")
        return True

    def _has_failed(self, one: Listed, why: str) -> bool:
        """Count a try. Returns whether it was the last for now."""
        images, tries, _ = self.failed.get(one.key, (one.images, 0, 0.0))
        tries = 1 if images != one.images else tries + 1
        self.failed[one.key] = (one.images, tries, monotonic())
        then = "giving up" if self.pause_s == math.inf else f"next try in {self.pause_s / 60:g} min"
        again = "will be retried" if tries < TRIES else f"failed {tries} times, {then}"
        self.tell(f"{one.key}: {why}; {again}")
        return tries >= TRIES

    def _reported(self, one: Listed) -> str:
        """Fetch a series, score it and store its report; of a mixed series, one for each stack.

        Returns what came of it. Raises `ServerError` where the server does not do its part, and one
        of `MACHINE` where this machine does not.
        """
        with scratch(self.notes.path.parent, one.key) as made:
            self.server.fetch(one, made)
            found, left_out = scans_in_files([made])
            if not found:
                return f"left out: {left_out[0].reason}"
            return "; ".join(map(self._stored, found))

    def _stored(self, unread: UnreadScan) -> str:
        try:
            told = reported(unread, f"series {unread.key}", self.weights, self.regions)
        except MACHINE:
            raise
        except Exception as error:
            return f"left out: {why_unread(error)}"
        what = (
            f"parts {', '.join(told.parts) or 'none'}, landmarks "
            f"{', '.join(told.landmarks) or 'none'}"
        )
        if self.server.holds(told.document):
            return f"already reported: {what}"
        self.server.store(told.document)
        return f"reported: {what}"
