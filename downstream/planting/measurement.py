"""A lesion's measurement in a slice, and its box: what an annotator would have drawn.

The measurement is a radiologist's: the longest diameter of the lesion in the slice and the longest
across it, from the outer edges of the pixels that change by more than half of the contrast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MARGIN = 5.0
"""Pixels, and at most as many mm, between a measurement's extremes and its box."""


def measure(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Measure the two diameters of a lesion in a slice.

    Returns `[4, 2]`: the ends (x, y) of the longest diameter, then of the longest across it.
    Coordinates are edges, as in `ubr.pretrain.data.deeplesion.table`: column i of the mask `[y, x]`
    reaches from i to i + 1.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    y, x = np.nonzero(mask)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    points = (np.stack([x, y], 1)[:, None] + corners).reshape(-1, 2)
    hull = points[ConvexHull(points).vertices]
    apart = cdist(hull, hull)
    a, b = np.unravel_index(apart.argmax(), apart.shape)
    along = (hull[b] - hull[a]) / apart[a, b]
    across = np.array([-along[1], along[0]])
    middles = np.stack([x, y], 1) + 0.5
    t, s = middles @ along, middles @ across
    # Chords a pixel wide across the long diameter; each reaches half a pixel beyond the middles of
    # its outermost pixels.
    bins = np.rint(t - t.min()).astype(int)
    high, low = np.full(bins.max() + 1, -np.inf), np.full(bins.max() + 1, np.inf)
    np.maximum.at(high, bins, s)
    np.minimum.at(low, bins, s)
    widest = int((high - low).argmax())
    at = along * (t.min() + widest)
    return np.stack(
        [hull[a], hull[b], at + across * (low[widest] - 0.5), at + across * (high[widest] + 0.5)]
    )


def measured_box(
    ends: NDArray[np.float64], pixel_mm: Sequence[float], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """Box x1, y1, x2, y2 of a measurement as DeepLesion draws it (1-based), within the image.

    pixel_mm and size: (y, x).
    """
    margin = np.minimum(MARGIN, MARGIN / np.array([pixel_mm[1], pixel_mm[0]]))
    low, high = ends.min(0) - margin, ends.max(0) + margin
    return np.concatenate([np.maximum(low, 1), np.minimum(high, [size[1] + 1, size[0] + 1])])
