"""Progress is a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from ubr.weights.common import progress
from ubr.weights.common.progress import Lines, duration, progress_bar


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_progress_bar__in_a_log_file_is_a_line_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in progress_bar(range(10), title="score", unit="series"):
        clock.now += 12
    assert capsys.readouterr().err.splitlines() == [
        "score: 3 of 10 series, 84 s left",
        "score: 6 of 10 series, 48 s left",
        "score: 9 of 10 series, 12 s left",
    ]


def test_progress_bar__what_was_done_earlier_says_nothing_of_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar(total=1000, done=900, title="train", unit="steps") as bar:
        clock.now += 60
        bar.update(20, {"loss": "0.512"})
    err = capsys.readouterr().err
    assert err == "train: 920 of 1000 steps, loss 0.512, 4 min left\n"


def test_progress_bar__of_a_generator_does_not_know_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in progress_bar((i for i in range(2)), title="plant", unit="scans"):
        clock.now += 31
    assert capsys.readouterr().err.splitlines() == ["plant: 1 scans", "plant: 2 scans"]


def test_progress_bar__short_work_and_hidden_progress_say_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress_bar(range(3), title="score", unit="series")) == [0, 1, 2]
    for _ in progress_bar(range(3), title="score", unit="series", show=False):
        clock.now += 100
    assert capsys.readouterr() == ("", "")


def test_progress_bar__on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    bar = progress_bar(range(3), title="score", unit="series")
    assert list(bar) == [0, 1, 2] and not isinstance(bar, Lines)
    assert "score" in screen.getvalue() and "3/3" in screen.getvalue()


def test_duration__in_the_unit_that_reads_best() -> None:
    assert [duration(s) for s in (0.4, 89, 91, 5399, 9000)] == [
        *("0 s", "89 s", "2 min", "90 min", "2.5 h")
    ]


def test_bars__are_all_made_here() -> None:
    """No other module makes a bar of its own, which would fill log files."""
    root = Path(__file__).parents[3]
    files = [
        f for room in ("weights", "pretrain", "downstream") for f in (root / room).rglob("*.py")
    ]
    makers = {f.name for f in files if re.search(r"\btqdm\b", f.read_text())}
    assert len(files) > 100 and makers == {"progress.py"}
