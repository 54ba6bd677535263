"""Curves are read back as they were written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ubr.pretrain.scores.read import read_curves, read_features, read_slices, usual_axis
from ubr.pretrain.scores.scored import Scored
from ubr.pretrain.scores.write import TableOptions
from ubr.weights.common.notes import note

from ...made.flips import flipped
from .test_write import LINE, series, written


def test_read_curves__are_whole_and_name_their_weights(tmp_path: Path) -> None:
    written(tmp_path / "scores", [series("a", LINE), series("b", LINE[:20])])
    curves, weights = read_curves(tmp_path / "scores")
    assert (
        weights == "ab"
        and curves["b"].scores == pytest.approx(LINE[:20])
        and curves["b"].z_mm.tolist() == (4.0 * np.arange(20)).tolist()
    )
    with pytest.raises(ValueError, match="is not a folder that score wrote"):
        read_curves(tmp_path)


def test_read_slices__a_flipped_bit_gives_no_other_scores(tmp_path: Path) -> None:
    written(folder := tmp_path / "scores", [series("a", LINE)])
    path = folder / "slices.parquet"
    refused = 0
    for content in flipped(path.read_bytes(), 100):
        path.write_bytes(content)
        try:
            assert read_curves(folder)[0]["a"].scores == pytest.approx(LINE)
        except ValueError as error:
            assert "slices.parquet" in str(error) and "score" in str(error)
            refused += 1
    assert refused > 90


def test_read_slices__tables_that_were_changed_are_noted(tmp_path: Path) -> None:
    written(folder := tmp_path / "scores", [series("a", LINE), series("b", LINE[::-1])])
    note.cache_clear()
    with warnings.catch_warnings(record=True, action="always") as said:
        read_slices(folder)
        assert not said
        path = folder / "findings.csv"
        path.write_text(path.read_text()[:-3])
        (folder / "left_out.csv").unlink()
        read_slices(folder)
    assert sorted(Path(str(one.message).partition(" is ")[0]).name for one in said) == [
        "findings.csv",
        "left_out.csv",
    ]


def test_read_features__a_changed_byte_is_refused(tmp_path: Path) -> None:
    features = np.ones((100, 512), np.float32)
    options = TableOptions(features=True)
    written(folder := tmp_path / "scores", [series("a", LINE, features=features)], options)
    np.testing.assert_array_equal(read_features(folder)["a"], features)
    content = bytearray((folder / "features.npy").read_bytes())
    content[-1] ^= 1
    (folder / "features.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"features\.npy is damaged: its checksum is wrong; score"):
        read_features(folder)


def spoilt(folder: Path, name: str, old: str, new: str) -> None:
    """Change a table as a spreadsheet or a hand would."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def read_all(scored: Scored) -> None:
    assert len(scored.series) == 2 and len(scored.left_out) == 1 and scored.table()


@pytest.mark.filterwarnings("ignore::ubr.weights.common.notes.Note")
@pytest.mark.parametrize("name", ["series.csv", "findings.csv", "left_out.csv"])
def test_tables__saved_by_a_spreadsheet(name: str, tmp_path: Path) -> None:
    scored = written(tmp_path / "scores", [series("a", LINE), series("b", LINE[::-1])])
    sound = (scored.folder / name).read_text()
    (scored.folder / name).write_text("\ufeff" + sound.replace("\n", "\r\n"))
    read_all(scored)
    (scored.folder / name).write_text(sound.replace(",", ";"))
    with pytest.raises(
        ValueError, match=rf"{name}: its columns are not separated by commas; score a"
    ):
        read_all(scored)


@pytest.mark.filterwarnings("ignore::ubr.weights.common.notes.Note")
@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("series.csv", "\na,", "\nc,", r"series\.csv and slices\.parquet hold different series"),
        ("findings.csv", "\nb,", "\nc,", r"findings\.csv has slices 0 to 99 of series 'c', which"),
        ("findings.csv", ",0,99,", ",0,100,", r"findings\.csv has slices 0 to 100 of series 'b'"),
        ("findings.csv", ",0,99,", ",-1,99,", r"findings\.csv has slices -1 to 99"),
        ("findings.csv", "\nb,reversed", "\nb,gap", "name different findings of series 'b'"),
        ("series.csv", ",reversed,", ",,", "name different findings of series 'b'; score again"),
        ("findings.csv", ",0,99,", ",none,99,", "line 2: first must be a whole number, got 'none'"),
        ("series.csv", ",100,", ",many,", "line 2: slices must be a whole number, got 'many'"),
        ("series.csv", "pearson_r", "r", r"series\.csv: no column pearson_r; score again"),
        ("left_out.csv", "reason", "why", r"left_out\.csv: no column reason; score again"),
    ],
)
def test_tables__that_do_not_belong_together_are_one_line(
    name: str, old: str, new: str, reason: str, tmp_path: Path
) -> None:
    scored = written(tmp_path / "scores", [series("a", LINE), series("b", LINE[::-1])])
    read_all(scored)
    spoilt(scored.folder, name, old, new)
    with pytest.raises(ValueError, match=reason):
        read_all(scored)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("z_mm", [float("nan")], "a position is not a number"),
        ("z_mm", ["x"], "column z_mm is damaged"),
        ("score", [1], "column score is damaged"),
        ("series", [None], "column series is damaged"),
        ("z_mm", None, "column z_mm is damaged"),
        ("score", None, "column score is damaged"),
        ("score", [float("inf")], "a score is not a number"),
        ("score", [float("nan")], "a score is not a number"),
        ("position_mm", [float("nan")], "a position is not a number"),
        ("position_mm", ["x"], "column position_mm is damaged"),
        ("index", None, r"cannot be read \(KeyError\)|cannot be read"),
    ],
)
def test_read_slices__columns_of_another_kind_are_one_line(
    column: str, values: list[object] | None, reason: str, tmp_path: Path
) -> None:
    columns: dict[str, object] = {"series": ["a"], "index": [0], "z_mm": [0.0], "score": [0.5]}
    columns = {**columns, column: values}
    table = pa.table({name: one for name, one in columns.items() if one is not None})
    pq.write_table(
        table.replace_schema_metadata({"ubr": '{"weights_sha256": "ab"}'}),
        tmp_path / "slices.parquet",
    )
    with pytest.raises(ValueError, match=reason):
        read_slices(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "5", '{"weights_sha256": 5}', "{}", "{"])
def test_read_curves__forged_settings_are_one_line(text: str, tmp_path: Path) -> None:
    table = pa.table({"series": ["a"], "index": [0], "z_mm": [0.0], "score": [0.5]})
    pq.write_table(table.replace_schema_metadata({"ubr": text}), tmp_path / "slices.parquet")
    with pytest.raises(ValueError, match=r"slices\.parquet") as raised:
        read_curves(tmp_path)
    assert len(str(raised.value)) < 400


def test_read_curves__of_positions_where_there_are_some(tmp_path: Path) -> None:
    rows = [series("a", LINE / 4), series("b", LINE[:20] / 4 + 2)]
    written(tmp_path / "with", rows, TableOptions(positions=True))
    written(tmp_path / "without", rows)
    assert usual_axis(tmp_path / "with") == "position"
    assert usual_axis(tmp_path / "without") == "score"
    slices, _ = read_slices(tmp_path / "with")
    curves, _ = read_curves(tmp_path / "with", "position")
    for key, curve in curves.items():
        assert 50 * curve.scores == pytest.approx(slices[key]["position_mm"])
    scores = [read_curves(tmp_path / name)[0]["a"].scores for name in ("with", "without")]
    assert np.array_equal(*scores) and scores[0] == pytest.approx(LINE / 4)
    with pytest.raises(ValueError, match="these scores have no positions"):
        read_curves(tmp_path / "without", "position")
