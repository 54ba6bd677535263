"""Positions on a body axis in mm, read from a whole series at once.

A score is made from one slice, and errs by some centimetres. A series errs much less: its geometry
says how far apart its slices lie, so only where it begins in the body is unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def body_positions(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], mm_per_score: float
) -> NDArray[np.float64]:
    """Position of each slice in mm below the place of the body whose score is 0, `[n]`.

    A line of slope 1 through the scores in mm; its offset, the only free number, is the median over
    the slices. So single wrong slices do not matter. Faults of the series (a gap, swapped halves)
    do not show here: they are looked for in the scores.

    Args:
        scores: `[n]`, superior to inferior.
        z_mm: `[n]`, mm below the first slice.
        mm_per_score: millimetres that a score of 1 stands for in these weights.
    """
    z = np.asarray(z_mm, np.float64)
    return z + float(np.median(mm_per_score * np.asarray(scores, np.float64) - z))
