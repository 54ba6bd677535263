"""What the tables of a folder of scores hold."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from ubr.pretrain.data.volume import LeftOut
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.reference import Reference
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores import write
from ubr.pretrain.scores.read import read_slices
from ubr.pretrain.scores.scored import Scored
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.streamed import each_series
from ubr.pretrain.scores.write import TableOptions, write_tables

from .helpers import run

LINE = np.arange(100) * 0.08
SETTINGS = {"weights_sha256": "ab"}


def series(key: str, scores: NDArray[np.float64], **more: NDArray[np.float32]) -> SeriesScores:
    z = np.arange(len(scores)) * 4.0
    found = findings(scores, z, reference=Reference(0.02))
    return SeriesScores(
        key, scores.astype(np.float32), z, (), f"/scans/{key}", findings=found, **more
    )


def written(
    folder: Path, rows: Sequence[SeriesScores], options: TableOptions | None = None
) -> Scored:
    folder.mkdir()
    write_tables(
        folder,
        lambda: iter(rows),
        [LeftOut("/scans/x", "no slices", "cd")],
        options or TableOptions(),
        SETTINGS,
    )
    return Scored(folder, {row.key: row.source for row in rows})


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_write__findings_are_judged_beside_the_other_series_and_come_back(tmp_path: Path) -> None:
    rows = [
        *(series(f"{i}", LINE) for i in range(6)),
        series("8", LINE[::-1]),
        series("9", np.concatenate([LINE[:50], LINE[75:]])),
    ]
    scored = written(tmp_path / "scores", rows)
    assert "findings       2 series: reversed 1, gap 1; r below 0.99: 2" in scored.table()
    assert [[f.kind for f in one.findings] for one in scored.series[6:]] == [["reversed"], ["gap"]]
    assert [
        (row["series"], row["kind"]) for row in table(tmp_path / "scores" / "findings.csv")
    ] == [("8", "reversed"), ("9", "gap")]
    assert (
        "findings       0 series; r below 0.99: 0" in written(tmp_path / "sound", rows[:6]).table()
    )


def test_write__regions_add_parts_and_landmarks(tmp_path: Path) -> None:
    level = Level(4.0, None, 1, (), ())
    regions = Regions("ab", ("chest", "abdomen"), (level,), {"liver_dome": level})
    written(tmp_path / "scores", [series("a", LINE), series("b", LINE[:20])], TableOptions(regions))
    slices, settings = read_slices(tmp_path / "scores")
    assert (
        settings == SETTINGS and slices["a"]["part"].tolist() == ["chest"] * 50 + ["abdomen"] * 50
    )
    assert [row["parts"] for row in table(tmp_path / "scores" / "series.csv")] == [
        "chest; abdomen",
        "chest",
    ]
    places = {
        (row["series"], row["landmark"]): row
        for row in table(tmp_path / "scores" / "landmarks.csv")
    }
    assert (
        float(places["a", "liver_dome"]["z_mm"]) == pytest.approx(198)
        and places["b", "liver_dome"]["outside"] == "inferior"
    )


def test_write__features_lie_in_the_order_of_the_slices(tmp_path: Path) -> None:
    features = {
        key: np.full((len(LINE), 4), value, np.float32) for key, value in (("a", 1), ("b", 2))
    }
    written(
        tmp_path / "scores",
        [series(key, LINE, features=array) for key, array in features.items()],
        TableOptions(features=True),
    )
    assert np.load(tmp_path / "scores" / "features.npy")[:, 0].tolist() == [1.0] * 100 + [2.0] * 100


def test_write__paths_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for name, options in (("without", TableOptions()), ("with", TableOptions(with_paths=True))):
        written(tmp_path / name, [series("a", LINE)], options)
        texts = [path.read_bytes() for path in (tmp_path / name).iterdir()]
        assert (
            any(b"/scans/a" in text for text in texts)
            == any(b"/scans/x" in text for text in texts)
            == options.with_paths
        )


def test_tables__are_the_same_however_few_series_are_in_memory(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "SERIES_AT_ONCE", 5)
    run(world, tmp_path / "s")
    assert pq.ParquetFile(tmp_path / "s" / "slices.parquet").num_row_groups == 3
    assert pq.read_table(tmp_path / "s" / "slices.parquet").equals(
        pq.read_table(world / "whole" / "slices.parquet")
    )


def wavy(n: int = 100) -> NDArray[np.float64]:
    """A line of 1 mm a mm under errors of 30 mm that come and go, in score; slices of 4 mm."""
    z = np.arange(n) * 4.0
    return (z + 30 * np.sin(z / 40)) / 50


def test_write__positions_are_the_line_where_nothing_was_found_and_else_the_scores(
    tmp_path: Path,
) -> None:
    rows = [series(f"{i}", wavy()) for i in range(6)] + [series("8", wavy()[::-1])]
    scored = written(tmp_path / "scores", rows, TableOptions(positions=True))
    slices, _ = read_slices(tmp_path / "scores")
    z = np.arange(100) * 4.0
    offset = np.median(50 * wavy() - z)
    assert slices["3"]["position_mm"] == pytest.approx(z + offset, abs=1e-4)
    assert slices["8"]["position_mm"] == pytest.approx(50 * wavy()[::-1], abs=1e-4)
    contexts = [row["context"] for row in table(tmp_path / "scores" / "series.csv")]
    assert contexts == ["series"] * 6 + ["slices"] == [one.context for one in scored.series]
    assert scored.series[3].position_mm == pytest.approx(slices["3"]["position_mm"])
    assert "positions      6 series on one line of score by mm" in scored.table()
    assert "               1 series without a line: each slice has" in scored.table()
    assert "in pieces" not in scored.table()
    for one in each_series(tmp_path / "scores"):
        assert one.position_mm == pytest.approx(slices[one.key]["position_mm"])
        assert one.context == ("slices" if one.key == "8" else "series")
    plain = written(tmp_path / "plain", rows)
    for name in ("findings.csv", "left_out.csv"):  # faults are looked for in the scores
        there, here = (tmp_path / folder / name for folder in ("scores", "plain"))
        assert there.read_bytes() == here.read_bytes()
    assert "position_mm" not in read_slices(tmp_path / "plain")[0]["3"]
    assert "context" not in table(tmp_path / "plain" / "series.csv")[0]
    assert plain.series[0].position_mm is plain.series[0].context is None
    assert "on one line" not in plain.table()


def test_write__regions_read_positions_if_they_say_so(tmp_path: Path) -> None:
    z = np.arange(100) * 4.0
    levels = {"score": wavy(), "position": (z + np.median(50 * wavy() - z)) / 50}
    passed = {axis: int(np.flatnonzero(numbers >= 4)[0]) for axis, numbers in levels.items()}
    assert abs(passed["score"] - passed["position"]) > 3
    for axis, at in passed.items():
        level = Level(4.0, None, 1, (), ())
        landmarks = {"a": level, "b": Level(6.0, None, 1, (), ())}
        regions = Regions("ab", ("up", "down"), (level,), landmarks, ("a", "b"), axis=axis)
        options = TableOptions(regions, positions=True)
        written(tmp_path / axis, [series("a", wavy())], options)
        found = read_slices(tmp_path / axis)[0]["a"]
        place = table(tmp_path / axis / "landmarks.csv")[0]
        assert float(place["z_mm"]) == pytest.approx(z[at] - 2)
        assert np.flatnonzero(found["part"] == "down")[0] == at
        assert found["position"] == pytest.approx(100 * (levels[axis] - 4) / 2, abs=1e-3)
        assert table(tmp_path / axis / "series.csv")[0]["parts"] == "up; down"
