"""Work in other processes: every item once, and a death costs one item."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from ubr.pretrain.data.workers import cores, each


def square(number: int) -> int:
    return number * number


def fatal(folder: Path, number: int) -> int:
    """Dies on 3, as a crashing decoder would; notes every attempt."""
    with (folder / str(number)).open("a") as file:
        file.write("x")
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [0, 2])
def test_each__gives_every_item_its_result(workers: int) -> None:
    assert sorted(each(square, range(20), workers, name="test", progress=False)) == [(n, n * n) for n in range(20)]


def test_each__a_process_that_dies_costs_its_item_only(tmp_path: Path) -> None:
    results = dict(each(partial(fatal, tmp_path), range(8), 2, name="test", progress=False))
    assert results == {n: None if n == 3 else n for n in range(8)}
    assert (tmp_path / "3").read_text() == "xx"  # tried again alone before it was given up


def test_cores__at_least_one() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
