"""Work in other processes: every item once, and a death costs one item."""

from __future__ import annotations

import os
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ubr.pretrain.data.store import StoreError
from ubr.pretrain.data.workers import each


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("workers", [0, 2])
def test_each__gives_every_item_its_result(workers: int) -> None:
    assert sorted(each(square, range(20), workers, name="test", progress=False)) == [
        (n, n * n) for n in range(20)
    ]


def _dies(folder: Path, number: int) -> int:
    """3 kills its process each time, 5 the first time."""
    if number == 3 or (number == 5 and not (folder / "died").exists()):
        (folder / "died").touch()
        os._exit(9)
    time.sleep(0.05)
    return number * number


def test_each__a_dying_process_costs_its_item_only(tmp_path: Path) -> None:
    results = dict(each(partial(_dies, tmp_path), range(8), 2, name="test", progress=False))
    assert results == {n: None if n == 3 else n * n for n in range(8)}


def _fails(number: int) -> int:
    raise StoreError("disk full")


def test_each__an_error_of_the_task_ends_the_work() -> None:
    with pytest.raises(StoreError, match="disk full"):
        list(each(_fails, range(8), 2, name="test", progress=False))


def _dies_while_it_answers(number: int) -> bytes:
    """3 kills its process with half of its result sent, as a machine out of memory does."""

    def half(self: Connection, buf: bytes) -> None:
        os.write(self.fileno(), buf[: len(buf) // 2])
        os._exit(9)

    if number == 3:
        Connection._send = half  # type: ignore[attr-defined]
    return bytes([number]) * 1_000_000


def test_each__a_process_that_dies_while_it_answers_costs_its_item_only() -> None:
    results = dict(each(_dies_while_it_answers, range(8), 2, name="test", progress=False))
    assert [n for n, result in results.items() if result is None] == [3] and len(results) == 8
