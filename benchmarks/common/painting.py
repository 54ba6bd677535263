"""Changes of slices in HU: metal, masses, noise, missing halves, and bodies that are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.hu import AIR_HU, HU_RANGE

Rng = np.random.Generator
Paint = Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]
"""Slices `[z, y, x]`, the side of a pixel in mm, and a generator give the changed slices."""


def to_int16(hu: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round and clip to what a scan can hold."""
    rounded: NDArray[np.int16] = np.rint(hu).clip(*HU_RANGE).astype(np.int16)
    return rounded


def metal(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
    """A prosthesis of 40 mm, and rays of 400 HU from it."""
    far, turn = _distance(hu, pixel_mm, 40), rng.uniform(0, 6)
    y, x = np.mgrid[: hu.shape[1], : hu.shape[2]] - np.array(hu.shape[1:])[:, None, None] / 2
    rays = 400 * np.cos(9 * np.arctan2(y, x - 40 / pixel_mm) + turn) * np.exp(-far / 120)
    return np.where(far < 20, 3071, hu + rays * (hu > -500))


def mass(diameter_mm: float) -> Paint:
    """A round mass of 45 HU."""
    return lambda hu, pixel_mm, rng: np.where(
        _distance(hu, pixel_mm, rng.uniform(-40, 40)) < diameter_mm / 2, 45.0, hu
    )


def noise(sigma_hu: float) -> Paint:
    """More noise."""
    return lambda hu, pixel_mm, rng: hu + rng.normal(0, sigma_hu, hu.shape)


def torn(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
    """The lower half of the image is missing."""
    return np.where(np.arange(hu.shape[1])[:, None] > hu.shape[1] / 2, float(AIR_HU), hu)


def air(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
    """Nothing but air."""
    return np.full(hu.shape, -1000.0)


def noisy_air(sigma_hu: float) -> Paint:
    """Nothing but air, with noise."""
    return lambda hu, pixel_mm, rng: rng.normal(-1000, sigma_hu, hu.shape)


def cylinder(noise_hu: float, rods: bool) -> Paint:
    """A cylinder of water of 220 mm.

    Rods of bone and air whose number changes along it make it a phantom for measuring contrast.
    """

    def paint(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
        water = np.where(_distance(hu, pixel_mm) < 110, 0.0, -1000.0)
        out = np.broadcast_to(water, hu.shape) + rng.normal(0, noise_hu, hu.shape)
        for part, plane in enumerate(np.array_split(out, 4) if rods else []):
            for turn in np.arange(2 * part) * np.pi / max(part, 1):
                rod = _distance(hu, pixel_mm, 60 * np.cos(turn), 60 * np.sin(turn)) < 10
                plane[:, rod] = 900 if part % 2 else -900
        return out

    return paint


def _distance(
    hu: NDArray[np.int16], pixel_mm: float, x_mm: float = 0, y_mm: float = 0
) -> NDArray[np.float64]:
    """Distance in mm of each pixel from a point beside the middle of the image."""
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_mm for n in hu.shape[1:])
    distance: NDArray[np.float64] = np.hypot(y[:, None] - y_mm, x[None] - x_mm)
    return distance
