"""Calls that are measured by themselves: imports do not count, and a failure is not a time."""

from __future__ import annotations

import pytest

from benchmarks.common.timed import timed

PAUSE_S = 0.5


def test_timed__leaves_imports_out() -> None:
    pause = f"time.sleep({PAUSE_S})"
    assert timed(pause, "pass").wall_s < PAUSE_S <= timed("pass", pause).wall_s


def test_timed__finds_arguments_and_counts_the_cores() -> None:
    taken = timed("pass", "assert sys.argv[1:] == ['a', '1']; sum(range(10**7))", "a", 1)
    assert taken.cores_s > 0


def test_timed__raises_what_went_wrong() -> None:
    with pytest.raises(RuntimeError, match=r"1 / 0 failed: ZeroDivisionError: division by zero"):
        timed("pass", "1 / 0")
