"""The line through a curve, and the paper's rule."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import theilslopes

from ubr.pretrain.reading.line import fit_line, theil_sen

from .curves import SLOPE, sound


def test_fit_line__slope_range_and_direction_withstand_outliers() -> None:
    scores, z = sound()
    scores[10:14] += 30
    line = fit_line(scores, z)
    assert line.robust_slope == pytest.approx(SLOPE, rel=0.05)
    assert (line.first_score, line.last_score) == pytest.approx((0, SLOPE * z[-1]), abs=0.5)
    assert (line.direction, line.paper_rule) == ("down", True)
    assert fit_line(scores[::-1], z).direction == "up"
    assert not fit_line(*sound()).paper_rule


@pytest.mark.parametrize("n", [2, 3, 40, 131])
def test_theil_sen__is_that_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    x = np.cumsum(rng.uniform(0.5, 5, n))
    y = 0.02 * x + rng.standard_t(2, n)
    assert theil_sen(y, x) == pytest.approx(theilslopes(y, x)[:2], rel=1e-12)
