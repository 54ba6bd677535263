"""Random augmentation of slices, in HU, before they are windowed. Every change is off unless a
recipe asks for it.

What moves the body in the image is done by one resampling: crop, field of view, rotation and flip
make one affine map per slice. The random numbers of a step are drawn for all G groups from (seed,
step), so a slice gets the same view whichever rank holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.checks import check_choices, check_ranges
from ubr.weights.common.hu import AIR_HU, FAINTEST_HU, HU_RANGE

if TYPE_CHECKING:
    from torch import Tensor

_RANGES: dict[str, tuple[float, float]] = {
    "crop_area": (0.05, 1),
    "crop_mass": (0, 1),
    "field_of_view": (1, 4),
    "rotation_deg": (0, 180),
    "flip": (0, 1),
    "hu_shift": (0, 1000),
    "hu_scale": (0, 0.9),
    "noise_hu": (0, 1000),
}


@dataclass(frozen=True)
class Augment:
    """How slices are augmented at random.

    Args:
        crop_area: smallest share of the image's area that a random crop keeps, drawn per slice; 1
            is off, 0.5 the authors' code.
        crop_mass: a crop must keep this share of the image's mass (HU above air), else the slice
            stays whole; a third in the authors' code.
        field_of_view: largest factor by which a volume's field of view shrinks or grows, drawn
            per volume; 1 is off.
        rotation_deg: largest turn in the slice, drawn per volume; 0 is off.
        flip: probability that a volume's left and right are exchanged.
        hu_shift: largest shift in HU, drawn per volume; 0 is off.
        hu_scale: largest relative change of contrast about 0 HU, drawn per volume; 0 is off.
        noise_hu: largest standard deviation of noise added to each pixel, drawn per volume; 0 is
            off.
    """

    crop_area: float = 1.0
    crop_mass: float = 1 / 3
    field_of_view: float = 1.0
    rotation_deg: float = 0.0
    flip: float = 0.0
    hu_shift: float = 0.0
    hu_scale: float = 0.0
    noise_hu: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self, "augment.")
        check_ranges(self, _RANGES, "augment.")

    @property
    def magnifies(self) -> float:
        """The largest factor by which a view enlarges the grid; what is prepared once is kept that
        much finer.
        """
        return (self.field_of_view / self.crop_area**0.5) if self.moves else 1.0

    @property
    def moves(self) -> bool:
        """Whether any view differs from the slice in geometry."""
        return (
            self.crop_area < 1 or self.field_of_view > 1 or self.rotation_deg > 0 or self.flip > 0
        )

    def views(
        self,
        grid: Tensor,
        size_px: int,
        *,
        g: int,
        seed: int,
        step: int,
        rank: int = 0,
        world: int = 1,
    ) -> Tensor:
        """Random views of a step's slices.

        Args:
            grid: `[G', M, T, T]` HU, the groups rank, rank + world, ... of the step's G; `[G', M,
                3, T, T]` with neighbours, which get the view of their slice.
            size_px: side S of the views.

        Returns:
            `[G', M, S, S]` or `[G', M, 3, S, S]` float32 HU.
        """
        import torch

        rng = np.random.default_rng([seed, step, 1])
        m, mine = grid.shape[1], slice(rank, None, world)
        zoom = self.field_of_view ** rng.uniform(-1, 1, (g, 1))[mine] * np.ones((1, m))
        side = np.sqrt(rng.uniform(self.crop_area, 1, (g, m)))[mine]
        corner = rng.uniform(0, 1, (g, m, 2))[mine]
        shift = self.hu_shift * rng.uniform(-1, 1, g)[mine]
        scale = 1 + self.hu_scale * rng.uniform(-1, 1, g)[mine]
        angle = np.deg2rad(self.rotation_deg) * rng.uniform(-1, 1, g)[mine]
        mirror = np.where(rng.uniform(0, 1, g)[mine] < self.flip, -1.0, 1.0)
        sigma = self.noise_hu * rng.uniform(0, 1, g)[mine]
        flat = (
            grid.flatten(0, 1).float().view(grid.shape[0] * m, -1, *grid.shape[-2:])
        )  # a slice and its neighbours, if any
        if self.moves or grid.shape[-1] != size_px:
            extent, centre = self._crop(
                flat[:, flat.shape[1] // 2],
                side.reshape(-1),
                corner.reshape(-1, 2),
                zoom.reshape(-1),
            )
            flat = _resample(
                flat, size_px, extent, centre, np.repeat(angle, m), np.repeat(mirror, m)
            )
        out = flat.view(*grid.shape[:2], -1, size_px, size_px)
        if self.hu_scale or self.hu_shift:
            a, b = (
                torch.tensor(v, dtype=torch.float32, device=grid.device).view(-1, 1, 1, 1, 1)
                for v in (scale, shift)
            )
            out = torch.where(
                out > FAINTEST_HU, out * a + b, out
            )  # air stays air: padding is not part of the scanner's error
        if self.noise_hu:
            seeds = rng.integers(0, 2**63, g)[mine]
            noise = [
                torch.randn(out.shape[1:], generator=torch.Generator().manual_seed(int(s)))
                * float(t)
                for s, t in zip(seeds, sigma, strict=True)
            ]
            out = out + torch.stack(noise).to(out.device)
        return out.view(*grid.shape[:-2], size_px, size_px)

    def _crop(
        self,
        flat: Tensor,
        side: NDArray[np.float64],
        corner: NDArray[np.float64],
        zoom: NDArray[np.float64],
    ) -> tuple[Tensor, Tensor]:
        """Extent `[N]` (side times zoom, 1 is the image) and centre `[N, 2]` (y, x in -1..1), whole
        where a crop would lose the body.
        """
        import torch
        from torch.nn import functional as F

        size, device = flat.shape[-1], flat.device
        # Pixels are whole HU, so their sums are exact as integers (and float64 is not known to
        # Apple's GPUs). 32 bits take a third of the time, and hold those of up to 724 x 724 pixels.
        bits = torch.int32 if size**2 * (HU_RANGE[1] - AIR_HU) < 2**31 else torch.int64
        above_air = (flat - AIR_HU).clamp(min=0).to(bits)
        sums = F.pad(above_air.cumsum(1, dtype=bits).cumsum(2, dtype=bits), (1, 0, 1, 0))
        low = np.rint(corner * (1 - side)[:, None] * size).astype(np.int64)
        high = (low + np.rint(side * size).astype(np.int64)[:, None]).clip(max=size)
        n = torch.arange(len(flat), device=device)
        (y0, x0), (y1, x1) = (torch.from_numpy(v).to(device).unbind(1) for v in (low, high))
        mass = sums[n, y1, x1] - sums[n, y0, x1] - sums[n, y1, x0] + sums[n, y0, x0]
        keep = mass >= self.crop_mass * sums[:, -1, -1]
        crop, centre, whole = (
            torch.tensor(v, dtype=torch.float32, device=device)
            for v in (side * zoom, 2 * (corner * (1 - side)[:, None] + side[:, None] / 2) - 1, zoom)
        )
        return torch.where(keep, crop, whole), centre.where(keep[:, None], torch.zeros_like(centre))


def _resample(
    flat: Tensor,
    size_px: int,
    extent: Tensor,
    centre: Tensor,
    angle: NDArray[np.float64],
    mirror: NDArray[np.float64],
) -> Tensor:
    """Bilinear views `[N, C, S, S]` of squares of relative side `extent` around `centre`, turned
    and mirrored; outside the slice is air.
    """
    import torch
    from torch.nn import functional as F

    turn = torch.tensor(
        np.stack([np.cos(angle), np.sin(angle), mirror]), dtype=torch.float32, device=flat.device
    )
    theta = torch.zeros(len(flat), 2, 3, device=flat.device)
    theta[:, 0, 0], theta[:, 0, 1] = extent * turn[0] * turn[2], -extent * turn[1]
    theta[:, 1, 0], theta[:, 1, 1] = extent * turn[1] * turn[2], extent * turn[0]
    theta[:, 0, 2], theta[:, 1, 2] = centre[:, 1], centre[:, 0]
    where = F.affine_grid(theta, [len(flat), 1, size_px, size_px], align_corners=False)
    return F.grid_sample(flat - AIR_HU, where, align_corners=False, padding_mode="zeros") + AIR_HU
