"""What is wrong with a series, read from its score curve alone (the paper, section 3.2 and Fig. 4).

A slice's score over the model's slope (score/mm) is its level: where in the body, in mm, the model
takes it to lie. In a sound series the level rises by a mm a mm, and wanders: neighbouring slices
err alike, so that errors are large over the body and small from one slice to the next. Each fault
breaks that in its own way:

    reversed       the level falls
    spacing        it rises at another rate, in the whole series or from a slice on, or not at all where z leaps
    gap            it leaps ahead from one slice to the next, and goes on as a line
    glued          it leaps further than a gap, or back to what the series has not shown so
    repeated       it leaps back, and the same levels come again
    swapped        slices leave the line, and lie on it once they are sorted by score
    abnormal       slices leave the line, and the curve returns to it
    out_of_range   it follows no position, in the whole or in a part, or lies where no series that is a line has any

How far a sound curve errs depends on the model, so each limit is a multiple of what is typical of
the `Reference`, the median over the series that were scored together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from .curve import pearson_r
from .deviations import (
    BUMP_MM,
    PART_MM,
    STEP_MM,
    Floats,
    LevelCurve,
    bumps_of,
    cuts_of,
    kink_of,
    rate_of,
    runs_of,
    spread_of,
    steps_of,
)

KINDS = ("reversed", "spacing", "gap", "repeated", "glued", "swapped", "abnormal", "out_of_range")
PAPER_R = 0.99
"""The paper suspects a volume whose Pearson r of score with position is lower."""

FACTOR = 4.5
"""A leap, a departure or a change of slope is a fault if it is so many times as large as the
largest in the typical series.
"""
SIGMAS = 3.0
"""Standard deviations by which the slope of a whole series must differ."""
GAP_MM = 200.0
"""A leap ahead that is longer is taken for two series."""
LOST = 0.25
"""Share of the usual slope below which scores may follow nothing."""
SAME_MM = 1e-3
"""Scores of the same pixels differ by no more, those of other slices hardly ever by so little."""
ENOUGH = 5
"""Series that are needed to know what is typical."""


@dataclass(frozen=True)
class Finding:
    """One fault. kind: of `KINDS`. first, last: slices, 0 at the superior end, both included; a
    leap is between the two. confidence: 0.5 at the limit, towards 1 the further beyond. reason: a
    sentence with the numbers.
    """

    kind: str
    first: int
    last: int
    confidence: float
    reason: str


@dataclass(frozen=True)
class Reference:
    """A sound curve of this model. All in mm are levels.

    slope: score/mm. spread: standard deviation of the logarithm of the slope from series to series.
    wander_mm: standard deviation about the series' own line. step_mm, bump_mm: the largest leap
    between neighbours, and the largest departure from the neighbourhood, in the typical series;
    that they are far smaller than errors without memory would give is how much neighbours err
    alike. kink: the largest change of slope (its logarithm) in the typical series. low, high:
    scores that series which are lines have.
    """

    slope: float
    spread: float = 0.1
    wander_mm: float = 10.0
    step_mm: float = 15.0
    bump_mm: float = 25.0
    kink: float = 0.13
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Facts:
    """robust_slope: score/mm (Theil-Sen). first_score, last_score: of that line at both ends.
    direction: "down" if scores rise from the first slice to the last as they should, "up" if they
    fall, "" if neither. paper_rule: whether r is below 0.99.
    """

    robust_slope: float
    first_score: float
    last_score: float
    direction: str
    paper_rule: bool


def facts(scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> Facts:
    """Slope, range and direction of a curve, and what the paper's rule says.

    NaN where fewer than two slices have a score.
    """
    known = np.isfinite(scores)
    s, z = np.asarray(scores, np.float64)[known], np.asarray(z_mm, np.float64)[known]
    if len(s) < 2 or not (np.diff(z) > 0).all():
        return Facts(math.nan, math.nan, math.nan, "", False)
    slope, intercept = theilslopes(s, z)[:2]
    direction = "down" if slope > 0 else "up" if slope < 0 else ""
    r = pearson_r(s, z)
    return Facts(
        float(slope),
        float(intercept + slope * z[0]),
        float(intercept + slope * z[-1]),
        direction,
        bool(r < PAPER_R),
    )


def reference_of(curves: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Reference:
    """What sound curves of a model look like, from curves (scores, z_mm) most of which are sound.

    Each number is the median over the series of at least 150 mm and ten slices, so that it stands
    while fewer than half have a fault. With fewer than five such series only the slope is theirs,
    and the rest are the usual values of a trained model. The slope is NaN where no series has one.
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


def findings(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], *, reference: Reference
) -> tuple[Finding, ...]:
    """What is wrong with a series.

    Args:
        scores: `[n]` superior to inferior.
        z_mm: `[n]` mm below the first slice, as the header says.
        reference: sound curves of the same model.

    Returns:
        Findings by their first slice. None for fewer than three slices with a score. Where z does
            not increase that is the only one.

    Raises:
        ValueError: scores and positions are not of one length.
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
    if np.ptp(s) == 0:
        return [
            Finding(
                "out_of_range",
                int(index[0]),
                int(index[-1]),
                1.0,
                f"all {len(s)} slices have the score {s[0]:.2f}",
            )
        ]
    if not reference.slope > 0:
        return []
    curve = LevelCurve(index, s / reference.slope, z - z[0])
    if np.abs(np.diff(curve.level)).max() <= SAME_MM:  # the same but for rounding
        return [
            Finding(
                "out_of_range",
                int(index[0]),
                int(index[-1]),
                1.0,
                f"all {len(s)} slices have the score {s[0]:.2f}",
            )
        ]
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
            f"the score falls by {-rate * reference.slope:.4f} a mm over {curve.extent:.0f} "
            f"mm; sound series rise by {reference.slope:.4f}"
        )
        found.append(_finding("reversed", curve.index, size, reference.bump_mm, reason))
        curve = curve.turned()
    whole = _whole_spacing(curve, abs(rate), reference)
    curve = replace(curve, z=curve.z * abs(rate))
    departed, curve = _departures(curve, reference)
    leaps = _leaps(curve, reference)
    part = [] if departed or leaps else _part_spacing(curve, reference)
    return [*found, *departed, *leaps, *(part or whole)]


def _without_empty_ends(curve: LevelCurve) -> LevelCurve:
    """Without slices of one score at the ends, but for the innermost:

    they hold no body, as above the head.
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
    reason = f"{len(where)} slices have the very score of the one {lag} before"
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
            f"the median score {level * reference.slope:.2f} is beyond "
            f"{reference.low:.2f}..{reference.high:.2f}, where all lines are"
        )
        return _finding("out_of_range", curve.index, beyond, margin, reason)
    rate, r = abs(rate_of(curve.level, curve.z)), pearson_r(curve.level, curve.z)
    rises = abs(r) > 0.5 and rate * curve.extent > margin
    if rate < LOST and not rises and curve.extent > 2 * margin:
        reason = (
            f"the score follows no position over {curve.extent:.0f} mm: r {r:.2f}, "
            f"{rate:.2f} of the usual slope"
        )
        return _finding("out_of_range", curve.index, LOST, rate, reason)
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
    return [_finding("spacing", curve.index, size, limit, reason)]


def _part_spacing(curve: LevelCurve, reference: Reference) -> list[Finding]:
    """Another slope from some slice on, or hardly any on one side.

    Where the model's scale ends it is flatter in sound series too.
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
        return [_finding("out_of_range", curve.index[flat], size, limit, reason)]
    return [_finding("spacing", curve.index[k:], size, limit, reason)]


def _departures(curve: LevelCurve, reference: Reference) -> tuple[list[Finding], LevelCurve]:
    """Slices that leave their neighbourhood, and the curve without them."""
    bumps, limit = bumps_of(curve), FACTOR * reference.bump_mm
    runs = [
        (a, b)
        for a, b in runs_of(np.abs(bumps) > limit / 2)
        if np.abs(bumps[a : b + 1]).max() > limit
    ]
    found: list[Finding] = []
    level, gone = curve.level.copy(), np.zeros(len(bumps), bool)
    while runs:
        a, b = runs.pop(0)
        size = float(np.abs(bumps[a : b + 1]).max())
        for i in range(len(runs), 0, -1):
            both = np.concatenate(
                [np.arange(first, last + 1) for first, last in ((a, b), runs[i - 1])]
            )
            if _sorts(curve, both, limit / 2):
                found.append(_swapped(curve, both, size, limit))
                level[both] = np.sort(level[both])
                del runs[i - 1]
                break
        else:
            found.append(_abnormal(curve, a, b + 1, size, limit))
            gone[a : b + 1] = True
    return found, replace(curve, level=level).without(gone, closed=False)


def _leaps(curve: LevelCurve, reference: Reference) -> list[Finding]:
    """Leaps between neighbours, both sides of which go on."""
    limit = FACTOR * reference.step_mm
    cuts = cuts_of(curve, 0, len(curve.z), limit)
    found = []
    while cuts:
        first, size = cuts[0]
        for i in range(len(cuts), 1, -1):
            end = cuts[i - 1][0]
            back = abs(sum(leap for _, leap in cuts[:i])) < limit
            if back and _sorts(curve, np.arange(first, end), limit):
                found.append(_swapped(curve, np.arange(first, end), abs(size), limit))
            elif back and curve.z[end - 1] - curve.z[first] <= 2 * BUMP_MM:
                found.append(_abnormal(curve, first, end, abs(size), limit))
            else:
                continue
            del cuts[:i]
            break
        else:
            found.append(_leap(curve, first, size, limit, reference))
            del cuts[0]
    return found


def _leap(curve: LevelCurve, k: int, size: float, limit: float, reference: Reference) -> Finding:
    """The kind of a leap between the slices k - 1 and k from which the curve does not return."""
    beside, step, usual = (
        curve.index[k - 1 : k + 1],
        float(curve.z[k] - curve.z[k - 1]),
        float(np.median(np.diff(curve.z))),
    )
    ahead = (
        f"the score leaps {abs(size):.0f} mm {'ahead' if size > 0 else 'back'} within {step:.1f} mm"
    )
    if size > GAP_MM:
        return _finding("glued", beside, size, limit, f"{ahead}, and both sides are lines")
    if size > 0:
        return _finding("gap", beside, size, limit, ahead)
    if step - usual > -size / 2:
        reason = (
            f"z leaps {step:.1f} mm where the score goes on as for {max(step + size, 0):.1f} mm"
        )
        return _finding("spacing", beside, -size, limit, reason)
    if last := _again(curve, k, -size, reference):
        return _finding(
            "repeated",
            curve.index[k : last + 1],
            -size,
            limit,
            f"{ahead}, and the levels before it come again",
        )
    return _finding("glued", beside, -size, limit, f"{ahead}, and both sides are lines")


def _again(curve: LevelCurve, k: int, size: float, reference: Reference) -> int | None:
    """The last of the slices from k on whose levels came before the leap back, to within half of
    what a curve wanders.
    """
    before, after = slice(0, k), slice(k, len(curve.z))
    best, last = math.inf, None
    for lag in size + np.arange(-20.0, 21.0):
        at = curve.z[after] - lag
        seen = at <= curve.z[k - 1]
        if seen.sum() < 3 or at[0] < curve.z[0] - STEP_MM:
            continue
        apart = curve.level[after][seen] - np.interp(at[seen], curve.z[before], curve.level[before])
        if (rms := float(np.sqrt(np.mean(apart**2)))) < best:
            best, last = rms, k + int(seen.sum()) - 1
    return last if best < reference.wander_mm / 2 else None


def _sorts(curve: LevelCurve, which: NDArray[np.int64], limit: float) -> bool:
    """Whether these slices lie on the line of the ten others that are nearest once they are in the
    order of their scores.
    """
    others = np.setdiff1d(np.arange(len(curve.z)), which)
    if not len(others):
        return False
    z, error = curve.z[which], curve.error()[others]
    nearest = np.argsort(np.abs(curve.z[others][None] - z[:, None]), 1)[:, :10]
    return bool(
        np.abs(np.sort(curve.level[which]) - z - np.median(error[nearest], 1)).max() < limit
    )


def _swapped(curve: LevelCurve, which: NDArray[np.int64], size: float, limit: float) -> Finding:
    reason = (
        f"{len(which)} slices leave the line by up to {size:.0f} mm, and lie on it once "
        "they are in the order of their scores"
    )
    return _finding("swapped", curve.index[which], size, limit, reason)


def _abnormal(curve: LevelCurve, first: int, end: int, size: float, limit: float) -> Finding:
    what = "slices leave" if end - first > 1 else "slice leaves"
    reason = (
        f"{end - first} {what} the line by up to {size:.0f} mm; the usual is "
        f"{limit / FACTOR:.0f} mm"
    )
    return _finding("abnormal", curve.index[first:end], size, limit, reason)


def _finding(
    kind: str, index: NDArray[np.int64], size: float, limit: float, reason: str
) -> Finding:
    return Finding(
        kind, int(index.min()), int(index.max()), round(1 - limit / (2 * size), 3), reason
    )
