"""What the intact curves of a model look like, learned from series that were scored together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import pearson_r
from .deviations import PART_MM, LevelCurve, bumps_of, kink_of, rate_of, spread_of, steps_of

ENOUGH = 5
"""Number of series needed to know what is typical."""


@dataclass(frozen=True)
class Reference:
    """An intact curve of a model. Values in mm are levels.

    slope: score/mm. spread: standard deviation of the logarithm of the slope from series to series.
    wander_mm: standard deviation about the series' own line. step_mm, bump_mm: the largest jump
    between neighbours and the largest departure from the neighbourhood, in the typical series.
    Both are far smaller than independent errors would give, since neighbours err alike. kink: the
    largest change of slope (its logarithm) in the typical series. low, high: the range of scores
    in straight series.
    """

    slope: float
    spread: float = 0.1
    wander_mm: float = 10.0
    step_mm: float = 15.0
    bump_mm: float = 25.0
    kink: float = 0.13
    low: float = -math.inf
    high: float = math.inf


def reference_of(curves: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Reference:
    """Learn what intact curves look like from curves (scores, z_mm) most of which are intact.

    Each number is the median over the series of at least 150 mm and ten slices, so it holds as long
    as fewer than half of them have a fault. With fewer than five such series only the slope is
    learned; the rest are the usual values of a trained model. The slope is NaN where no series has
    one.
    """
    usable = []
    for scores, z_mm in curves:
        s, z = np.asarray(scores, np.float64), np.asarray(z_mm, np.float64)
        if (
            len(s) >= 10
            and np.isfinite(s).all()
            and (np.diff(z) > 0).all()
            and z[-1] - z[0] >= PART_MM
            and np.ptp(s) > 0
        ):
            usable.append((s, z, rate_of(s, z), pearson_r(s, z)))
    slopes = [abs(rate) for *_, rate, r in usable if abs(r) > 0.5 and rate]
    if not slopes:
        return Reference(math.nan)
    slope = float(np.median(slopes))
    if len(slopes) < ENOUGH:
        return Reference(slope)
    each = []
    for s, z, rate, _ in usable:
        curve = LevelCurve(np.arange(len(s)), s / slope * np.sign(rate or 1), z * abs(rate) / slope)
        each.append(
            [
                spread_of(curve.error()),
                np.abs(steps_of(curve)).max(),
                np.abs(bumps_of(curve)).max(),
                kink_of(curve)[1],
            ]
        )
    wander, step, bump = np.median(np.array(each)[:, :3], 0).tolist()
    lines = [s for s, *_, r in usable if abs(r) > 0.9]
    return Reference(
        slope=slope,
        spread=max(0.03, spread_of(np.log(np.array(slopes) / slope))),
        wander_mm=wander,
        step_mm=step,
        bump_mm=bump,
        kink=max(Reference.kink, float(np.median([abs(k) for *_, k in each]))),
        low=min((float(s.min()) for s in lines), default=-math.inf),
        high=max((float(s.max()) for s in lines), default=math.inf),
    )
