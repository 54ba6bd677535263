"""The straight line that fits a score curve: slope, range and direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import pearson_r

PAPER_R = 0.99
"""The paper suspects a volume whose Pearson r of score with position is lower."""


@dataclass(frozen=True)
class FittedLine:
    """A line through a score curve.

    robust_slope: score/mm (Theil-Sen). first_score, last_score: the line's scores at both ends.
    direction: "down" if scores rise from the first slice to the last, as they should; "up" if they
    fall; "" if neither. paper_rule: whether r is below 0.99.
    """

    robust_slope: float
    first_score: float
    last_score: float
    direction: str
    paper_rule: bool


def fit_line(scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> FittedLine:
    """Fit the line. Its numbers are NaN where fewer than two slices have a score."""
    known = np.isfinite(scores)
    s, z = np.asarray(scores, np.float64)[known], np.asarray(z_mm, np.float64)[known]
    if len(s) < 2 or not (np.diff(z) > 0).all():
        return FittedLine(math.nan, math.nan, math.nan, "", False)
    slope, intercept = theil_sen(s, z)
    direction = "down" if slope > 0 else "up" if slope < 0 else ""
    r = pearson_r(s, z)
    return FittedLine(
        float(slope),
        float(intercept + slope * z[0]),
        float(intercept + slope * z[-1]),
        direction,
        bool(r < PAPER_R),
    )


def theil_sen(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept: the median slope of all pairs, and medians that lie on the line.

    As `scipy.stats.theilslopes`. x: ascending, no two alike.
    """
    one, other = np.triu_indices(len(x), 1)
    slope = np.median((y[other] - y[one]) / (x[other] - x[one]))
    return float(slope), float(np.median(y) - slope * np.median(x))
