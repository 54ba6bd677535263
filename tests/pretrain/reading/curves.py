"""Score curves that tests of faults share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.reference import Reference

Floats = NDArray[np.float64]
SLOPE = 0.02
STEP = 4.0
REFERENCE = Reference(
    SLOPE, spread=0.05, wander_mm=8, step_mm=8, bump_mm=15, kink=0.13, low=-10, high=20
)


def sound(
    seed: int = 0, *, n: int = 120, start_mm: float = 0.0, step: float = STEP
) -> tuple[Floats, Floats]:
    """Scores that rise evenly, wander by 8 mm over 50 mm and jitter by 1 mm; and positions."""
    rng, z = np.random.default_rng(seed), np.arange(n) * step
    wander = np.interp(
        z, np.arange(0, z[-1] + 50, 50), rng.normal(0, 6, len(np.arange(0, z[-1] + 50, 50)))
    )
    return SLOPE * (start_mm + z + wander + rng.normal(0, 1, n)), z


def told(scores: Floats, z: Floats) -> list[tuple[str, int, int]]:
    return [(f.kind, f.first, f.last) for f in findings(scores, z, reference=REFERENCE)]
