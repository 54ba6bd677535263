"""How a curve deviates from a line: by its rate, by jumps, by departures from which it returns, by
a kink.

Curves are of levels: a slice's score divided by the network's slope (score/mm), that is the place
in the body, in mm, at which the network puts it. A correct level rises 1 mm per mm; the residual is
the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .line import theil_sen

Floats = NDArray[np.float64]

STEP_MM = 30.0
"""Levels beside a jump are medians over this far, and both sides are at least this long."""
BUMP_MM = 80.0
"""A slice is compared with the median over this far to both sides."""
LAG_MM = (40.0, 80.0)
"""Pairs that tell the rate: far enough for noise, near enough that few span a jump."""
PART_MM = 150.0
"""Series that show what is typical are at least this long, and so are both parts of a series whose
rates are compared.
"""


@dataclass(frozen=True)
class LevelCurve:
    """Slices that are looked at. index: in the series. level, z: mm, z from the superior end."""

    index: NDArray[np.int64]
    level: Floats
    z: Floats

    @property
    def extent(self) -> float:
        return float(self.z[-1] - self.z[0])

    def turned(self) -> LevelCurve:
        return LevelCurve(self.index[::-1], self.level[::-1], self.z[-1] - self.z[::-1])

    def without(self, gone: NDArray[np.bool_], *, closed: bool) -> LevelCurve:
        """The other slices; closed: moved together, as if those had never been there."""
        z = np.cumsum(np.where(gone, 0, np.diff(self.z, prepend=self.z[0]))) if closed else self.z
        return LevelCurve(self.index[~gone], self.level[~gone], z[~gone])

    def error(self) -> Floats:
        return self.level - self.z


def rate_of(level: Floats, z: Floats) -> float:
    """Median slope of pairs at a middle distance, at least of neighbours."""
    far = max(min(LAG_MM[1], float(z[-1] - z[0]) / 2), 1.5 * float(np.median(np.diff(z))))
    apart = z[None] - z[:, None]
    pairs = (apart >= min(LAG_MM[0], far / 2)) & (apart <= far)
    return (
        float(np.median((level[None] - level[:, None])[pairs] / apart[pairs]))
        if pairs.any()
        else 0.0
    )


def spread_of(values: Floats) -> float:
    """Standard deviation of the bulk of the values."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _near(curve: LevelCurve, k: int, side: int) -> Floats:
    """Errors of the slices within a short way above (-1) or below (1) of where slice k begins; at
    least three, if there are.
    """
    if side < 0:
        return curve.error()[
            min(int(np.searchsorted(curve.z, curve.z[k - 1] - STEP_MM)), k - 3) : k
        ]
    return curve.error()[
        k : max(int(np.searchsorted(curve.z, curve.z[k] + STEP_MM, side="right")), k + 3)
    ]


def steps_of(curve: LevelCurve) -> Floats:
    """The jump before each slice in mm: the error's step to its neighbour or from one side to the
    other, whichever is smaller.

    0 where a side is shorter than three slices or 30 mm: it takes a line on both sides.
    """
    error, z, leaps = curve.error(), curve.z, np.zeros(len(curve.z))
    for k in range(3, len(error) - 2):
        if z[k - 1] - z[0] < STEP_MM or z[-1] - z[k] < STEP_MM:
            continue
        step, stays = (
            error[k] - error[k - 1],
            np.median(_near(curve, k, 1)) - np.median(_near(curve, k, -1)),
        )
        if step * stays > 0:
            leaps[k] = math.copysign(min(abs(step), abs(stays)), step)
    return leaps


def cuts_of(curve: LevelCurve, start: int, end: int, limit: float) -> list[tuple[int, float]]:
    """The slices that jumps go before, and the jumps in mm, largest first found, in order."""
    if start == end:
        return []
    leaps = steps_of(LevelCurve(curve.index[start:end], curve.level[start:end], curve.z[start:end]))
    k = int(np.abs(leaps).argmax())
    if abs(leaps[k]) <= limit:
        return []
    return [
        *cuts_of(curve, start, start + k, limit),
        (start + k, float(leaps[k])),
        *cuts_of(curve, start + k, end, limit),
    ]


def bumps_of(curve: LevelCurve) -> Floats:
    """How far each slice departs from those above it and from those below it, in mm: the smaller of
    both, 0 where they disagree.

    A slice beside a jump departs from one side only. At the ends there is one side, which counts
    half: lines end at the vertex, and where a body was rare in training.
    """
    error = curve.error()
    low, high = (
        np.searchsorted(curve.z, curve.z - BUMP_MM),
        np.searchsorted(curve.z, curve.z + BUMP_MM, side="right"),
    )
    bumps = np.zeros(len(error))
    for k, (a, b) in enumerate(zip(low, high, strict=True)):
        if curve.z[k] - curve.z[0] < STEP_MM or curve.z[-1] - curve.z[k] < STEP_MM:
            bumps[k] = (error[k] - np.median(error[a:b])) / 2
        else:
            above, below = (
                error[k] - np.median(error[min(a, k - 1) : k]),
                error[k] - np.median(error[k + 1 : max(b, k + 2)]),
            )
            bumps[k] = (
                math.copysign(min(abs(above), abs(below)), above) if above * below > 0 else 0.0
            )
    return bumps


def kink_of(curve: LevelCurve) -> tuple[int, float]:
    """Where two lines fit best, and the logarithm of how much steeper the second is; 0 where the
    series is too short.
    """
    thin = max(1, len(curve.z) // 200)
    level, z = curve.level[::thin], curve.z[::thin]
    best, found = math.inf, (0, 0.0)
    for k in np.unique(np.linspace(0, len(z), 25).astype(int)):
        if k < 5 or len(z) - k < 5 or z[k] - z[0] < PART_MM or z[-1] - z[k] < PART_MM:
            continue
        (a, at_a), (b, at_b) = (
            theil_sen(level[part], z[part]) for part in (slice(0, k), slice(k, None))
        )
        loss = float(
            np.abs(level[:k] - at_a - a * z[:k]).sum() + np.abs(level[k:] - at_b - b * z[k:]).sum()
        )
        if loss < best and min(a, b) > 0:
            best, found = loss, (int(k) * thin, math.log(b / a))
    return found


def runs_of(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
