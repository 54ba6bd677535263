"""The figure shows the slices it says it shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.uses.pictures import at_levels, figure


def line(key: str, first: float, slices: int = 20) -> SeriesScores:
    return SeriesScores(
        key, (first + np.arange(slices)).astype(np.float32), np.arange(slices) * 3.0, (), key
    )


def test_at_levels__nearest_slice_of_each_volume_that_reaches_the_level() -> None:
    series = [line("a", -10), line("b", -9.6), line("c", 5)]
    rows = at_levels(series, [-5.0, 8.0], columns=3)
    assert [(s.key, i) for s, i in rows[0]] == [
        ("a", 5),
        ("b", 5),
    ]  # c begins at 5: it has no slice near -5
    assert [(s.key, i) for s, i in rows[1]] == [("a", 18), ("c", 3), ("b", 18)]
    assert [len(row) for row in at_levels(series, [8.0], columns=2)] == [2]


def test_figure__asks_for_those_slices_and_labels_them() -> None:
    asked = []

    def read_slice(key: str, index: int) -> NDArray[np.int16]:
        asked.append((key, index))
        return np.full((8, 8), 40, np.int16)

    page = figure([line("a", -10), line("b", -10)], read_slice, levels=[-5.0, 0.0], columns=3)
    assert sorted(asked) == [("a", 5), ("a", 10), ("b", 5), ("b", 10)]
    titles = [axes.get_title() for axes in page.axes]
    assert titles.count("-5.0") == 2 and titles.count("0.0") == 2
