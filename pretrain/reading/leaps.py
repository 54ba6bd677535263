"""Slices that leave the line of a curve, and jumps between neighbouring slices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .deviations import BUMP_MM, STEP_MM, LevelCurve, bumps_of, cuts_of, runs_of
from .finding import FACTOR, Finding, exceeding
from .reference import Reference

GAP_MM = 200.0
"""A longer jump ahead is taken for the joint of two series."""


def departures_of(curve: LevelCurve, reference: Reference) -> tuple[list[Finding], LevelCurve]:
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


def leaps_of(curve: LevelCurve, reference: Reference, rate: float) -> list[Finding]:
    """Jumps between neighbouring slices, with a line on both sides.

    rate: what the scan's z was multiplied with; reasons state the scan's own mm.
    """
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
            found.append(_leap(curve, first, size, limit, reference, rate))
            del cuts[0]
    return found


def _leap(
    curve: LevelCurve, k: int, size: float, limit: float, reference: Reference, rate: float
) -> Finding:
    """The kind of a jump between the slices k - 1 and k from which the curve does not return."""
    beside, step, usual = (
        curve.index[k - 1 : k + 1],
        float(curve.z[k] - curve.z[k - 1]),
        float(np.median(np.diff(curve.z))),
    )
    where = "ahead" if size > 0 else "back"
    ahead = f"the score jumps {where} by the equivalent of {abs(size):.0f} mm between two slices"
    if size > GAP_MM:
        return exceeding("glued", beside, size, limit, f"{ahead}; it is linear on either side")
    if size > 0:
        return exceeding("gap", beside, size, limit, ahead)
    if step - usual > -size / 2:
        seen = max(step + size, 0)
        reason = (
            f"positions jump by {step / rate:.1f} mm where the score advances as over "
            f"{seen / rate:.1f} mm"
        )
        return exceeding("spacing", beside, -size, limit, reason)
    if last := _again(curve, k, -size, reference):
        return exceeding(
            "repeated",
            curve.index[k : last + 1],
            -size,
            limit,
            f"{ahead}, and the levels before it repeat",
        )
    return exceeding("glued", beside, -size, limit, f"{ahead}; it is linear on either side")


def _again(curve: LevelCurve, k: int, size: float, reference: Reference) -> int | None:
    """The last of the slices from k on whose levels came before the jump back, to within half of
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
    return exceeding("swapped", curve.index[which], size, limit, reason)


def _abnormal(curve: LevelCurve, first: int, end: int, size: float, limit: float) -> Finding:
    what = "slices leave" if end - first > 1 else "slice leaves"
    reason = (
        f"{end - first} {what} the line by up to {size:.0f} mm; the usual is "
        f"{limit / FACTOR:.0f} mm"
    )
    return exceeding("abnormal", curve.index[first:end], size, limit, reason)
