"""Positions on a body axis from all slices of a series."""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.context import body_positions


def test_positions__follow_geometry_and_take_only_their_offset_from_the_scores() -> None:
    z = np.array([0.0, 5, 10, 15, 40, 45, 50])  # with a gap
    scores = (z + 300) / 50 + np.array([0.1, -0.1, 0, 0.2, -0.2, 0, 0])
    assert body_positions(scores, z, 50.0) == pytest.approx(z + 300)
    scores[1] = 90  # one slice that is wrong does not move it
    assert body_positions(scores, z, 50.0) == pytest.approx(z + 300)
    assert body_positions(scores.astype(np.float32), z, 100.0)[0] == pytest.approx(
        np.median(100 * scores - z), abs=1e-3
    )
