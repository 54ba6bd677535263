"""What is wrong with a series, read from its score curve alone (the paper, section 3.2 and Fig. 4).

A slice's score divided by the model's slope (score/mm) is its level: the position in the body, in
mm, at which the model places it. In an intact series the level rises by 1 mm per mm. It also
wanders: neighbouring slices err alike, so errors are large over the body and small from one slice
to the next. Each fault breaks this in its own way:

    reversed       the level falls
    spacing        it rises at another rate, in the whole series or from a slice on,
                   or not at all where z jumps
    gap            it jumps ahead from one slice to the next, and continues as a line
    glued          it jumps further than a gap, or back to levels that it has not passed in order
    repeated       it jumps back, and the same levels come again
    swapped        slices leave the line, and lie on it once they are sorted by score
    abnormal       slices leave the line, and the curve returns to it
    out_of_range   it follows no position, in the whole or in a part,
                   or lies where no straight series has levels

How far an intact curve errs depends on the model. Each limit is therefore a multiple of what is
typical in the `Reference`, the median over the series that were scored together.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .curve import pearson_r
from .deviations import PART_MM, Floats, LevelCurve, kink_of, rate_of, runs_of
from .finding import FACTOR, Finding, exceeding
from .leaps import departures_of, leaps_of
from .reference import Reference

SIGMAS = 3.0
"""Standard deviations by which the slope of a whole series must differ."""
LOST = 0.25
"""Share of the usual slope below which scores may follow no position."""
SAME_MM = 1e-3
"""Scores of the same pixels differ by at most this; those of other slices by more, nearly always.
"""


def findings(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], *, reference: Reference
) -> tuple[Finding, ...]:
    """What is wrong with a series.

    Args:
        scores: `[n]` superior to inferior.
        z_mm: `[n]` mm below the first slice, as the header says.
        reference: intact curves of the same model.

    Returns:
        Findings, ordered by their first slice. None for fewer than three slices with a score. Where
            z does not increase, that is the only finding.

    Raises:
        ValueError: scores and positions differ in length.
    """
    s, z = np.asarray(scores, np.float64), np.asarray(z_mm, np.float64)
    if s.ndim != 1 or s.shape != z.shape:
        raise ValueError(
            f"scores and z_mm must be of one length, got shapes {s.shape} and {z.shape}"
        )
    wrong = np.flatnonzero(~(np.diff(z) > 0))
    if len(wrong):
        reason = (
            f"z does not increase at {len(wrong)} of {len(z) - 1} steps, first from "
            f"{z[wrong[0]]:.1f} to {z[wrong[0] + 1]:.1f} mm"
        )
        return (Finding("spacing", int(wrong[0]), int(wrong[-1]) + 1, 1.0, reason),)
    known = np.isfinite(s)
    found = [
        Finding("out_of_range", a, b, 1.0, f"{b - a + 1} slices have no score")
        for a, b in runs_of(~known)
    ]
    if known.sum() >= 3:
        found += _findings(np.flatnonzero(known), s[known], z[known], reference)
    return tuple(sorted(found, key=lambda f: (f.first, f.last)))


def _findings(
    index: NDArray[np.int64], s: Floats, z: Floats, reference: Reference
) -> list[Finding]:
    """The findings of slices that have a score, at increasing positions."""
    constant = Finding(
        "out_of_range",
        int(index[0]),
        int(index[-1]),
        1.0,
        f"all {len(s)} slices have the score {s[0]:.2f}",
    )
    if np.ptp(s) == 0:
        return [constant]
    if not reference.slope > 0:
        return []
    curve = LevelCurve(index, s / reference.slope, z - z[0])
    if np.abs(np.diff(curve.level)).max() <= SAME_MM:  # the same but for rounding
        return [constant]
    if lost := _lost(curve, reference):
        return [lost]
    found, curve = _copies(_without_empty_ends(curve))
    if len(curve.z) < 3:
        return found
    rate = rate_of(curve.level, curve.z)
    if rate <= 0:
        size = -rate * curve.extent
        if size <= reference.bump_mm:
            return found  # too short to tell
        reason = (
            f"the score falls by {-rate * reference.slope:.4f} per mm over {curve.extent:.0f} "
            f"mm; intact series rise by {reference.slope:.4f}"
        )
        found.append(exceeding("reversed", curve.index, size, reference.bump_mm, reason))
        curve = curve.turned()
    whole = _whole_spacing(curve, abs(rate), reference)
    curve = replace(curve, z=curve.z * abs(rate))
    departed, curve = departures_of(curve, reference)
    leaps = leaps_of(curve, reference, abs(rate))
    part = [] if departed or leaps else _part_spacing(curve, reference)
    return [*found, *departed, *leaps, *(part or whole)]


def _without_empty_ends(curve: LevelCurve) -> LevelCurve:
    """The curve without slices of one score at its ends, except the innermost.

    Such slices hold no body, as above the head.
    """
    moves = np.flatnonzero(np.abs(np.diff(curve.level)) > SAME_MM)
    inner = slice(int(moves[0]), int(moves[-1]) + 2)
    return LevelCurve(curve.index[inner], curve.level[inner], curve.z[inner])


def _copies(curve: LevelCurve) -> tuple[list[Finding], LevelCurve]:
    """Slices whose scores come again exactly, at one distance: the same pixels twice."""
    n = len(curve.level)
    best, lag = np.zeros(n, bool), 0
    for distance in range(1, n):
        apart = np.abs(curve.level[distance:] - curve.level[:-distance])
        again = np.concatenate([np.zeros(distance, bool), apart <= SAME_MM])
        chance = (
            np.mean(apart <= 100 * SAME_MM) / 100 * len(apart)
        )  # of slices that only happen to be so alike
        if again.sum() > max(1 + 10 * chance, best.sum()):
            best, lag = again, distance
    if not lag:
        return [], curve
    where = curve.index[best]
    reason = f"{len(where)} slices have exactly the score of the one {lag} before"
    return [Finding("repeated", int(where[0]), int(where[-1]), 1.0, reason)], curve.without(
        best, closed=True
    )


def _lost(curve: LevelCurve, reference: Reference) -> Finding | None:
    """A curve that follows no position, or lies where no line does."""
    level, margin = float(np.median(curve.level)), reference.bump_mm
    low, high = reference.low / reference.slope, reference.high / reference.slope
    beyond = max(low - level, level - high)
    if beyond > margin:
        reason = (
            f"the median score, {level * reference.slope:.2f}, lies outside the range of intact "
            f"series, {reference.low:.2f} to {reference.high:.2f}"
        )
        return exceeding("out_of_range", curve.index, beyond, margin, reason)
    rate, r = abs(rate_of(curve.level, curve.z)), pearson_r(curve.level, curve.z)
    rises = abs(r) > 0.5 and rate * curve.extent > margin
    if rate < LOST and not rises and curve.extent > 2 * margin:
        reason = (
            f"the score follows no position over {curve.extent:.0f} mm: r {r:.2f}, "
            f"{rate:.2f} of the usual slope"
        )
        return exceeding("out_of_range", curve.index, LOST, rate, reason)
    return None


def _whole_spacing(curve: LevelCurve, rate: float, reference: Reference) -> list[Finding]:
    """Another slope than any body's. That of a short series is uncertain by its wandering."""
    uncertain = math.hypot(
        reference.spread, math.sqrt(12) * reference.wander_mm / (min(1.0, rate) * curve.extent)
    )
    size, limit = abs(math.log(rate)), SIGMAS * uncertain
    if size <= limit:
        return []
    step = float(np.median(np.diff(curve.z)))
    reason = (
        f"the score's slope is {rate:.2f} times the usual one, as if slices were "
        f"{step * rate:.2f} mm apart and not {step:.2f}"
    )
    return [exceeding("spacing", curve.index, size, limit, reason)]


def _part_spacing(curve: LevelCurve, reference: Reference) -> list[Finding]:
    """Another slope from some slice on, or hardly any on one side.

    Where the model's scale ends it is flatter in intact series too.
    """
    k, change = kink_of(curve)
    size, limit = abs(change), FACTOR * reference.kink
    flat, end = (slice(k, None), reference.high) if change < 0 else (slice(0, k), reference.low)
    if size <= limit or abs(float(np.median(curve.level[flat])) - end / reference.slope) < PART_MM:
        return []
    reason = (
        f"the score rises {math.exp(change):.2f} times as fast from slice {curve.index[k]} "
        "on as before"
    )
    if math.exp(-size) < LOST:  # no header is so wrong: there the model tells no slices apart
        return [exceeding("out_of_range", curve.index[flat], size, limit, reason)]
    return [exceeding("spacing", curve.index[k:], size, limit, reason)]
