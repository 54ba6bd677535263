"""The command line of detection in-process: help in groups, mistakes, and JSON for scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.made.lesions import lesion_world
from ubr.downstream.cli import VERBS, main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in DeepLesion's layout."""
    return lesion_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("verb", VERBS)
def test_help__is_in_groups_with_dashes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    options = re.findall(r"^  (?:-h, )?(--[\w.-]+)", shown, re.M)
    assert options and not [option for option in options if "_" in option]
    if len(options) > 9:
        *_, other = shown.split("\n\n")
        assert "\nMost used:\n  --out " in shown and other.startswith("Other:")
        assert set(re.findall(r"^  (?:-h, )?(--[\w-]+)", other, re.M)) <= {
            "--help",
            "--print-config",
        }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["check"], "missing: FOLDER"),
        (["plant", "x"], "missing: --out"),
        (["train", "x", "--out", "y", "--stpes", "3"], "unknown option --stpes; nearest: --steps"),
        (["train", "x", "--out", "y", "--norms", "no"], "--norms must be one of frozen, measured"),
        (["train", "x", "--out", "y", "--unreadable", "no"], "--unreadable must be one of stop"),
        (["evaluate", "x", "y", "--out", "z", "--split", "all"], "--split must be one of train"),
        (["evaluate", "x"], "missing: FOLDER, --out"),
    ],
)
def test_mistakes__are_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.count("\n") == 1
    assert shown.err.startswith(f"ubr-detect {words[0]}: {line}")


TINY = ["--start", "random", "--backbone", "timm/test_resnet", "--steps", "1", "--batch", "2"]
TINY += ["--pyramid", "0", "--norms", "frozen", "--workers", "0"]
TINY += ["--accelerator", "cpu", "--precision", "32", "--view.longest-px", "96"]


def test_evaluate__json_is_alone_on_standard_output(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(tmp_path / "run"), tmp_path / "e"
    assert main(["train", str(world), "--out", run, *TINY]) == 0
    capsys.readouterr()
    argv = ["evaluate", run, str(world), "--which", "last", "--workers", "0", "--pictures", "0"]
    assert main([*argv, "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "report.json").read_text())
    assert report["images"] == 3 and str(tmp_path) not in json.dumps(report)


def test_check__json_is_alone_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = lesion_world(tmp_path / "world")
    status = main(["check", str(world), "--json", "--manifest", str(tmp_path / "m.json")])
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report == json.loads((tmp_path / "m.json").read_text())
    assert status == (0 if report["ok"] else 2) and str(world) not in shown.out
    (world / "Images_png" / "000001_01_01" / "010.png").unlink()
    assert main(["check", str(world), "--json"]) == 2
    shown = capsys.readouterr()
    assert not json.loads(shown.out)["ok"] and "train would refuse to start" in shown.err
