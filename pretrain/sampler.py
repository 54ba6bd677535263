"""Which slices a training step sees: a pure function of (seed, step).

There is no state to save, and the order of workers does not matter. A resumed run sees what the
unbroken one would have seen, and rank r of a world of w GPUs takes groups r, r + w, ... of the
same G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.checks import check_choice

Unit = Literal["index", "mm"]
Begin = Literal["uniform", "ends"]


class SliceSampler:
    """G random volumes and M equidistant slices of each, start and interval random (the paper,
    section 2).

    Args:
        z_mm: for every volume the positions of its slices in mm below the first, so increasing from
            0; each must have at least `m` slices.
        g: volumes per step, drawn without replacement.
        m: slices per volume, at least 2.
        unit: "index" takes slices j, j + k, j + 2k, ...; "mm" takes the slices nearest to z, z + d,
            z + 2d, ... with d between the volume's usual step and the largest that fits, so that
            equal steps are equal distances despite gaps. Where a gap would make it take a slice
            twice, the group is drawn by index.
        begin: where the group starts. "uniform" draws all starts equally often; "ends", the
            authors' code, draws them through a logistic, so that both ends of a volume are not
            under-sampled. By index, k is from 1..(n-1)//(m-1) with "uniform", all that fits, and
            from 1..n//m with "ends".
        share: relative frequency with which each volume is drawn, above 0; none draws all equally.
        seed: with the step it determines everything.

    Raises:
        ValueError: fewer volumes than g, a volume of fewer than m slices, m < 2, g < 1, or an
            unknown unit or begin.
    """

    def __init__(
        self,
        z_mm: Sequence[NDArray[np.float64]],
        *,
        g: int = 12,
        m: int = 8,
        unit: Unit = "index",
        begin: Begin = "uniform",
        share: NDArray[np.float64] | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("unit", unit, Unit)
        check_choice("begin", begin, Begin)
        if m < 2:
            raise ValueError(f"m (slices per volume) must be at least 2, got {m}")
        if not 1 <= g <= len(z_mm):
            raise ValueError(
                f"g (volumes per step) must be in 1..{len(z_mm)}, the usable volumes; got {g}; add "
                "volumes or lower `g`"
            )
        if (shortest := min(len(z) for z in z_mm)) < m:
            raise ValueError(
                f"a volume of {shortest} slices cannot give m = {m}; leave it out or lower `m`"
            )
        if not all(z[0] == 0 and (np.diff(z) > 0).all() for z in z_mm):
            raise ValueError(
                "z_mm must increase from 0 in every volume; subtract the first position"
            )
        self.z_mm = [np.asarray(z, dtype=np.float64) for z in z_mm]
        self.g, self.m, self.unit, self.begin, self.seed = g, m, unit, begin, seed
        self.share = None if share is None else share / share.sum()

    def groups(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The volumes `[G]` and slice indices `[G, M]` (superior to inferior) of a step."""
        rng = np.random.default_rng([self.seed, step])
        volumes = rng.choice(len(self.z_mm), self.g, replace=False, p=self.share)
        draw = self._by_index if self.unit == "index" else self._by_mm
        return volumes, np.stack([draw(rng, self.z_mm[v]) for v in volumes])

    def _by_index(self, rng: np.random.Generator, z: NDArray[np.float64]) -> NDArray[np.int64]:
        n, m = len(z), self.m
        k = int(rng.integers(1, (n // m if self.begin == "ends" else (n - 1) // (m - 1)) + 1))
        starts = n - (m - 1) * k
        return min(starts - 1, int(self._position(rng) * starts)) + k * np.arange(m)

    def _by_mm(self, rng: np.random.Generator, z: NDArray[np.float64]) -> NDArray[np.int64]:
        reach = z[-1] / (self.m - 1)
        step = rng.uniform(min(float(np.median(np.diff(z))), reach), reach)
        wanted = self._position(rng) * (z[-1] - (self.m - 1) * step) + step * np.arange(self.m)
        chosen = np.abs(z[None, :] - wanted[:, None]).argmin(axis=1)
        # Around a gap two wanted positions can share a slice; a label of zero distance would be
        # false, so the group is drawn by index.
        return chosen if (np.diff(chosen) > 0).all() else self._by_index(rng, z)

    def _position(self, rng: np.random.Generator) -> float:
        """Where the group begins between the first possible start (0) and the last (1)."""
        if self.begin == "uniform":
            return float(rng.uniform())
        return float(1 / (1 + np.exp(-rng.uniform(-5, 5))))


def even_sizes(
    areas_mm2: Sequence[NDArray[np.float64]], spread: float = 0.3
) -> NDArray[np.float64]:
    """Frequencies that draw volumes of every body size equally often: the inverse of the number of
    volumes with a similar median cross-section.

    Archives hold many scans of one kind, say a hundred heads and ten abdomens; which is which need
    not be known, as a head is slimmer than a torso.

    Args:
        areas_mm2: for every volume the area of the body's box in each slice.
        spread: standard deviation of the Gaussian in the area's logarithm within which volumes
            count as similar.
    """
    size = np.log([max(float(np.median(area)), 1.0) for area in areas_mm2])
    rows = max(1, 2**20 // len(size))  # of all pairs at a time: their square fills any memory
    alike = [
        np.exp(-0.5 * ((size[k : k + rows, None] - size[None, :]) / spread) ** 2).sum(1)
        for k in range(0, len(size), rows)
    ]
    return np.asarray(1 / np.concatenate(alike))
