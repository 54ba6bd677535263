"""Faults put into sound series: in the header, in the order of slices, and in their content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.painting import (
    Paint,
    Rng,
    air,
    cylinder,
    mass,
    metal,
    noise,
    noisy_air,
    to_int16,
    torn,
)


@dataclass(frozen=True)
class ComputedSeries:
    """A computed series, and where its slices lie in the reference body.

    Attributes:
        hu: `[z, y, x]`.
        z_mm: `[z]`, as the header says.
        pixel_mm: side of a pixel.
        level: `[z]`, mm below the vertex of the reference body.
        first: the slice where the fault begins, if it has a place.
    """

    hu: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    pixel_mm: float
    level: NDArray[np.float64]
    first: int | None = None

    def take(self, order: NDArray[np.int64], first: int | None = None) -> ComputedSeries:
        """Slices in this order, under the positions of an even series."""
        return replace(
            self,
            hu=self.hu[order],
            z_mm=self.step * np.arange(len(order), dtype=np.float64),
            level=self.level[order],
            first=first,
        )

    def every_second(self) -> ComputedSeries:
        """Every second slice."""
        hu, z_mm, level = self.hu[::2], self.z_mm[::2], self.level[::2]
        return replace(self, hu=hu, z_mm=z_mm, level=level)

    @property
    def step(self) -> float:
        """The distance between slices in mm."""
        return float(self.z_mm[1])

    def slices(self, mm: float) -> int:
        """The number of slices in a length."""
        return max(1, round(mm / self.step))


Fault = Callable[[ComputedSeries, ComputedSeries, Rng], ComputedSeries | None]
"""A sound series, that of another body, and a generator give the faulty series; None if the sound
one is too short, or the other has slices of another size.
"""


def _start(scan: ComputedSeries, length: int, rng: Rng, margin_mm: float = 60) -> int | None:
    """Where a stretch of that many slices begins, with some of the series left on both sides."""
    margin = scan.slices(margin_mm)
    free = len(scan.hu) - length - 2 * margin
    return None if free < 1 else margin + int(rng.integers(free))


def _reversed(least_mm: float, most_mm: float) -> Fault:
    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        n = min(len(scan.hu), scan.slices(most_mm))
        return scan.take(np.arange(n)[::-1]) if n * scan.step >= least_mm else None

    return fault


def _scaled(factor: float) -> Fault:
    return lambda scan, other, rng: replace(scan, z_mm=scan.z_mm * factor)


def _half_scaled(factor: float) -> Fault:
    """The second half under another step than it has."""

    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        half = len(scan.hu) // 2
        if scan.z_mm[half] < 150:
            return None
        z = np.concatenate(
            [scan.z_mm[:half], scan.z_mm[half] + (scan.z_mm[half:] - scan.z_mm[half]) * factor]
        )
        return replace(scan, z_mm=z, first=half)

    return fault


def _leap_in_z(mm: float) -> Fault:
    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        k = _start(scan, 1, rng)
        return (
            None
            if k is None
            else replace(scan, z_mm=scan.z_mm + mm * (np.arange(len(scan.hu)) >= k), first=k - 1)
        )

    return fault


def _dropped(mm: float) -> Fault:
    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        k = _start(scan, scan.slices(mm), rng)
        return (
            None
            if k is None
            else scan.take(
                np.delete(np.arange(len(scan.hu)), np.arange(k, k + scan.slices(mm))), k - 1
            )
        )

    return fault


def _repeated(mm: float, noise_hu: float = 0) -> Fault:
    """A stretch that comes twice; with noise, as if scanned again."""

    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        length = max(2, scan.slices(mm))
        k = _start(scan, length, rng)
        if k is None:
            return None
        twice = scan.take(
            np.concatenate([np.arange(k + length), np.arange(k, len(scan.hu))]), k + length
        )
        if noise_hu:
            twice.hu[k + length : k + 2 * length] = to_int16(
                twice.hu[k + length : k + 2 * length]
                + rng.normal(0, noise_hu, (length, *scan.hu.shape[1:]))
            )
        return twice

    return fault


def _glued(low_mm: float, high_mm: float) -> Fault:
    """The lower part of another body under the upper part of this, so that the level leaps by that
    much.
    """

    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        if scan.hu.shape[1:] != other.hu.shape[1:]:
            return None
        inner, below = (
            np.flatnonzero((s.z_mm > 100) & (s.z_mm < s.z_mm[-1] - 100)) for s in (scan, other)
        )
        leap = other.level[below][None] - scan.level[inner][:, None]
        pairs = np.argwhere((leap >= low_mm) & (leap < high_mm))
        if not len(pairs):
            return None
        k, j = (
            int(where[i])
            for where, i in zip((inner, below), pairs[rng.integers(len(pairs))], strict=True)
        )
        z = np.concatenate(
            [scan.z_mm[: k + 1], scan.z_mm[k] + scan.step + other.z_mm[j:] - other.z_mm[j]]
        )
        hu, level = (
            np.concatenate([upper[: k + 1], lower[j:]])
            for upper, lower in ((scan.hu, other.hu), (scan.level, other.level))
        )
        return replace(scan, hu=hu, z_mm=z, level=level, first=k)

    return fault


def _swapped(apart_mm: float, length_mm: float = 0) -> Fault:
    """Two slices, or two stretches, that change places."""

    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        length, apart = scan.slices(length_mm), scan.slices(apart_mm)
        k = _start(scan, apart + length, rng)
        if k is None:
            return None
        order = np.arange(len(scan.hu))
        order[k : k + length], order[k + apart : k + apart + length] = (
            order[k + apart : k + apart + length].copy(),
            order[k : k + length].copy(),
        )
        return scan.take(order, k)

    return fault


def _foreign(mm: float) -> Fault:
    """A stretch of another body from another level, 200 mm away at least."""

    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        length = scan.slices(mm)
        k = _start(scan, length, rng)
        if k is None or length > len(other.level):
            return None
        far = np.flatnonzero(
            np.abs(other.level[: len(other.level) - length + 1] - scan.level[k]) > 200
        )
        if not len(far):
            return None
        hu, level, j = scan.hu.copy(), scan.level.copy(), int(rng.choice(far))
        hu[k : k + length], level[k : k + length] = (
            of_other[j : j + length] for of_other in (other.hu, other.level)
        )
        return replace(scan, hu=hu, level=level, first=k)

    return fault


def _painted(mm: float, paint: Paint) -> Fault:
    def fault(scan: ComputedSeries, other: ComputedSeries, rng: Rng) -> ComputedSeries | None:
        length = scan.slices(mm)
        k = _start(scan, length, rng)
        if k is None:
            return None
        hu = scan.hu.copy()
        hu[k : k + length] = to_int16(paint(hu[k : k + length], scan.pixel_mm, rng))
        return replace(scan, hu=hu, first=k)

    return fault


def _whole(paint: Paint) -> Fault:
    """The whole series painted over."""
    return lambda scan, other, rng: replace(scan, hu=to_int16(paint(scan.hu, scan.pixel_mm, rng)))


FAULTS: dict[tuple[str, str], Fault] = {
    ("reversed", "300 mm and more"): _reversed(300, 2000),
    ("reversed", "the first 150 mm of a series"): _reversed(145, 150),
    **{
        ("spacing", f"header's step {f:g} times the true one"): _scaled(f)
        for f in (4, 2, 1.5, 1.25, 0.5, 0.25)
    },
    **{
        ("spacing", f"second half's step {f:g} times the true one"): _half_scaled(f)
        for f in (3, 2, 0.5)
    },
    **{("spacing", f"z leaps {mm} mm, the body does not"): _leap_in_z(mm) for mm in (150, 80, 40)},
    **{("gap", f"{mm} mm missing"): _dropped(mm) for mm in (150, 80, 40, 20)},
    **{("repeated", f"{mm} mm, the same pixels"): _repeated(mm) for mm in (100, 40, 5)},
    **{
        ("repeated", f"{mm} mm scanned again, 15 HU more noise"): _repeated(mm, 15)
        for mm in (150, 80, 40)
    },
    ("glued", "300 mm back and more"): _glued(-np.inf, -300),
    ("glued", "100 to 300 mm back"): _glued(-300, -100),
    ("glued", "40 to 100 mm back"): _glued(-100, -40),
    ("glued", "250 mm ahead and more"): _glued(250, np.inf),
    **{("swapped", f"two slices {mm} mm apart"): _swapped(mm) for mm in (200, 100, 40)},
    **{("swapped", f"two stretches of {mm} mm side by side"): _swapped(mm, mm) for mm in (80, 40)},
    **{("abnormal", f"metal, {mm} mm"): _painted(mm, metal) for mm in (60, 10)},
    **{("abnormal", f"a mass of {mm} mm"): _painted(mm, mass(mm)) for mm in (160, 80)},
    **{("abnormal", f"noise of {hu} HU in 20 mm"): _painted(20, noise(hu)) for hu in (400, 100)},
    ("abnormal", "half the image missing in 10 mm"): _painted(10, torn),
    **{("abnormal", f"{mm} mm of another level and body"): _foreign(mm) for mm in (40, 5)},
    ("out_of_range", "air"): _whole(air),
    ("out_of_range", "air with 20 HU of noise"): _whole(noisy_air(20)),
    ("out_of_range", "a cylinder of water with 10 HU of noise"): _whole(cylinder(10, rods=False)),
    ("out_of_range", "a cylinder of water with rods that change"): _whole(cylinder(10, rods=True)),
}
