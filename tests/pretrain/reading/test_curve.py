from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.curve import ordered_share, pearson_r


def test_pearson_r__is_about_position_not_index() -> None:
    z = np.array([0, 2, 4, 40, 42.0])
    assert pearson_r(3 * z - 1, z) == pytest.approx(1)
    assert pearson_r(-z, z) == pytest.approx(-1)
    assert pearson_r(np.arange(5.0), z) < 0.95


def test_pearson_r__undefined_for_constant_or_short_curves() -> None:
    assert np.isnan(pearson_r(np.ones(5), np.arange(5.0)))
    assert np.isnan(pearson_r(np.array([0.0, 1.0]), np.arange(2.0)))


def test_ordered_share__counts_pairs() -> None:
    assert ordered_share(np.arange(10.0)) == 1
    assert ordered_share(-np.arange(10.0)) == 0
    assert ordered_share(np.array([0.0, 2.0, 1.0])) == pytest.approx(2 / 3)
    assert ordered_share(np.ones(4)) == 0  # equal scores order nothing
