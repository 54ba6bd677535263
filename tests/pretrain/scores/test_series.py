"""The row of a series."""

from __future__ import annotations

import numpy as np

from .test_write import LINE, series


def test_summary__the_row_tells_findings_slope_range_and_the_papers_rule() -> None:
    row = series("a", np.concatenate([LINE[:50], LINE[75:], LINE[75:]])).summary()
    assert row["findings"] == "gap; repeated"
    assert (row["direction"], row["paper_rule"]) == ("down", True)
    plain = series("b", LINE).summary()
    assert (plain["findings"], plain["robust_slope"], plain["range"], plain["paper_rule"]) == (
        "",
        0.02,
        "0.00 to 7.92",
        False,
    )
