from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.curve import line_errors_mm, ordered_share, pearson_r


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


def test_line_errors_mm__one_slope_for_all_and_an_offset_each() -> None:
    z = [np.linspace(0, 300, 31), np.linspace(0, 90, 10)]
    assert line_errors_mm([z[0] / 50 - 3, z[1] / 50 + 8], z) == pytest.approx([0, 0], abs=1e-9)
    even, collapsed = z[0] / 50, z[1] / 500  # both have an r of 1
    errors = line_errors_mm([even, collapsed], z)
    assert errors[1] > 20 > errors[0]
    noise = np.random.default_rng(0).normal(0, 0.1, 31)
    assert line_errors_mm([z[0] / 50 + noise], z[:1])[0] == pytest.approx(
        5, rel=0.3
    )  # 0.1 of a score at 50 mm a score
    assert line_errors_mm([np.zeros(10)], z[1:]) == pytest.approx(z[1:][0].std())
    assert line_errors_mm([-z[1]], z[1:]) == pytest.approx(z[1:][0].std())
