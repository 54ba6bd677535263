"""Curves are read back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.scores.read import read_curves

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
