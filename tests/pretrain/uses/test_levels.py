"""The same level in other exams: where it is, how sure that is, and exams that do not reach it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ubr.pretrain.cli import main
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.levels import half_width_mm, same_level


def folder(path: Path, curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Path:
    """A SCORES folder of these (z_mm, scores)."""
    path.mkdir()
    lengths = [len(z) for z, _ in curves.values()]
    table = {
        "series": np.repeat(list(curves), lengths),
        "index": np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        "z_mm": np.concatenate([z for z, _ in curves.values()]),
        "score": np.concatenate([s for _, s in curves.values()]).astype(np.float32),
    }
    pq.write_table(
        pa.table(table, metadata={"ubr": '{"weights_sha256": "ab"}'}), path / "slices.parquet"
    )
    return path


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """`given`; `late`, whose scan begins 50 mm lower at half the step; `noisy`; `above`, which ends
    before; `short`.
    """
    z, fine = np.arange(0.0, 300, 5), np.arange(0.0, 200, 2.5)
    noise = np.random.default_rng(0).normal(0, 0.1, len(z))
    return folder(
        tmp_path / "scores",
        {
            "given": (z, z / 50),
            "late": (fine, (fine + 50) / 50),
            "noisy": (z, z / 50 + noise),
            "above": (z, z / 50 - 20),
            "short": (np.array([0.0, 10]), np.array([1.0, 5.0])),
        },
    )


def test_same_level__is_where_the_other_curve_passes_the_slices_score(scores: Path) -> None:
    rows = {row.series: row for row in same_level(scores, "given", 30)}
    assert set(rows) == {"late", "noisy", "above", "short"}
    assert rows["late"].z_mm == pytest.approx(
        100, abs=1.3
    )  # 150 mm in the given exam; a passage lies between two slices
    assert abs(2.5 * rows["late"].index - 100) <= 2.5
    assert rows["noisy"].z_mm == pytest.approx(150, abs=10)
    assert (
        rows["above"].z_mm
        is rows["above"].index
        is rows["above"].low_mm
        is rows["above"].high_mm
        is None
    )


def regions(
    volumes: int = 9, pairs_mm: tuple[float, ...] = tuple(float(v) for v in range(1, 73))
) -> Regions:
    """Made from volumes that show one landmark; pairs of them are 1, 2, ... mm apart."""
    return Regions(
        "ab", (), (), {"liver_dome": Level(3.0, 0.1, volumes, (), ())}, pairs_mm=pairs_mm
    )


def test_same_level__the_interval_is_what_pairs_of_labelled_volumes_are_apart(
    scores: Path, tmp_path: Path
) -> None:
    rows = {
        row.series: row for row in same_level(scores, "given", 30, regions=regions(), coverage=0.8)
    }
    for name in ("late", "noisy", "short"):
        assert rows[name].high_mm - rows[name].z_mm == pytest.approx(
            60, abs=0.01
        )  # 37 / 36 x 0.8 of 72
        assert rows[name].z_mm - rows[name].low_mm == pytest.approx(60, abs=0.01)
    assert rows["above"].low_mm is None
    assert half_width_mm(regions(), 0.9) == 67
    assert same_level(
        scores, "given", 30, regions=regions().save(tmp_path / "regions.json")
    ) == same_level(scores, "given", 30, regions=regions())
    assert {row.low_mm for row in same_level(scores, "given", 30)} == {None}


@pytest.mark.parametrize(
    ("volumes", "coverage", "most", "enough"),
    [(8, 0.9, 89, 9), (3, 0.8, 75, 4), (1, 0.6, 50, 2)],
)
def test_same_level__too_few_labelled_volumes_give_no_interval_and_say_so(
    volumes: int,
    coverage: float,
    most: int,
    enough: int,
    scores: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = (
        f"{volumes} volumes labelled with a landmark allow at most {most} %; lower the "
        f"`coverage`, or calibrate on {enough} volumes"
    )
    few = regions(volumes)
    with pytest.raises(ValueError, match=why):
        half_width_mm(few, coverage)
    rows = same_level(scores, "given", 30, regions=few, coverage=coverage)
    assert rows == same_level(scores, "given", 30)  # the places, without intervals
    argv = ["level", str(scores), "--series", "given", "--index", "30", "--coverage", str(coverage)]
    assert main([*argv, "--regions", str(few.save(tmp_path / "few.json"))]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"no interval at {100 * coverage:g} %: {why.replace('`coverage`', '--coverage')}"


def test_same_level__regions_without_landmarks_or_of_other_weights(scores: Path) -> None:
    with pytest.raises(ValueError, match="0 volumes labelled with a landmark give no interval"):
        half_width_mm(Regions("ab", ("chest", "abdomen"), (Level(0.0, None, 2, (), ()),), {}), 0.5)
    with pytest.raises(ValueError, match="the regions were made with weights cd"):
        same_level(scores, "given", 30, regions=replace(regions(), weights_sha256="cd"))


def test_series__may_be_the_beginning_of_a_key(scores: Path, tmp_path: Path) -> None:
    assert same_level(scores, "g", 30, out=tmp_path / "new" / "level.csv") == same_level(
        scores, "given", 30
    )
    assert (tmp_path / "new" / "level.csv").exists()


def test_same_level__an_odd_slice_does_not_move_the_place(tmp_path: Path) -> None:
    z = np.arange(0.0, 300, 5)
    odd = z / 50
    odd[33] = -40  # metal
    (row,) = same_level(folder(tmp_path / "s", {"a": (z, z / 50), "b": (z, odd)}), "a", 30)
    assert row.z_mm == pytest.approx(150, abs=5)


def test_command_line__a_table_and_a_csv_file(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "level",
        str(scores),
        "--series",
        "given",
        "--index",
        "30",
        "--out",
        str(tmp_path / "level.csv"),
    ]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert shown.strip().endswith(
        "for an interval, give regions made from volumes with labelled landmarks"
    )
    assert "does not reach the level" in next(
        line for line in shown.splitlines() if line.startswith("above")
    )
    with (tmp_path / "level.csv").open(newline="") as file:
        rows = {row["series"]: row for row in csv.DictReader(file)}
    assert rows["above"] == {
        "series": "above",
        "index": "",
        "z_mm": "",
        "low_mm": "",
        "high_mm": "",
    }
    assert float(rows["late"]["z_mm"]) == pytest.approx(100, abs=1.3)
    assert main(argv) == 2 and "exists; give a new --out" in capsys.readouterr().err
    assert main([*argv[:-2], "--regions", str(regions().save(tmp_path / "regions.json"))]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith("interval mm") and "for an interval" not in shown
    late = next(line for line in shown.splitlines() if line.startswith("late"))
    place = float(rows["late"]["z_mm"])
    assert late.endswith(f"  {place - 67:.1f} to {place + 67:.1f}")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (
            ["--series", "nobody", "--index", "3"],
            "no series 'nobody' among the 5 scored ones; give a key of series.csv, its beginning, "
            "or the path of the scan",
        ),
        (
            ["--series", "given", "--index", "60"],
            "index must be in 0..59, the slices of series given; got 60",
        ),
        (["--series", "given", "--index", "-1"], "index must be in 0..59"),
        (
            ["--series", "given", "--index", "3", "--coverage", "1"],
            "coverage must be above 0 and below 1, got 1",
        ),
        (
            ["--series", "given", "--index", "3", "--coverage", "0.8"],
            "coverage 0.8 applies to intervals, which need labelled volumes; give --regions, or "
            "omit --coverage",
        ),
    ],
)
def test_mistakes__are_one_line(
    argv: list[str], reason: str, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["level", str(scores), *argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    # Another test may have made the note already, which is shown once in a process.
    (line,) = (line for line in lines if ": note: " not in line)
    assert reason in line


def test_mistakes__a_folder_that_holds_no_scores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        same_level(tmp_path, "a", 0)
    (tmp_path / "slices.parquet").write_text("text")
    with pytest.raises(ValueError, match="cannot be read"):
        same_level(tmp_path, "a", 0)
    z = np.arange(3.0)
    with pytest.raises(ValueError, match="one series only"):
        same_level(folder(tmp_path / "one", {"a": (z, z)}), "a", 0)


def test_same_level__reads_what_the_regions_read_and_else_positions_if_there_are_some(
    tmp_path: Path,
) -> None:
    z = np.arange(0.0, 300, 5)
    bent = z + 40 * np.sin(z / 60)
    curves = {"given": (z, bent / 50), "other": (z, (bent[::-1].max() - bent[::-1]) / 50 + 1)}
    path = folder(tmp_path / "scores", curves)
    table = pq.read_table(path / "slices.parquet")
    mm = pa.array(np.concatenate([z, z + 70]))  # the other begins 70 mm lower
    pq.write_table(table.append_column("position_mm", mm), path / "slices.parquet")
    by_position = replace(regions(), axis="position")
    (there,) = same_level(path, "given", 30, regions=by_position, coverage=0.8)
    assert there.z_mm == pytest.approx(80, abs=2.6) and there.low_mm is not None
    assert same_level(path, "given", 30)[0].z_mm == there.z_mm
    (by_score,) = same_level(path, "given", 30, regions=regions(), coverage=0.8)
    scores = curves["other"][1]
    at = z[np.flatnonzero(scores >= curves["given"][1][30])[0]]
    assert by_score.z_mm == pytest.approx(at - 2.5) and abs(at - 80) > 20
