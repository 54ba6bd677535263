"""What tests of scoring share: a scoring, its tables, and how it is interrupted."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
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


def start(world: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [
        "score",
        str(world / "w.safetensors"),
        str(world / "store"),
        "--out",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "ubr.pretrain.cli", *words],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen[bytes], out: Path, parts: int) -> None:
    deadline = time.monotonic() + 60
    while len(list((out / "working").glob("*.npz"))) < parts:
        assert time.monotonic() < deadline and process.poll() is None, (
            "it was over before it could be killed"
        )
        time.sleep(0.001)
