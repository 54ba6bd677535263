"""The fuzz, the kills and the pairs: a slice of each, and that they can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A program whose rows go nowhere, in a process of its own: it forks."""
    code = (
        "import sys; from importlib import import_module; from benchmarks.common import rows; "
        "from pathlib import Path; rows.RESULTS = Path(sys.argv[1]); "
        "import_module(f'benchmarks.{sys.argv[2]}').main(sys.argv[3:])"
    )
    results = words[words.index("--work") + 1] + "-rows"
    return subprocess.run(
        [sys.executable, "-c", code, results, program, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_fuzz__a_slice_finds_nothing(tmp_path: Path) -> None:
    done = run("fuzz", "--work", f"{tmp_path}/w", "--doors", "nrrd", "--each", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 found" in done.stdout


@pytest.mark.parametrize("rule", ["checksum of gzip", "bytes among voxels of NIfTI"])
def test_fuzz__goes_red_without_a_rule(tmp_path: Path, rule: str) -> None:
    done = run("fuzz", "--work", f"{tmp_path}/w", "--without", rule, "--each", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SILENT" in done.stdout


def test_kills__a_slice_ends_with_the_same_bytes(tmp_path: Path) -> None:
    done = run("kills", "--work", f"{tmp_path}/w", "--verbs", "phantom", "--moments", "3")
    assert done.returncode == 0, done.stdout + done.stderr


def test_pairs__a_slice_has_one_result(tmp_path: Path) -> None:
    words = ("--work", f"{tmp_path}/w", "--verbs", "ingest", "--moments", "2", "--pairs")
    done = run("kills", *words)
    assert done.returncode == 0, done.stdout + done.stderr


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
        assert b"00000000" not in found or b'"b"' not in found or len(json.loads(found)) < 3


def test_spread__reaches_the_ends() -> None:
    assert spread(100, 20)[0] == 0 and spread(100, 20)[-1] == 99 and len(spread(100, 20)) == 20
    assert spread(3, 20) == [0, 1, 2]


def test_rules__concern_doors_and_mutations_that_there_are() -> None:
    assert len(RULES) >= 10
    known = {*BLIND, *AS_TEXT, "wild", "payload"}
    for rule in RULES.values():
        assert set(rule.doors) <= set(DOORS) and set(rule.mutations) <= known


def test_cases__are_more_than_two_thousand() -> None:
    cases = [case for door in DOORS.values() for case in cases_of(door, 45)]
    assert len(cases) == len({str(case) for case in cases}) > 2000


def recorded(name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    found = rows.read(name)
    assert found and set(columns) <= set(found[0])
    return found


def test_rows__nothing_is_found_and_each_rule_is_needed() -> None:
    """What the last runs found, in the rows that are kept."""
    last = {row["door"]: row for row in recorded("fuzz", ["door", "cases", "found"])}
    assert set(last) == set(DOORS) and {row["found"] for row in last.values()} == {"0"}
    needed = {row["rule"]: row for row in recorded("fuzz_rules", ["rule", "found"])}
    assert set(needed) == set(RULES) and "0" not in {row["found"] for row in needed.values()}
    for name in ("kills", "pairs"):
        assert {row["found"] for row in recorded(name, ["verb", "tries", "found"])} == {"0"}
