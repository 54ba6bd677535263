"""Levels that labelled volumes teach."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.curve import Curve
from ubr.pretrain.reading.labelled import landmark_level

Z = 5.0 * np.arange(40)


def test_landmark__mean_and_each_volume_judged_by_the_others() -> None:
    curves = [Curve(Z + shift, Z) for shift in (0.0, 10.0, 40.0)]
    found = landmark_level([(curve, 20) for curve in curves])
    scores = np.array([100.0, 110.0, 140.0])
    assert (found.score, found.std, found.volumes) == (
        pytest.approx(scores.mean()),
        pytest.approx(scores.std(ddof=1)),
        3,
    )
    assert found.without == pytest.approx([125, 120, 105])
    assert found.residuals_mm == pytest.approx(
        [22.5, 7.5, 37.5]
    )  # the passage is half a slice above the slice at the level
    single = landmark_level([(curves[0], 20)])
    assert (single.score, single.std, single.volumes, single.without) == (100.0, None, 1, ())
