"""The benchmark of coverage: what it counts, and where its computed volumes are labelled."""

from __future__ import annotations

import numpy as np

from benchmarks.coverage import Tally, computed_volume
from ubr.pretrain.reading.curve import Curve
from ubr.pretrain.reading.labelled import landmark_level
from ubr.pretrain.reading.regions import Level

Z = 5.0 * np.arange(40)


def test_tally__counts_hits_misses_and_what_is_called_outside() -> None:
    level = Level(100.0, None, 9, (100.0,) * 9, (10.0,) * 9)  # 97.5 mm, within 10 mm
    tally = Tally()
    tally.add([(Curve(Z, Z), index) for index in (17, 18, 21, 22)], level, 0.9)
    assert tally.row() == {"tests": 4, "covered": 0.5, "outside": 0.0, "width_mm_median": 20.0}
    tally.add(
        [(Curve(Z - 200, Z), 38), (Curve(Z - 200, Z), 30)], level, 0.9
    )  # ends at a score of -5
    assert tally.row() == {"tests": 6, "covered": 0.5, "outside": 0.3333, "width_mm_median": 20.0}


def test_computed_volumes__pass_the_landmarks_score_near_its_slice() -> None:
    rng = np.random.default_rng(0)
    level = landmark_level([computed_volume(rng) for _ in range(100)])
    assert abs(level.score) < 0.2 and 3 < np.median(level.residuals_mm) < 25
