from __future__ import annotations

from pathlib import Path

import numpy as np

from ubr.pretrain.reading.faults import Reference, findings
from ubr.pretrain.scoring import Scored, SeriesScores


def series(key: str, scores: np.ndarray) -> SeriesScores:
    z = np.arange(len(scores)) * 4.0
    found = findings(scores, z, reference=Reference(0.02))
    return SeriesScores(key, scores.astype(np.float32), z, (), "", found)


def test_series_scores__the_row_tells_findings_slope_range_and_the_papers_rule() -> None:
    line = np.arange(100) * 0.08
    row = series("a", np.concatenate([line[:50], line[75:], line[75:]])).summary()
    assert row["findings"] == "gap; repeated"
    assert (row["direction"], row["paper_rule"]) == ("down", True)
    plain = series("b", line).summary()
    assert (plain["findings"], plain["robust_slope"], plain["range"], plain["paper_rule"]) == ("", 0.02, "0.00 to 7.92", False)


def test_table__counts_the_series_of_each_finding() -> None:
    line = np.arange(100) * 0.08
    turned, gap = line[::-1], np.concatenate([line[:50], line[75:]])
    table = Scored(Path("scores"), tuple(series(str(i), s) for i, s in enumerate((line, turned, turned, gap))), ()).table()
    assert "findings       3 series: reversed 2, gap 1; r below 0.99: 3" in table
    assert "findings       0 series: none" in Scored(Path("scores"), (series("a", line),), ()).table()
