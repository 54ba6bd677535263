"""Positions on a body axis in mm, read from a whole series at once.

A score is made from one slice, and errs by some centimetres. A series errs much less: its geometry
says how far apart its slices lie, so only where it begins in the body is unknown. This holds for
weights whose scores follow millimetres, by the position loss of their training.

A line through a series' scores would hide what is wrong with it. So faults are looked for in the
scores first, and a position is never smoother than they allow:

    nothing found           a line of slope 1 through all slices
    gap, glued, spacing     a line on each side, if the finding is a jump between two slices
    abnormal, swapped       these slices keep what their scores say; the line is that of the others,
                            which must be more than half
    reversed, repeated,     no line: every slice keeps what its score says
    out_of_range, spacing
    of the whole series

Neither is there a line where the scores lie too far from it (`FAR_MM`, `FAR_SHARE`). This alone
decides where the `spacing` of a stretch is not what the header says, because weights that know a
part of the body badly look the same: their scores rise too slowly there, and the header is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .deviations import PART_MM
from .finding import Finding

MM_PER_UNIT = 50.0
"""Millimetres of the body that a score of 1 stands for, where scores follow millimetres."""
FAR_MM, FAR_SHARE = 75.0, 0.15
"""A line fits if nine of ten scores lie within this of it: mm, or a share of the series' length.

The scale of weights is bent, most where training saw few bodies, and what that adds up to grows
with the length. A header's step that is half as large again as the true one moves scores as far.
"""
LEAVING = ("abnormal", "swapped")
"""Findings of slices that leave the line, to which the curve returns."""
NO_LINE = ("reversed", "repeated", "out_of_range")
"""Findings of series whose scores do not follow the geometry."""

Axis = Literal["score", "position"]
"""Where levels of the body are looked for: scores, each from its slice, or positions."""
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
    if not (np.diff(z) > 0).all() or any(_forbids(finding, z) for finding in found):
        return Positions(by_slice, "slices")
    on_line = np.ones(len(z), bool)
    for finding in found:
        if finding.kind in LEAVING:
            on_line[finding.first : finding.last + 1] = False
    offset = by_slice - z
    cuts = sorted({finding.last for finding in found if _is_leap(finding)})
    for piece in np.split(np.arange(len(z)), cuts):
        kept = piece[on_line[piece]]
        if not 2 * len(kept) > len(piece):
            return Positions(by_slice, "slices")
        offset[kept] = np.median(offset[kept])
    far = np.quantile(np.abs(by_slice - z - offset)[on_line], 0.9, method="lower")
    if far > max(FAR_MM, FAR_SHARE * (z[-1] - z[0])):
        return Positions(by_slice, "slices")
    whole = on_line.all() and not cuts
    return Positions(z + offset, "series" if whole else "pieces")


def _forbids(finding: Finding, z_mm: NDArray[np.float64]) -> bool:
    """Whether a series with this finding has no line.

    The spacing of a stretch is compared with that of `PART_MM` above it at least.
    """
    whole = finding.kind == "spacing" and not _is_leap(finding)
    whole &= bool(z_mm[finding.first] - z_mm[0] < PART_MM)
    return finding.kind in NO_LINE or whole


def _is_leap(finding: Finding) -> bool:
    """Whether a finding lies between two slices, with a line on both sides."""
    kind, slices = finding.kind, finding.last - finding.first + 1
    return kind in ("gap", "glued") or (kind == "spacing" and slices == 2)


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
