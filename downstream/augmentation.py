"""Random views of a detector's training images.

A view is a pure function of (seed, epoch, index), so views are the same for any number of workers
and after a run resumes. The change of size goes into the one resampling that happens anyway; the
change of HU comes before the window.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.hu import FAINTEST_HU

from .slices import View


@dataclass(frozen=True)
class Augmentation:
    """Random views of an image.

    Args:
        flip: probability that left and right are exchanged.
        scale: smallest and largest factor by which the image is enlarged, drawn on a log scale; (1,
            1) is off.
        hu_shift: largest shift in HU; 0 is off.
        hu_scale: largest relative change of contrast about 0 HU; 0 is off.
        seed: seed of the random numbers, together with epoch and index.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.8, 1.2)
    hu_shift: float = 0.0
    hu_scale: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("flip", 0, 1),
            ("hu_shift", 0, 1000),
            ("hu_scale", 0, 0.9),
            ("seed", 0, 2**63 - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"augment.{name} must be in {low}..{high}, got {getattr(self, name)}"
                )
        two = len(self.scale) == 2
        if not two or not 0.25 <= self.scale[0] <= self.scale[1] <= 4:
            raise ValueError(
                f"augment.scale must be (smallest, largest) in 0.25..4, got {self.scale}"
            )

    def draw(self, epoch: int, index: int) -> Change:
        """The view of an index in an epoch."""
        rng = np.random.default_rng([self.seed, epoch, index])
        flip, zoom, shift, contrast = rng.uniform(
            size=4
        )  # always all four: switching one off leaves the others as they were
        low, high = self.scale
        return Change(
            bool(flip < self.flip),
            low * (high / low) ** zoom,
            self.hu_shift * (2 * shift - 1),
            1 + self.hu_scale * (2 * contrast - 1),
        )


@dataclass(frozen=True)
class Change:
    """One random view: whether it is mirrored, its enlargement, HU added, factor about 0 HU."""

    flip: bool
    scale: float
    hu_shift: float
    hu_scale: float

    def of_view(self, view: View) -> View:
        """Smaller pixels and a larger limit: an image that is at its limit is enlarged too."""
        return dataclasses.replace(
            view,
            mm_per_px=view.mm_per_px / self.scale,
            longest_px=max(1, round(view.longest_px * self.scale)),
        )

    def of_hu(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shift and contrast; air stays air, as padding is not part of a scanner's error."""
        return np.where(
            hu > FAINTEST_HU, hu * np.float32(self.hu_scale) + np.float32(self.hu_shift), hu
        )
