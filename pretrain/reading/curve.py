"""What a volume's score curve says about the regressor and the volume, without a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Curve(NamedTuple):
    """Scores and positions of a series, superior to inferior, `[n]`.

    z_mm: below the first slice.
    """

    scores: NDArray[np.float64]
    z_mm: NDArray[np.float64]


def pearson_r(scores: NDArray[np.floating], z_mm: NDArray[np.floating]) -> float:
    """Correlation of scores with position (the paper, section 3.2: 0.99 is its limit for a fault).

    The position is in mm, not the slice's index, so that a gap in the series is no fault of the
    curve. NaN for fewer than three slices or constant scores.
    """
    if len(scores) < 3 or np.ptp(scores) == 0:
        return float("nan")
    return float(np.corrcoef(scores, z_mm)[0, 1])


def ordered_share(scores: NDArray[np.floating]) -> float:
    """Share of slice pairs (j, k), j above k, whose scores are in that order; equal scores count as
    wrong. NaN for a single slice.
    """
    n = len(scores)
    if n < 2:
        return float("nan")
    return float((scores[None, :] > scores[:, None])[np.triu_indices(n, 1)].mean())


def line_errors_mm(
    scores: Sequence[NDArray[np.floating]], z_mm: Sequence[NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Distance in mm of each volume's curve from a straight line, root mean square; all lines share
    one slope, each has its own offset.

    The label-free quality of a regressor over several volumes. It sees what r cannot: a volume
    whose scores rise evenly but too slowly, as where a part of the body has collapsed. The slope is
    the least-squares one over all volumes. Where it is not positive, scores say nothing of
    position, and the error is the position's own spread.
    """
    s, z = ([np.asarray(v, np.float64) - np.mean(v) for v in values] for values in (scores, z_mm))
    slope = sum(float(a @ b) for a, b in zip(s, z, strict=True)) / max(
        sum(float(b @ b) for b in z), 1e-12
    )
    return np.array(
        [
            np.sqrt(np.mean(((a / slope if slope > 0 else 0) - b) ** 2))
            for a, b in zip(s, z, strict=True)
        ]
    )


class Passage(NamedTuple):
    """z_mm: where a curve passes a score, in mm below the first slice. outside: "superior" or
    "inferior" if it does so beyond that end, else "". z_mm is then the position of the end slice.
    """

    z_mm: float
    outside: str


def passage(scores: NDArray[np.floating], z_mm: NDArray[np.floating], level: float) -> Passage:
    """Where a curve passes `level`: at the cut that leaves the fewest slices on the wrong side.

    Wrong are slices above the cut that score at least the level, and slices below it that do not.
    So single wrong slices, and a curve that crosses the level several times, move it little. Of
    equally good cuts it is the median; it lies midway between two slices.
    """
    n = len(scores)
    more = scores >= level  # as in `classify`, so that parts and borders agree
    wrong = np.concatenate([[0], np.cumsum(more)]) + np.concatenate(
        [np.cumsum(~more[::-1])[::-1], [0]]
    )
    cut = float(
        np.median(np.flatnonzero(wrong == wrong.min()))
    )  # the passage lies between slices cut - 1 and cut
    outside = "superior" if cut == 0 else "inferior" if cut == n else ""
    return Passage(float(np.interp(cut - 0.5, np.arange(n), z_mm)), outside)
