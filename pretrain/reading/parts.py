"""Body parts from scores: one threshold between two neighbouring parts (the paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PARTS = ("head", "neck", "chest", "abdomen", "pelvis", "thigh")
"""The parts that headers and masks are read for, from superior to inferior; regions may have
others.
"""


def check_name(name: str) -> str:
    """A name of a part or landmark, if it can stand in a table, a report and a line of text.

    Raises `ValueError` for one that a spreadsheet would take for a formula, and one that is empty,
    very long, or holds what cannot be printed.
    """
    if name[:1] in tuple("=+-@") or not 0 < len(name) <= 64 or not name.isprintable():
        raise ValueError(
            f"{name[:64]!r} cannot name a part or landmark: 1 to 64 printable characters, the "
            "first none of = + - @, with which formulas of a spreadsheet begin"
        )
    return name


def thresholds(
    scores: NDArray[np.floating], parts: Sequence[str], order: Sequence[str]
) -> NDArray[np.float64]:
    """The scores between neighbouring parts that classify labelled slices best.

    Args:
        scores: `[n]`, of the labelled slices of any number of volumes (two in the paper).
        parts: their parts.
        order: the parts from superior to inferior; each must have a slice.

    Returns:
        `[len(order) - 1]` thresholds, increasing. Each is the middle of the gap that leaves the
            fewest slices on the wrong side.

    Raises:
        ValueError: a part without a labelled slice, or a label that is not in `order`.
    """
    rank = {part: i for i, part in enumerate(order)}
    if foreign := sorted(set(parts) - set(order)):
        raise ValueError(f"labels {foreign} are not among the parts {list(order)}")
    if absent := [part for part in order if part not in set(parts)]:
        raise ValueError(f"no labelled slice of {', '.join(absent)}; add a volume that shows it")
    by_score = np.argsort(scores, kind="stable")
    s, y = np.asarray(scores, np.float64)[by_score], np.array([rank[p] for p in parts])[by_score]
    cuts = np.concatenate([[s[0] - 1], (s[:-1] + s[1:]) / 2, [s[-1] + 1]])
    # Equal scores lie on one side, so there is no cut between them.
    no_cut = np.concatenate([[False], s[:-1] == s[1:], [False]])
    chosen = []
    for part in range(len(order) - 1):
        wrong_above = np.concatenate([[0], np.cumsum(y > part)])
        wrong_below = (y <= part).sum() - np.concatenate([[0], np.cumsum(y <= part)])
        errors = np.where(no_cut, len(s) + 1, wrong_above + wrong_below)
        best = np.flatnonzero(errors == errors.min())
        chosen.append(cuts[best[len(best) // 2]])
    return np.maximum.accumulate(np.array(chosen))


def classify(
    scores: NDArray[np.floating], cuts: NDArray[np.floating], order: Sequence[str]
) -> NDArray[np.str_]:
    """The part of each slice: `order[number of thresholds at or below its score]`."""
    return np.array(order)[np.searchsorted(cuts, scores, side="right")]
