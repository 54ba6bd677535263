"""The fuzz, the kills and the pairs: a slice of each, and that they can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import rows, wild
from benchmarks.common.doors import DOORS
from benchmarks.common.forked import FAULT, Ran
from benchmarks.common.moments import spread
from benchmarks.common.mutations import AS_TEXT, BLIND
from benchmarks.common.plausible import is_plausible
from benchmarks.common.rules import RULES
from benchmarks.fuzz import cases_of, is_said, trouble_of

ROOT = Path(__file__).parents[2]


SLICES = {
    "fuzz": ("fuzz", "--doors", "nrrd", "--each", "6"),
    "rule": ("fuzz", "--without", "bytes among voxels of NIfTI", "--each", "10"),
    "kills": ("kills", "--verbs", "calibrate", "--moments", "3"),
    "pairs": ("kills", "--verbs", "calibrate", "--moments", "2", "--pairs"),
}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The exit status of each slice, and what it printed; in one process, since they fork."""
    work = tmp_path_factory.mktemp("slices")
    code = f"""
import contextlib, io, json
from pathlib import Path
from benchmarks import fuzz, kills
from benchmarks.common import rows
rows.RESULTS = Path({str(work)!r}) / "results"
for name, (program, *words) in {SLICES!r}.items():
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said):
        try:
            {{"fuzz": fuzz, "kills": kills}}[program].main(["--work", {str(work)!r}, *words])
        except SystemExit as error:
            status = error.code
    print(json.dumps([name, status, said.getvalue()]))
"""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=paths)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: rest for name, *rest in found}


@pytest.mark.parametrize("name", SLICES)
def test_slices__end_as_the_whole_should(slices: dict[str, list[Any]], name: str) -> None:
    status, said = slices[name]
    assert status == 0, said
    found = "SILENT" if name == "rule" else {"fuzz": "0 found", "kills": "'found': 0"}
    assert (found if isinstance(found, str) else found[SLICES[name][0]]) in said


@pytest.mark.parametrize(
    ("ran", "trouble"),
    [
        (Ran(2, "", "ubr-pretrain fit: a line\n"), ""),
        (Ran(2, "", "a line\nand another\n"), "2 LINES"),
        (Ran(2, "", "x" * 3000), "A LINE OF 3000"),
        (Ran(FAULT, "", "Traceback (most recent call last):\nKeyError: 'a'"), "TRACEBACK"),
        (Ran(1, "", "some fault"), "TRACEBACK"),
        (Ran(-11, "", ""), "DIED by signal 11"),
        (Ran(-9, "", "", hung=True), "HANG"),
        (Ran(0, "\x1b[31mred", ""), "CONTROL CHARACTER"),
    ],
)
def test_trouble__is_told(tmp_path: Path, ran: Ran, trouble: str) -> None:
    (tmp_path / "case").mkdir()
    found = trouble_of(ran, tmp_path / "case")
    assert found.startswith(trouble) and bool(found) == bool(trouble)


def test_trouble__code_that_ran_and_names_outside(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "outside").touch()
    assert trouble_of(Ran(0, "", ""), tmp_path / "case").startswith("OUTSIDE")
    (tmp_path / "case" / "executed").touch()
    assert trouble_of(Ran(0, "", ""), tmp_path / "case") == "CODE RAN"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("taken 4 series\nleft out 0\n", False),
        ("taken 3 series\nleft out 0\n", False),
        ("taken 4 series\nfindings 1: gap\nleft out 0\n", False),
        ("taken 3 series\nleft out 1\n  1 odd\n", True),
        ("taken 4 series\n  with warning 1 clipped\nleft out 0\n", True),
    ],
)
def test_said__is_what_speaks_of_trouble(out: str, said: bool) -> None:
    assert is_said(Ran(0, "taken 4 series\nleft out 0\n", ""), Ran(0, out, "")) == said


@pytest.mark.parametrize(
    ("before", "after", "plausible"),
    [
        (5, 7.5, True),
        (5, -1, True),
        ("5", "1e-300", True),
        ("chest", "text", True),
        ("patient", "1e-300", True),
        (5, float("nan"), False),
        (5, 10**400, False),
        ("5", "Infinity", False),
        (5, "text", False),
        ("chest", "\x1b[31m", False),
        ("chest", None, False),
        ([1], [], False),
    ],
)
def test_plausible__is_what_a_sound_file_may_hold(
    before: object, after: object, plausible: bool
) -> None:
    assert is_plausible(before, after) == plausible


@pytest.mark.parametrize("name", [*BLIND, *AS_TEXT])
def test_mutations__are_the_same_for_one_seed_and_differ(name: str) -> None:
    change: Callable[..., bytes] = {**BLIND, **AS_TEXT}[name]
    data = json.dumps({"a": list(range(400))}).encode()
    made = [change(data, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert made[0] == made[1] and all(one != data for one in made)


def test_wild__json_changes_one_value_and_seals_a_row() -> None:
    data = b'{"a": 1, "b": [1, 2], "crc32": "00000000"}'
    for seed in range(30):
        found = wild.wild_json(data, np.random.default_rng(seed))
        assert found != data and len(wild.CHANGED) == 1
        row = json.loads(found)
        rest = json.dumps({name: value for name, value in row.items() if name != "crc32"})
        crc32 = f"{zlib.crc32(rest.encode()):08x}"
        assert row.get("crc32", crc32) == crc32


def test_spread__reaches_the_ends() -> None:
    assert spread(100, 20)[0] == 0 and spread(100, 20)[-1] == 99 and len(spread(100, 20)) == 20
    assert spread(3, 20) == [0, 1, 2]


def test_rules__concern_doors_and_mutations_that_there_are() -> None:
    assert len(RULES) >= 10
    known = {*BLIND, *AS_TEXT, "wild", "payload"}
    for rule in RULES.values():
        assert set(rule.doors) <= set(DOORS) and set(rule.mutations) <= known


def test_cases__are_more_than_two_thousand() -> None:
    cases = [case for door in DOORS.values() for case in cases_of(door, 40)]
    assert len(cases) == len({str(case) for case in cases}) > 2000


def test_rows__what_the_last_runs_found() -> None:
    """Nothing; and without any one rule something."""
    last = {row["door"]: int(row["found"]) for row in rows.read("fuzz")}
    assert set(last) == set(DOORS)
    assert set(last.values()) == {0}
    needed = {row["rule"]: int(row["found"]) for row in rows.read("fuzz_rules")}
    assert set(needed) == set(RULES) and min(needed.values()) > 0
    for name in ("kills", "pairs"):
        verbs = {row["verb"]: row["found"] for row in rows.read(name)}
        assert len(verbs) == 21 and set(verbs.values()) == {"0"}
