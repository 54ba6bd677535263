"""The table of slices as text holds what the typed one holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.scores.read import read_slices
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.slices import is_scores
from ubr.pretrain.scores.streamed import each_series
from ubr.pretrain.scores.write import TableOptions, write_tables

from .test_write import LINE, series

SETTINGS = {"weights_sha256": "ab", "every_mm": 5.0}


def two_forms(root: Path) -> tuple[Path, Path]:
    """The same scores of two series, with positions and interpolated slices, typed and as text."""
    some = [replace(series(key, LINE[:n]), interpolated=np.arange(n) % 3 == 1)
            for key, n in (("a", 40), ("b", 23))]  # fmt: skip
    folders = root / "typed", root / "text"
    for folder, plain in zip(folders, (False, True), strict=True):
        folder.mkdir()
        options = TableOptions(positions=True, plain=plain)
        write_tables(folder, lambda: iter(some), [], options, SETTINGS)
    (folders[1] / "settings.json").write_text('{"weights_sha256": "ab", "every_mm": 5.0}')
    return folders


def equal(one: SeriesScores, other: SeriesScores) -> bool:
    return all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_slices__as_text_hold_what_the_typed_ones_hold(tmp_path: Path) -> None:
    typed, text = two_forms(tmp_path)
    assert is_scores(typed) and is_scores(text) and not is_scores(tmp_path)
    (one, known), (other, settings) = read_slices(typed), read_slices(text)
    assert settings == known == SETTINGS and list(one) == list(other) == ["a", "b"]
    for key in one:
        assert one[key].keys() == other[key].keys()
        for name, column in one[key].items():
            np.testing.assert_array_equal(other[key][name], column)
            assert other[key][name].dtype == column.dtype
    for a, b in zip(each_series(typed), each_series(text), strict=True):
        assert equal(a, b)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("a,3,", "a,x,", r"slices\.csv line 5: index must be a whole number, got 'x'"),
        ("a,3,", "a,3;", r"slices\.csv"),
        ("series,index", "serie,index", r"slices\.csv: no column series"),
    ],
)
def test_slices__as_text_that_are_damaged_are_one_line(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    _, text = two_forms(tmp_path)
    table = text / "slices.csv"
    content = table.read_text()
    assert old in content
    table.write_text(content.replace(old, new, 1))
    with pytest.raises(ValueError, match=reason) as raised:
        read_slices(text)
    assert "\n" not in str(raised.value)
