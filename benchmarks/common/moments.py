"""Moments of a command: its file operations, counted, at which it is killed or made to wait.

A moment lies before an operation that changes names or opens a file to write. Half of the kills are
torn: the file that was opened last keeps only the first half of what was written since, as if the
kill had come while it was written.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
COUNT, HELD, RELEASED = 0, 8, 16


class Moments:
    """The moments of one process, seen from the one that starts it.

    Args:
        folder: operations elsewhere do not count.
        at: the moment at which something is done; None only counts.
        torn: whether the kill is torn.
        hold: wait for `release` instead of being killed.
    """

    def __init__(
        self, folder: Path, at: int | None = None, *, torn: bool = False, hold: bool = False
    ) -> None:
        self.folder, self.at, self.torn, self.hold = folder, at, torn, hold
        self._shared = mmap.mmap(-1, 24)  # shared with a fork

    @property
    def count(self) -> int:
        """How many there were."""
        return self._get(COUNT)

    def is_held(self) -> bool:
        """Whether the process waits."""
        return bool(self._get(HELD))

    def release(self) -> None:
        """Let it go on."""
        self._set(RELEASED, 1)

    def watch(self) -> None:
        """Begin, in the process itself."""
        last: tuple[str, int] | None = None

        def hook(name: str, arguments: Any) -> None:
            nonlocal last
            path = self._changed(name, arguments)
            if path is None:
                return
            number = self._get(COUNT)
            self._set(COUNT, number + 1)
            if number == self.at:
                self._act(last)
            last = (path, _size(path) if not _empties(arguments) else 0) if name == "open" else None

        sys.addaudithook(hook)

    def _changed(self, name: str, arguments: Any) -> str | None:
        """The path that an event is about to change."""
        if name == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES:
                return None
        elif name in CHANGES:
            path = arguments[0]
        else:
            return None
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = Path.cwd() / os.fsdecode(path)
        return str(full) if full.is_relative_to(self.folder) else None

    def _act(self, last: tuple[str, int] | None) -> None:
        if self.hold:
            self._set(HELD, 1)
            while not self._get(RELEASED):
                time.sleep(0.002)
            return
        if self.torn and last is not None and _size(last[0]) > last[1]:
            os.truncate(last[0], (_size(last[0]) + last[1]) // 2)
        os.kill(0, signal.SIGKILL)  # its process group

    def _get(self, at: int) -> int:
        return int(struct.unpack_from("q", self._shared, at)[0])

    def _set(self, at: int, value: int) -> None:
        struct.pack_into("q", self._shared, at, value)


def _empties(arguments: Any) -> bool:
    return bool(arguments[2] & os.O_TRUNC)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def spread(count: int, wanted: int) -> list[int]:
    """So many moments, spread over all; each of them where there are fewer."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [count // 2]
    return [round(n * (count - 1) / (wanted - 1)) for n in range(wanted)]


def until(is_so: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait until something is so. Returns whether it became so."""
    end = time.monotonic() + seconds
    while not (so := is_so()) and time.monotonic() < end:
        time.sleep(0.002)
    return so
