"""A trunk of flat tissues in which every kind of planted lesion fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.scans import Scan
from ubr.pretrain.data.volume import Volume

SPACING = (3.0, 1.6, 1.6)
NOISE = 12.0


def trunk(seed: int = 0, noise: float = NOISE, slices: int = 56) -> NDArray[np.int16]:
    """Lungs above, liver and kidneys in fat below, within muscle and skin fat; flat tissues with
    white noise.
    """
    size = (slices, 180, 230)
    z, y, x = np.ogrid[: size[0], : size[1], : size[2]]

    def ball(cz: float, cy: float, cx: float, rz: float, ry: float, rx: float) -> NDArray[np.bool_]:
        return np.asarray(((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)

    hu = np.full(size, -1000.0)
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 80, 105), size)] = -105  # skin fat
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 72, 96), size)] = 55  # wall
    hu[np.broadcast_to(ball(0, 90, 115, 1e9, 64, 88), size)] = -105  # fat inside
    hu[np.broadcast_to(ball(0, 135, 115, 1e9, 16, 16), size)] = 300  # spine
    half = slices / 2
    for cx in (70, 160):
        hu[ball(half / 2, 85, cx, half / 2 - 1, 50, 32)] = -820
        hu[ball(0.8 * slices, 115, 75 if cx == 70 else 155, 10, 17, 15)] = 35
    hu[ball(0.72 * slices, 65, 75, 14, 30, 45)] = 60
    hu += noise * np.random.default_rng(seed).standard_normal(size)
    return np.rint(hu).astype(np.int16)


def scan_of(
    hu: NDArray[np.int16],
    patient: str = "a",
    spacing_mm: tuple[float, float, float] = SPACING,
) -> Scan:
    """A scan with even steps between slices."""
    return Scan(Volume(hu, spacing_mm, np.arange(len(hu)) * spacing_mm[0]), patient)
