"""Curves are read back as they were written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.scores.read import read_curves, read_features, read_slices
from ubr.pretrain.scores.write import TableOptions
from ubr.weights.common.checksums import note

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
    assert sorted(str(one.message).partition(" is ")[0] for one in said) == [
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
