"""Connected pixels of masks, in each slice separately; pixels that touch by an edge are connected.

A mask is a set of runs, unbroken stretches of a row. Runs of adjacent rows that share a column are
connected. This is `scipy.ndimage.label`, with its numbering, without SciPy's 140 MB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.intp]


@dataclass(frozen=True)
class Components:
    """The components of a mask `[z, y, x]`, numbered from 0 as they are met, row by row.

    count: how many. of: the component of each run. plane, row, first, end: where each run lies,
    `end` half-open.
    """

    mask: NDArray[np.bool_]
    count: int
    of: Whole
    plane: Whole
    row: Whole
    first: Whole
    end: Whole

    def areas(self, within: NDArray[np.bool_] | None = None) -> Whole:
        """Pixels of each component, or those of them that lie within another mask."""
        sizes = self.end - self.first
        if within is not None:
            before = np.concatenate([[0], np.cumsum(within[self.mask])])
            ends = np.cumsum(sizes)
            sizes = before[ends] - before[ends - sizes]
        return np.bincount(self.of, sizes, self.count).astype(np.intp)

    def boxes(self) -> Whole:
        """z, y0, y1, x0, x1 of each component, half-open, `[count, 5]`."""
        boxes = np.zeros((self.count, 5), np.intp)
        boxes[:, [1, 3]] = max(self.mask.shape)
        boxes[self.of, 0] = self.plane
        for column, least in ((1, self.row), (3, self.first)):
            np.minimum.at(boxes[:, column], self.of, least)
        for column, most in ((2, self.row + 1), (4, self.end)):
            np.maximum.at(boxes[:, column], self.of, most)
        return boxes

    def pixels(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask of some of the components."""
        mask = np.zeros_like(self.mask)
        mask[self.mask] = np.repeat(chosen[self.of], self.end - self.first)
        return mask


def components(mask: NDArray[np.bool_]) -> Components:
    """Label a mask `[z, y, x]`."""
    height, width = mask.shape[1:]
    wide = width + 1  # a blank column ends each row
    padded = np.zeros((mask.shape[0] * height, wide), np.int8)
    padded[:, :width] = mask.reshape(-1, width)
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    line = starts // wide
    # Runs of the row above that share a column: they end after this one starts, and start before
    # it ends. Both are ascending, so these are neighbours in the list.
    above = (line % height > 0).astype(np.intp)
    low = np.searchsorted(ends, starts - wide, side="right")
    high = np.searchsorted(starts, ends - wide, side="left")
    touching = np.maximum(high - low, 0) * above
    lower = np.repeat(np.arange(len(starts)), touching)
    upper = np.arange(len(lower)) + np.repeat(low - (np.cumsum(touching) - touching), touching)
    first_of = _joined(len(starts), lower, upper)
    known, of = np.unique(first_of, return_inverse=True)
    first = starts - line * wide
    return Components(
        mask, len(known), of, line // height, line % height, first, first + ends - starts
    )


def _joined(count: int, one: Whole, other: Whole) -> Whole:
    """For each of `count` things the first that pairs of them connect it with."""
    least = np.arange(count)
    while len(one):
        a, b = least[one], least[other]
        apart = a != b
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(least, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(further := least[least], least):
            least = further
    return least
