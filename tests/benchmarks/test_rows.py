"""Rows: appended whole, and recognised among the committed ones."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from benchmarks.common import rows as result_rows
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.methods import has_row
from benchmarks.common.recipe_names import name_in_rows, name_on_command_line
from benchmarks.common.recipes import RECIPES


def test_append__is_one_write_and_keeps_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path / "results")
    writes: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: writes.append(data) or write(file, data))
    result_rows.append("a", [{"x": 1, "y": "p, q"}, {"x": 2, "y": ""}])
    path = result_rows.append("a", [{"x": 3, "y": "r"}])
    assert path.read_text() == 'x,y\n1,"p, q"\n2,\n3,r\n' and len(writes) == 2
    assert result_rows.read("a")[0] == {"x": "1", "y": "p, q"}
    with pytest.raises(ValueError, match=r"has the columns \['x', 'y'\], the rows have \['x'\]"):
        result_rows.append("a", [{"x": 1}])


def test_append__what_does_not_fit_on_the_disk_leaves_no_torn_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_rows, "RESULTS", tmp_path)
    path = result_rows.append("a", [{"x": 1}])
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:1]))
    with pytest.raises(OSError, match="could not be written; free some space"):
        result_rows.append("a", [{"x": 23}])
    assert path.read_text() == "x\n1\n"


@pytest.mark.parametrize("name", ["table1", "histogram", "curves"])
def test_committed_rows__of_the_quick_recipe_are_recognised(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They call it small; the digest of its configuration is the same."""
    row = next(row for row in result_rows.read(name) if row["recipe"] == name_in_rows("quick"))
    recipe = dataclasses.replace(RECIPES["quick"](), start=row["start"])
    columns: dict[str, object] = {**row, "config": recipe.sha256()[:12], "seed": int(row["seed"])}
    assert row["recipe"] == "small" and has_row(name, columns)
    assert f"skipped, {name}.csv has it: config {row['config']}" in capsys.readouterr().out
    assert not has_row(name, columns | {"data_sha256": "other"})


def test_recipes__have_one_name_in_rows_and_one_on_the_command_line() -> None:
    for name in (*RECIPES, "default, 3000 steps"):
        assert name_on_command_line(name_in_rows(name)) == name
    assert "small" not in RECIPES


def test_committed_rows__of_a_cohort_are_recognised(tmp_path: Path) -> None:
    rows = result_rows.read("learning_summary")
    row = next(row for row in reversed(rows) if row["recipe"] == "default")
    given = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--seed", row["seed"]]
    given += ["--recipe", row["recipe"], "--steps", row["steps"], "--lr", row["lr"]]
    options = cohort_options(cohort_parser(None).parse_args(given))
    assert options.work == tmp_path / "work" / tmp_path.name
    columns = {"config": options.recipe.sha256()[:12], "data_sha256": row["data_sha256"]}
    assert result_rows.matching("learning_summary", columns, list(columns)) == [row]
