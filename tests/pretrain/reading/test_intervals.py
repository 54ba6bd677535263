"""Locations and their intervals: the jackknife+ by its definition, its coverage by simulation, and
what a few volumes allow.
"""

from __future__ import annotations

import numpy as np
import pytest

from ubr.pretrain.reading.curve import Curve, passage
from ubr.pretrain.reading.intervals import (
    chosen_coverage,
    enough,
    highest_coverage,
    interval,
    landmark_rows,
    locate,
    notes,
)
from ubr.pretrain.reading.labelled import landmark_level
from ubr.pretrain.reading.regions import Level, Regions

Z = 5.0 * np.arange(40)


def level(
    score: float, without: tuple[float, ...] = (), residuals_mm: tuple[float, ...] = ()
) -> Level:
    return Level(score, None, max(1, len(without)), without, residuals_mm)


def test_interval__is_the_jackknife_plus_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    for coverage, rank in ((0.5, 5), (0.8, 8), (0.9, 9)):
        without, residuals = rng.uniform(60, 140, 9), rng.uniform(0, 40, 9)
        low, high = interval(Z, Z, level(100.0, tuple(without), tuple(residuals)), coverage)
        at = np.array([passage(Z, Z, score).z_mm for score in without])
        assert high == pytest.approx(sorted(at + residuals)[rank - 1])
        assert low == pytest.approx(sorted(at - residuals, reverse=True)[rank - 1])


@pytest.mark.parametrize(("volumes", "coverage"), [(9, 0.8), (9, 0.9), (19, 0.9)])
def test_interval__contains_the_landmark_as_often_as_was_asked(
    volumes: int, coverage: float
) -> None:
    rng = np.random.default_rng(2)

    def drawn() -> tuple[Curve, int]:
        z = np.arange(0, 300, 2.0)
        top = rng.uniform(50, 250)
        return Curve((z - top + rng.normal(0, 15) + rng.normal(0, 3, len(z))) / 50, z), round(
            top / 2
        )

    hits = []
    for _ in range(800):
        known, (new, index) = landmark_level([drawn() for _ in range(volumes)]), drawn()
        low, high = interval(*new, known, coverage)
        hits.append(low <= new.z_mm[index] <= high)
    assert abs(np.mean(hits) - coverage) < 0.03 + 0.012


def test_locate__a_level_outside_has_no_position_but_says_at_which_end() -> None:
    nine = level(300.0, (290.0,) * 9, (10.0,) * 9)
    found = locate(Z, Z, nine, 0.9)
    assert (found.z_mm, found.index, found.outside, found.low_mm, found.high_mm) == (
        None,
        None,
        "inferior",
        185.0,
        205.0,
    )
    found = locate(Z, Z, level(100.0, (100.0,) * 9, (10.0,) * 9), 0.9)
    assert (found.z_mm, found.index, found.outside, found.low_mm, found.high_mm) == (
        97.5,
        20,
        "",
        87.5,
        107.5,
    )


def test_enough__k_volumes_allow_k_of_k_plus_one() -> None:
    for volumes in (2, 9, 19):
        some = level(0.0, (0.0,) * volumes, (1.0,) * volumes)
        most = volumes / (volumes + 1)
        assert highest_coverage(some) == most
        assert enough(some, most) and not enough(some, most + 1e-6)


def test_chosen_coverage__between_0_and_1_and_only_with_regions() -> None:
    regions = Regions("ab", ("chest", "abdomen"), (level(0.0),), {})
    assert (
        chosen_coverage(None, None) == chosen_coverage(None, regions) == 0.9
        and chosen_coverage(0.5, regions) == 0.5
    )
    for coverage in (0.0, 1.0, -1.0, 90.0):
        with pytest.raises(ValueError, match=r"coverage must be above 0 and below 1"):
            chosen_coverage(coverage, regions)
    with pytest.raises(
        ValueError, match=r"coverage 0\.9 applies to intervals, .*; give `regions`, or omit"
    ):
        chosen_coverage(0.9, None)


def test_too_few_volumes__no_interval_and_one_line_that_names_them() -> None:
    two, one = level(100.0, (90.0, 110.0), (5.0, 5.0)), level(50.0)
    regions = Regions("0" * 64, (), (), {"dome": two, "apex": one, "carina": level(60.0)})
    assert notes(regions, 0.9) == (
        "no interval at 90 % for apex, carina, dome: fewer than 9 labelled volumes show them; "
        "try a lower `coverage`",
    )
    assert notes(regions, 0.66)[0].startswith("no interval at 66 % for apex, carina: ")
    with pytest.raises(ValueError, match="2 labelled volumes allow at most 67 %"):
        interval(Z, Z, two, 0.9)
    rows = landmark_rows(regions, "k", Z, Z, 0.9)
    assert [row["landmark"] for row in rows] == ["apex", "carina", "dome"]  # superior to inferior
    assert rows[2] == {
        "series": "k",
        "landmark": "dome",
        "z_mm": 97.5,
        "low_mm": "",
        "high_mm": "",
        "index": 20,
        "outside": "",
    }
