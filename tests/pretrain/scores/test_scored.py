"""What a scoring gives back is what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ubr.pretrain.data.store import Store
from ubr.pretrain.scores.scored import Scored
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.write import TableOptions, write_tables

from .helpers import rows, run


def test_scored__read_back_is_what_was_written(world: Path) -> None:
    scored = run(world, world / "whole")
    table = pq.read_table(world / "whole" / "slices.parquet")
    assert [s.key for s in scored.series] == sorted(
        row.key for row in Store.open(world / "store").rows()
    )
    np.testing.assert_array_equal(
        np.concatenate([s.scores for s in scored.series]), table["score"].to_numpy()
    )
    assert all(
        s.z_mm[0] == 0 and len(s.z_mm) == 30 and s.summary()["series"] == s.key
        for s in scored.series
    )
    assert [{k: str(v) for k, v in s.summary().items()} for s in scored.series] == rows(
        world / "whole" / "series.csv"
    )


def test_scored__warnings_that_hold_a_semicolon_come_back_whole(tmp_path: Path) -> None:
    notes = (
        "tilt: 12.0 degrees; slices moved in-plane by up to 3.0 mm",
        "rescale: no slope and intercept",
    )
    one = SeriesScores("ab", np.zeros(2, np.float32), np.array([0.0, 1.0]), notes, "")
    write_tables(tmp_path, lambda: iter([one]), [], TableOptions(), {})
    assert Scored(tmp_path, {"ab": ""}).series[0].warnings == notes
