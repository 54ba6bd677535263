"""Positions on a body axis in mm, read from a whole series at once.

A score is made from one slice, and errs by some centimetres. A series errs much less: its geometry
says how far apart its slices lie, so only where it begins in the body is unknown. This holds for
weights whose scores follow millimetres, by the position loss of their training.

A line through a series' scores would hide what is wrong with it. So faults are looked for in the
scores first, and a position is never smoother than they allow:

    nothing found           a line of slope 1 through all slices
    gap, glued              a line on each side of the leap
    abnormal, swapped       these slices keep what their scores say; the line is that of the others
    reversed, spacing,      no line: every slice keeps what its score says
    repeated, out_of_range

Neither is there a line where the scores lie too far from it (`SPREAD_MM`, `BENT`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .deviations import spread_of
from .finding import FACTOR, Finding
from .reference import Reference

MM_PER_UNIT = 50.0
"""Millimetres of the body that a score of 1 stands for, where scores follow millimetres."""
SPREAD_MM = FACTOR * Reference.wander_mm
"""A line fits if the bulk of the scores deviates from it by at most this (standard deviation).

It is the same multiple of what is usual as makes any other deviation a fault.
"""
BENT = 0.25
"""It also fits if they deviate by at most this share of the spread that the slices themselves have.

The scale of weights is bent, where training saw few bodies most: by so much it may rise too slowly
or too fast. What that adds up to grows with the length of a series.
"""
LEAPS = ("gap", "glued")
"""Findings between two slices, with a line on both sides."""
LEAVING = ("abnormal", "swapped")
"""Findings of slices that leave the line, to which the curve returns."""

Axis = Literal["score", "position"]
"""What levels of the body are told by: scores, each from its slice, or positions."""
Context = Literal["series", "pieces", "slices"]
"""What positions come from: one line, lines through parts of the series, or each slice's score."""


class Positions(NamedTuple):
    """mm: `[n]`, below the place of the body whose score is 0. context: what they come from."""

    mm: NDArray[np.float64]
    context: Context


def positions(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], found: Sequence[Finding]
) -> Positions:
    """Position of each slice on the body axis.

    A line has slope 1 in mm; its offset, the only free number, is the median over its slices. So
    single wrong slices do not matter.

    Args:
        scores: `[n]`, superior to inferior, of weights whose scores follow millimetres.
        z_mm: `[n]`, mm below the first slice.
        found: the series' findings.
    """
    z = np.asarray(z_mm, np.float64)
    by_slice = MM_PER_UNIT * np.asarray(scores, np.float64)
    if any(finding.kind not in (*LEAPS, *LEAVING) for finding in found):
        return Positions(by_slice, "slices")
    on_line = np.ones(len(z), bool)
    for finding in found:
        if finding.kind in LEAVING:
            on_line[finding.first : finding.last + 1] = False
    offset = by_slice - z
    cuts = sorted({finding.last for finding in found if finding.kind in LEAPS})
    for piece in np.split(np.arange(len(z)), cuts):
        kept = piece[on_line[piece]]
        if not 2 * len(kept) > len(piece):
            return Positions(by_slice, "slices")
        offset[kept] = np.median(offset[kept])
    if spread_of((by_slice - z - offset)[on_line]) > max(SPREAD_MM, BENT * spread_of(z)):
        return Positions(by_slice, "slices")
    return Positions(z + offset, "pieces" if found else "series")


def on_axis(
    axis: Axis, scores: NDArray[np.floating], position_mm: NDArray[np.floating] | None
) -> NDArray[np.floating]:
    """The numbers that levels are looked for in, `[n]`: scores, or positions in units of the score.

    Both are levels of the same scale, so whatever reads curves reads either.

    Raises:
        ValueError: there are no positions.
    """
    if axis == "score":
        return scores
    if position_mm is None:
        raise ValueError(
            "these scores have no positions: their weights were trained without the position "
            "loss, or an earlier version scored them; give regions made with axis `score`, or "
            "score again into a new folder"
        )
    return np.asarray(position_mm, np.float64) / MM_PER_UNIT
