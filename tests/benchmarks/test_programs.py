"""Every benchmark is a program that parses its options first; what programs share is none."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.common import rows

FOLDER = Path(rows.__file__).parents[1]
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help__is_all_that_a_program_does_when_asked_for_it(
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    module = import_module(f"benchmarks.{program}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ") and f"python -m benchmarks.{program}" in shown
    assert not list(tmp_path.iterdir())


def imports(path: Path) -> set[str]:
    """Names of the modules of benchmarks that a file imports."""
    nodes = ast.walk(ast.parse(path.read_text()))
    names = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name for name in names if name.split(".")[0] == "benchmarks"}


def test_imports__programs_and_what_they_share_import_no_program() -> None:
    for path in FOLDER.rglob("*.py"):
        assert {name.split(".")[:2][-1] for name in imports(path)} <= {"common"}, path


def test_coverage__real_ct_needs_a_folder_for_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module("benchmarks.coverage").main(["--data", "/data/ct"])
    assert ended.value.code == 2 and "--data needs --work" in capsys.readouterr().err
