"""What a volume's score curve says about the regressor and the volume, without a label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pearson_r(scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> float:
    """Correlation of scores with position (the paper, section 3.2: below 0.99 a volume is suspect).

    The position is in mm, not the slice's index, so that a gap in the series is no fault of the curve. NaN for fewer than three slices
    or constant scores.
    """
    if len(scores) < 3 or np.ptp(scores) == 0:
        return float("nan")
    return float(np.corrcoef(scores, z_mm)[0, 1])


def ordered_share(scores: NDArray[np.floating]) -> float:
    """Share of slice pairs (j, k), j above k, whose scores are in that order; equal scores count as wrong. NaN for a single slice."""
    n = len(scores)
    if n < 2:
        return float("nan")
    return float((scores[None, :] > scores[:, None])[np.triu_indices(n, 1)].mean())
