"""Measurements against shapes of known size."""

from __future__ import annotations

import numpy as np

from ubr.downstream.planting.measurement import measure


def test_measure__ellipse_on_a_slant() -> None:
    y, x = np.mgrid[:80, :80] - 40.0
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    ends = measure((along / 25) ** 2 + (across / 15) ** 2 <= 1)
    long, short = np.linalg.norm(ends[0] - ends[1]), np.linalg.norm(ends[2] - ends[3])
    assert abs(long - 50) < 2
    assert abs(short - 30) < 2
    assert abs((ends[1] - ends[0]) @ (ends[3] - ends[2])) < 1e-6 * long * short


def test_measure__one_pixel() -> None:
    ends = measure(np.ones((1, 1), bool))
    assert np.isclose(np.linalg.norm(ends[0] - ends[1]), np.sqrt(2))
