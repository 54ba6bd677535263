"""The comparison of the scorer with the toolkit tells what differs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import scorer
from tests.pretrain.scores.test_write import LINE, SETTINGS, series
from ubr.pretrain.data.volume import LeftOut
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.write import TableOptions, write_tables


def folder(path: Path, rows: list[SeriesScores], left_out: list[LeftOut], plain: bool) -> Path:
    path.mkdir()
    write_tables(path, lambda: iter(rows), left_out, TableOptions(plain=plain), SETTINGS)
    (path / "settings.json").write_text("{}")
    return path


def run(root: Path, others: list[SeriesScores], left_out: list[LeftOut]) -> dict[str, object]:
    """Compare two series and a file that is left out with what the scorer made of them."""
    usual = [series("a", LINE), series("b", LINE[:30])]
    folders = {
        "toolkit": folder(root / "toolkit", usual, [LeftOut("", "no slices", "c")], False),
        "scorer": folder(root / "scorer", others, left_out, True),
    }

    class Runs:
        def score(self, name: str, given: Any) -> Path:
            return folders[name]

    return scorer.compared(Runs(), [])  # type: ignore[arg-type]


SAME = {"series": 2, "slices": 130, "left_out": 1, "other_series": 0, "other_left_out": 0}


def test_compared__tells_that_nothing_differs(tmp_path: Path) -> None:
    found = run(
        tmp_path, [series("a", LINE), series("b", LINE[:30])], [LeftOut("", "no slices", "c")]
    )
    assert found == {**SAME, "largest_difference": "0.0e+00", "other_meaning": 0}


def test_compared__tells_what_differs(tmp_path: Path) -> None:
    moved = series("a", LINE + np.where(np.arange(100) == 70, 3e-3, 0))
    warned = replace(series("b", LINE[:30]), warnings=("gap: 1 step",))
    found = run(tmp_path, [moved, warned], [LeftOut("", "another reason", "c")])
    assert found["largest_difference"] == "3.0e-03"
    assert (found["other_left_out"], found["other_meaning"]) == (2, 1)


def test_sources__to_try_are_the_first_of_each_folder(tmp_path: Path) -> None:
    for name in ("x/1", "x/2", "x/3", "y/1"):
        (tmp_path / name).mkdir(parents=True)
    found = scorer.sources([tmp_path], 2)
    assert [str(one.relative_to(tmp_path)) for one in found] == ["x/1", "x/2", "y/1"]
    assert scorer.sources([tmp_path], None) == [tmp_path]


@pytest.mark.parametrize("name", ["torch", "timm"])
def test_guard__refuses_the_network_and_what_needs_torch(name: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(scorer.GUARD)
    (tmp_path / f"{name}.py").touch()
    for code, said in {
        f"import {name}": f"{name} was imported",
        "import socket; socket.create_connection(('127.0.0.1', 9))": "a call of the network",
    }.items():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode and said in done.stderr
