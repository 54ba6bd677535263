"""Where a landmark, or the border between two parts, lies in a new series: the position in mm, and
an interval about it.

The interval is the jackknife+ of Barber, Candès, Ramdas and Tibshirani (Predictive inference with
the jackknife+, Annals of Statistics 49, 2021, Theorem 1), a relative of Vovk's conformal prediction
that needs no separate calibration set. For labelled volumes 1..k let p(i) be where the
new curve crosses the leave-i-out score (the one learned without volume i), and R(i) the error of
that score on volume i, in mm. With m = ceil((k + 1) x coverage),

    high = the m-th smallest of p(i) + R(i),    low = the m-th largest of p(i) - R(i)

What holds: if the new volume and the labelled ones are exchangeable (drawn alike, one volume a
patient) and it shows the landmark, low..high contains it with a probability of at least 2 x
coverage - 1, whatever the scores are like; with a rule as stable as a mean over volumes it is near
`coverage`, as in split conformal prediction (benchmarks/coverage.py). It is a probability over
volumes drawn so, and says nothing of one kind of them: of scanners, ages or pathologies that were
not labelled. A curve that ends before the score counts as if it passed it at that end, in p and in
R; so what holds includes volumes that show a landmark so near an end that it is called outside. For
a border, k counts the volumes labelled on both sides. Volumes with one side also affect the
threshold; this effect is ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import passage
from .regions import Level, Regions


@dataclass(frozen=True)
class Location:
    """Where a level lies in a series, in mm below its first slice.

    z_mm, index: the position, and the first slice at or below it; none where the series ends before
    the level. outside: the end at which it does, "superior" or "inferior"; else "". low_mm,
    high_mm: the interval; none where there are too few volumes for the coverage. For a level
    outside, it lies about that end, and contains the level if the series shows it after all.
    """

    z_mm: float | None
    low_mm: float | None
    high_mm: float | None
    index: int | None
    outside: str


def locate(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], level: Level, coverage: float
) -> Location:
    """Find a level in a series, `scores` and `z_mm` `[n]`, with an interval that contains it with
    probability `coverage`.
    """
    z, outside = passage(scores, z_mm, level.score)
    low, high = interval(scores, z_mm, level, coverage) if enough(level, coverage) else (None, None)
    if outside:
        return Location(None, low, high, None, outside)
    return Location(z, low, high, int(np.searchsorted(z_mm, z)), "")


def interval(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], level: Level, coverage: float
) -> tuple[float, float]:
    """The jackknife+ interval in mm below the first slice.

    Raises `ValueError` where there are too few volumes for the coverage.
    """
    if not enough(level, coverage):
        raise ValueError(too_few(level, coverage))
    at = np.array([passage(scores, z_mm, score).z_mm for score in level.without])
    residuals = np.array(level.residuals_mm)
    last = rank(len(at), coverage) - 1
    return -float(np.sort(residuals - at)[last]), float(np.sort(residuals + at)[last])


COVERAGE = 0.9
"""Coverage of intervals where none is asked for."""


def chosen_coverage(coverage: float | None, regions: Regions | None) -> float:
    """The coverage to use: the one given, or the default.

    Raises `ValueError` for a coverage outside 0..1, and for one without the regions that give
    intervals.
    """
    if coverage is not None and not 0 < coverage < 1:
        raise ValueError(f"coverage must be above 0 and below 1, got {coverage:g}")
    if coverage is not None and regions is None:
        raise ValueError(
            f"coverage {coverage:g} applies to intervals, which need labelled volumes; give "
            "`regions`, or omit `coverage`"
        )
    return COVERAGE if coverage is None else coverage


def rank(volumes: int, coverage: float) -> int:
    """ceil((k + 1) x coverage), correct even though 10 x 0.9 is slightly more than 9 in floats."""
    return math.ceil(round((volumes + 1) * coverage, 9))


def enough(level: Level, coverage: float) -> bool:
    """Whether a level's volumes give an interval: ceil((k + 1) x coverage) must not exceed k."""
    return rank(len(level.without), coverage) <= len(level.without)


def needed(coverage: float) -> int:
    """The fewest volumes that give an interval: k / (k + 1) must reach the coverage."""
    return max(1, math.ceil(round(coverage / (1 - coverage), 6)))


def highest_coverage(level: Level) -> float:
    """What k volumes allow: k / (k + 1); 0 for a single one, since none can be left out."""
    return len(level.without) / (len(level.without) + 1)


UNKNOWN = "no volume scored with these weights has labels; label some, and calibrate"
"""Why levels of a parent's regions have no interval."""


def _unknown(level: Level) -> bool:
    """Whether no volume says how far off a level is, as of a parent's regions."""
    return level.volumes > 1 and not level.without


def too_few(level: Level, coverage: float) -> str:
    """Why a level has no interval."""
    if _unknown(level):
        return UNKNOWN
    tell = len(level.without) or level.volumes
    volumes = f"{tell} labelled volume{'s' * (tell != 1)}"
    return (
        f"{volumes} allow{'s' * (tell == 1)} at most "
        f"{100 * highest_coverage(level):.0f} %; lower the coverage, or calibrate on "
        f"{needed(coverage)} volumes"
    )


def notes(regions: Regions, coverage: float) -> tuple[str, ...]:
    """A line that names the levels without an interval, if there are any."""
    lack = {name: level for name, level in regions.levels().items() if not enough(level, coverage)}
    if not lack:
        return ()
    why = f"fewer than {needed(coverage)} labelled volumes show them; try a lower `coverage`"
    if all(map(_unknown, lack.values())):
        why = UNKNOWN
    return (f"no interval at {100 * coverage:g} % for {', '.join(lack)}: {why}",)


def landmark_rows(
    regions: Regions,
    key: str,
    scores: NDArray[np.floating],
    z_mm: NDArray[np.floating],
    coverage: float,
) -> list[dict[str, object]]:
    """A series' rows of landmarks.csv: its landmarks and borders from superior to inferior.

    What is not known is left empty.
    """
    rows: list[dict[str, object]] = []
    for name, level in regions.levels().items():
        found = locate(scores, z_mm, level, coverage)
        mm = {
            column: "" if value is None else round(value, 2)
            for column, value in (
                ("z_mm", found.z_mm),
                ("low_mm", found.low_mm),
                ("high_mm", found.high_mm),
            )
        }
        index = "" if found.index is None else found.index
        rows.append(
            {"series": key, "landmark": name, **mm, "index": index, "outside": found.outside}
        )
    return rows
