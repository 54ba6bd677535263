"""The tutorial's commands run, one after the other, and do what the page says."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.test_docs import CLI, ROOT, commands
from ubr.pretrain import cli
from ubr.weights.released import versions

PAGE = (ROOT / "docs" / "tutorial.md").read_text()


@pytest.mark.heavy
@pytest.mark.skipif(not versions(), reason="no released weights in this checkout")
def test_tutorial__every_command_runs_and_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {}
    for program, verb, *rest in commands(PAGE):
        if program in CLI:
            cli.main([verb, *rest])
            said[verb] = capsys.readouterr().out
    assert {"phantom", "score", "report", "crop", "level", "audit", "fit", "export"} <= set(said)
    assert re.search(r"keeps (\d+ of \d+ slices)", PAGE)[1] in said["crop"]  # type: ignore[index]
    with (tmp_path / "scores" / "series.csv").open(newline="") as file:
        parts = {Path(row["path"]).name: row["parts"] for row in csv.DictReader(file)}
    first, others = parts.pop("PHANTOM-000000"), list(parts.values())
    assert f"`{first}` for the first" in PAGE
    assert f"`{max(others, key=others.count)}` for most" in PAGE
    assert "PHANTOM" not in (tmp_path / "audit" / "audit.html").read_text()
    assert (tmp_path / "report.html").stat().st_size > 50_000
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(block, {})
    assert "tensors" in capsys.readouterr().out
