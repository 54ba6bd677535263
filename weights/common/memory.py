"""How much memory this process can still have: the machine's, and its job's share of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that can be had without swapping.

    SLURM and containers limit a job by control groups, each within another. Memory that only caches
    a group's files can be dropped, so it counts as free.

    root: where /proc and /sys are.
    """
    return min([_of_machine(root), *_of_groups(root)])


def _of_machine(root: Path) -> int:
    try:
        return 1024 * _numbers(root / "proc" / "meminfo")["MemAvailable:"]
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class _Names(NamedTuple):
    """What a version of control groups calls its files, and what is in `memory.stat`."""

    folder: str
    limit: str
    used: str
    files: str


_V1 = _Names("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("", "memory.max", "memory.current", "inactive_file")


def _of_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names = _V1 if controllers else _V2
        mounted = root / "sys" / "fs" / "cgroup" / names.folder
        within = PurePosixPath(path.lstrip("/"))
        for group in (within, *within.parents):
            try:
                limit = int((mounted / group / names.limit).read_text())
                used = int((mounted / group / names.used).read_text())
                files = _numbers(mounted / group / "memory.stat").get(names.files, 0)
                yield max(0, limit - used + files)
            except (OSError, ValueError):  # another mount, or the limit is "max"
                continue


def _numbers(path: Path) -> dict[str, int]:
    """The first number of each line by its name."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}
