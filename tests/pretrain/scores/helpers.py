"""What tests of scoring share: a scoring, its tables, and how it is interrupted."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ubr.pretrain.scores.scored import Scored
from ubr.pretrain.scores.scoring import score

SERIES = 12
TABLES = {"slices.parquet", "series.csv", "findings.csv", "left_out.csv", "settings.json"}


def contents(folder: Path) -> dict[str, bytes]:
    assert {p.name for p in folder.iterdir()} == TABLES
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(world: Path, out: Path, **options: Any) -> Scored:
    return score(
        world / "w.safetensors",
        [world / "store"],
        out,
        **{"workers": 0, "progress": False, **options},
    )


class Stop(BaseException):
    """Not an error that the code under test could take for its own."""


def stopping(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """A function that works so often and then stops everything."""
    left = iter(range(calls))

    def stops(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise Stop
        return function(*args, **options)

    return stops


KILLING = """
import os, signal, sys
from multiprocessing import active_children
from ubr.pretrain.cli import main
from ubr.weights.common.working import Working

add, kept = Working.add, []

def killing(self, key, **arrays):
    if len(kept) == int(sys.argv[2]):
        victim = sys.argv[1]
        known = {"self": os.getpid, "reader": lambda: active_children()[0].pid}
        os.kill(known[victim]() if victim in known else int(victim), signal.SIGKILL)
    kept.append(key)
    add(self, key, **arrays)

if __name__ == "__main__":
    Working.add = killing
    sys.exit(main(sys.argv[3:]))
"""


def start_killing(
    victim: str, kept: int, weights: Path, source: Path, out: Path, *more: str
) -> subprocess.Popen[bytes]:
    """A command line that scores, and kills when so many series are kept: it cannot be too late.

    victim: "self", one "reader", or the number of a process.
    """
    script = out.with_name("killing.py")  # a file, for readers import it
    script.write_text(KILLING)
    words = ["score", weights, source, "--out", out, "--device", "cpu", *more]
    return subprocess.Popen(
        [sys.executable, script, victim, str(kept), *map(str, words)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
