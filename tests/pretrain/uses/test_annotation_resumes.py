"""Reports of many series: interrupted anywhere, each series ends with one report, and the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from ubr.pretrain.uses import annotation
from ubr.pretrain.uses.annotation import Annotated, annotate
from ubr.weights.common import progress
from ubr.weights.common.working import Working

from ...made.dicom import Made, write
from ...made.scores import regions, scored_by_darkness, weights
from ..scores.helpers import Stop, stopping

pytest.importorskip("highdicom")

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True, scope="module")
def known_scores() -> Iterator[None]:
    with scored_by_darkness():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three series, one of which cannot be reported on, and their reports in `whole`."""
    folder = tmp_path_factory.mktemp("world")
    for name, study in (("a", "1.2.3"), ("b", ""), ("c", "1.2.4")):
        write(folder / "series" / name, Made(study=study).datasets())
    run(folder / "series", folder / "whole")
    return folder


def run(source: Path, out: Path, *, copies: bool = True) -> Annotated:
    given = weights()
    return annotate(source, given, regions(given), out, copies=copies, progress=False)


def contents(folder: Path) -> dict[str, str]:
    """Each file below a folder, without the times of reports."""
    return {
        str(path.relative_to(folder)): _timeless(path)
        if path.suffix == ".dcm"
        else path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _timeless(path: Path) -> str:
    dataset = pydicom.dcmread(path)
    dataset.walk(lambda of, one: delattr(of, one.keyword) if one.VR in ("DA", "TM", "DT") else None)
    return f"{dataset.file_meta}{dataset}"


def test_finished__is_told_again_and_left_alone(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (world / "whole").rglob("*")}
    monkeypatch.setattr(annotation, "reported", stopping(annotation.reported, 0))
    again = run(world / "series", world / "whole")
    assert [len(again.reports), len(again.left_out)] == [2, 1]
    assert [one.copies for one in again.reports] == [20, 20]
    assert all(one.parts == ("abdomen",) and one.folder.is_dir() for one in again.reports)
    assert "2 of 3 series reported on" in again.table()
    assert {path: path.stat().st_mtime_ns for path in (world / "whole").rglob("*")} == before


@pytest.mark.parametrize("wholes", range(2))
def test_stopped__at_each_report_ends_with_the_same_reports(
    wholes: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(annotation, "whole", stopping(annotation.whole, wholes))
        run(world / "series", tmp_path / "out")
    assert not (tmp_path / "out" / "annotated.json").exists()
    noted = {p.stem: (p.stat().st_mtime_ns) for p in (tmp_path / "out/working").glob("*.npz")}
    assert len(noted) == wholes
    with monkeypatch.context() as patch:
        # neither a report nor its note is made twice
        patch.setattr(Working, "add", stopping(Working.add, 2 - len(noted)))
        patch.setattr(annotation, "reported", stopping(annotation.reported, 3 - len(noted)))
        run(world / "series", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(world / "whole")


def test_stopped__between_a_report_and_its_note_makes_the_same_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 0))
        run(world / "series", tmp_path / "out")
    (report,) = (tmp_path / "out").glob("*/sr.dcm")
    (report.parent / "copies" / "0099.dcm").write_bytes(b"of another call")
    uid = pydicom.dcmread(report).SOPInstanceUID
    run(world / "series", tmp_path / "out")
    assert pydicom.dcmread(report).SOPInstanceUID == uid
    assert contents(tmp_path / "out") == contents(world / "whole")


def test_stopped__a_series_that_has_grown_since_is_reported_on_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = shutil.copytree(world / "series", tmp_path / "series")
    late = [path.rename(tmp_path / path.name) for path in sorted((series / "a").iterdir())[:2]]
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "finish", stopping(Working.finish, 0))
        run(series, tmp_path / "out")
    for path in late:
        path.rename(series / "a" / path.name)
    with monkeypatch.context() as patch:
        patch.setattr(Working, "add", stopping(Working.add, 1))
        run(series, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(world / "whole")


def test_one_series__stopped_before_its_note_ends_with_the_same_report(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world / "series" / "a"
    run(source, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 0))
        run(source, tmp_path / "out")
    told = run(source, tmp_path / "out")
    assert told.reports[0].folder == tmp_path / "out"
    found = contents(tmp_path / "out")
    assert found == contents(tmp_path / "whole") and {"sr.dcm", "copies/0001.dcm"} < found.keys()


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from tests.made.scores import regions, scored_by_darkness, weights
from ubr.pretrain.uses import annotation
from ubr.weights.common.working import Working

add, whole, kept = Working.add, annotation.whole, []

def killing_add(self, key, **arrays):
    if kept:
        os.kill(os.getpid(), signal.SIGKILL)
    kept.append(key)
    add(self, key, **arrays)

@contextmanager
def killing_whole(path):
    with whole(path) as part:
        yield part
        if kept:
            os.kill(os.getpid(), signal.SIGKILL)  # it has been made, and is not in its place

Working.add = killing_add
if sys.argv[3] == "whole":
    annotation.whole = killing_whole
with scored_by_darkness():
    given = weights()
    source, out = sys.argv[1:3]
    annotation.annotate(source, given, regions(given), out, copies=True, progress=False)
"""


@pytest.mark.parametrize("moment", ["add", "whole"])
def test_killed__goes_on_where_it_stopped(moment: str, world: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(world / "series"), str(tmp_path / "out"), moment]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    assert subprocess.run(words, env=paths, cwd=ROOT).returncode == -signal.SIGKILL
    (noted,) = (tmp_path / "out" / "working").glob("*.npz")
    report = tmp_path / "out" / noted.stem / "sr.dcm"
    before = report.read_bytes(), report.stat().st_mtime_ns
    run(world / "series", tmp_path / "out")
    assert (report.read_bytes(), report.stat().st_mtime_ns) == before
    assert contents(tmp_path / "out") == contents(world / "whole")


def test_begun__with_other_options_or_something_else_is_refused(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="was begun with copies true, not false"):
        run(world / "series", world / "whole", copies=False)
    with pytest.raises(ValueError, match="already holds the results of other series"):
        run(world / "series" / "a", world / "whole")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, or is a file; give a new `out`"):
        run(world / "series", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "damage", ["{", "{}", "[1]", '[{"parts": []}]', '[{"series": "a", "folder": 3}]']
)
def test_finished__a_damaged_note_is_said(damage: str, world: Path, tmp_path: Path) -> None:
    run(world / "series" / "a", tmp_path / "out")
    path = tmp_path / "out" / "annotated.json"
    if '"a"' in damage:
        damage = damage.replace('"a"', json.dumps(json.loads(path.read_text())[0]["series"]))
    path.write_text(damage)
    with pytest.raises(ValueError, match="give a new `out`"):
        run(world / "series" / "a", tmp_path / "out")


def test_progress__counts_series_and_those_of_an_earlier_call(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 1))
        run(world / "series", tmp_path / "out")
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    given: Any = weights()
    annotate(world / "series", given, regions(given), tmp_path / "out", copies=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "annotate" in line]
    assert [line.partition(" series")[0] for line in said] == [
        "annotate: 2 of 3",
        "annotate: 3 of 3",
    ]
