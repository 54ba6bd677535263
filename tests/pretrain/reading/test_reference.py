"""What is typical of a model's curves, told from many of them."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.reference import Reference, reference_of

from .curves import SLOPE, sound


def test_reference_of__is_what_most_series_are_like() -> None:
    curves = [sound(seed) for seed in range(12)]
    clean = reference_of(curves)
    assert clean.slope == pytest.approx(SLOPE, rel=0.05)
    assert 3 < clean.wander_mm < 8
    assert 2 < clean.step_mm < 15
    upside_down = [(s[::-1], z) for s, z in curves[:4]]
    falsified = [(s, 3 * z) for s, z in curves[:3]]
    assert reference_of([*curves, *upside_down, *falsified]).slope == pytest.approx(SLOPE, rel=0.05)


def test_reference_of__few_series_give_the_slope_only() -> None:
    own = reference_of([sound()])
    assert own == Reference(own.slope)
    assert own.slope == pytest.approx(SLOPE, rel=0.05)
    assert np.isnan(reference_of([]).slope)
