"""Correlation, order, distance from a line, and where a curve passes a level."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.curve import line_errors_mm, ordered_share, passage, pearson_r

Z = 5.0 * np.arange(40)


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


def test_passage__lies_midway_between_the_slices_that_the_level_parts() -> None:
    assert passage(Z, Z, 50.0) == (47.5, "")  # the slice at the level is below it
    assert passage(Z, Z, 49.0) == (47.5, "")


def test_passage__a_few_wrong_slices_do_not_move_it() -> None:
    scores = Z.copy()
    scores[[3, 5]], scores[[30, 35]] = 190.0, 2.0
    assert passage(scores, Z, 100.0) == (97.5, "")


def test_passage__a_level_that_is_not_reached_is_outside_at_the_nearer_end() -> None:
    assert passage(Z, Z, -1.0) == (0.0, "superior")
    assert passage(Z, Z, 196.0) == (195.0, "inferior")
    assert (
        passage(np.ones(40), Z, 1.0).outside == "superior"
        and passage(np.ones(40), Z, 1.1).outside == "inferior"
    )
    assert passage(np.array([3.0]), np.array([0.0]), 4.0) == (0.0, "inferior")


def test_passage__rises_with_the_level() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = Z / 10 + rng.normal(0, 4, len(Z))
        found = [passage(scores, Z, at).z_mm for at in np.linspace(-5, 25, 40)]
        assert (np.diff(found) >= 0).all()
