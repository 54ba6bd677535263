"""Wilson's interval of a share."""

from __future__ import annotations

import math

Z = 1.959964
"""Of 95 %."""


def wilson(hits: int, tests: int) -> tuple[float, float, float]:
    """A share of independent tests, and its 95 % interval."""
    share, z2 = hits / tests, Z**2
    centre = (share + z2 / (2 * tests)) / (1 + z2 / tests)
    half = Z * math.sqrt(share * (1 - share) / tests + z2 / (4 * tests**2)) / (1 + z2 / tests)
    return share, centre - half, centre + half
