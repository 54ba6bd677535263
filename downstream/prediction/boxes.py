"""Boxes in the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in slices of a scan, in the order of the slices, the surest of each slice first.

    index: `[m]`, of the slice, 0 at the superior end. edges: `[m, 4]` (x1, y1, x2, y2) in pixels of
    the slice; 0 is the left edge of the first column. scores: `[m]`.
    """

    index: NDArray[np.int32]
    edges: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)


def joined(parts: Sequence[Boxes]) -> Boxes:
    """The boxes of several parts of a scan, in their order."""
    return Boxes(
        np.concatenate([np.empty(0, np.int32), *(part.index for part in parts)]),
        np.concatenate([np.empty((0, 4)), *(part.edges for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
    )
