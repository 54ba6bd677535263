"""The input contract: how Hounsfield units become what a backbone's first convolution was trained
on.

Preprocessing that drifts between pretraining and detector is the silent killer of transfer
experiments, so it has this one home. An `InputSpec` is chosen once, travels inside the weights
file, and both sides build their input through it, in two halves:

    slices in HU  --to_grid, with_neighbours-->  int16 HU on a square grid  --to_input-->  float [N, 3, S, S]

The first half is geometry only (what part of the slice, at what resolution, beside which other
slices) and can be done once and kept; the second half is intensity only and is done on the device.
HU are resampled before they are windowed, so that augmentation can work in HU between the halves.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .body import series_box, shown_boxes

AIR_HU = -1024
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects of a CT slice.

    Args:
        window_hu: HU at which the input is 0 and 1; values outside are clipped. -175..275 is the
            authors' soft-tissue window.
        size_px: side S of the square input in pixels.
        field: the part of the slice that is shown: the whole "image", or the square around the
            "body" (`ubr.weights.body`); what lies outside a slice's own part of it, such as arms
            beside the trunk or head and the table, is then air.
        mm_per_px: pixel size in mm; the field is then cut or padded with air around its centre to S
            pixels. Without it the field is stretched to S pixels, whatever its size in mm.
        channels: what the three channels are. "grey": the windowed slice, 0..1, three times.
            "folded": HU clipped to the window, zeros, ones; for a trunk whose first convolution
            does the rest (`ubr.weights.fold`).
        neighbours_mm: with it the three channels are slices: the one so far above, the slice
            itself, the one so far below, each windowed by itself. Between two slices they are
            interpolated; beyond the ends the last one stands in.
        mean: subtracted from the channels, a number each.
        std: divides them after that. The defaults are ImageNet's, on which torchvision's and timm's
            weights were trained.
    """

    window_hu: tuple[float, float] = (-175.0, 275.0)
    size_px: int = 128
    field: Literal["image", "body"] = "image"
    mm_per_px: float | None = None
    channels: Literal["grey", "folded"] = "grey"
    neighbours_mm: float | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"window_hu must be (low, high) with low < high, got {self.window_hu}")
        if not 16 <= self.size_px <= 2048:
            raise ValueError(f"size_px must be in 16..2048, got {self.size_px}")
        if self.field not in ("image", "body"):
            raise ValueError(f"field must be 'image' or 'body', got {self.field!r}")
        if self.channels not in ("grey", "folded"):
            raise ValueError(f"channels must be 'grey' or 'folded', got {self.channels!r}")
        if self.neighbours_mm is not None and not 0.1 <= self.neighbours_mm <= 50:
            raise ValueError(f"neighbours_mm must be in 0.1..50 or none, got {self.neighbours_mm}")
        if self.neighbours_mm is not None and self.channels == "folded":
            raise ValueError(
                "channels 'folded' hold one slice, got neighbours_mm; leave one of them out"
            )
        if self.mm_per_px is not None and not 0.1 <= self.mm_per_px <= 20:
            raise ValueError(f"mm_per_px must be in 0.1..20 or none, got {self.mm_per_px}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean and std are three numbers each, std positive; got {self.mean} and {self.std}"
            )

    def to_grid(
        self,
        hu: Tensor,
        spacing_mm: tuple[float, float],
        boxes: NDArray[np.int16] | None = None,
        *,
        size_px: int | None = None,
    ) -> Tensor:
        """Resample the slices of a series to the square grid.

        Args:
            hu: `[n, y, x]` HU, any dtype.
            spacing_mm: (y, x) pixel size in mm.
            boxes: `[n, 4]` the body's box in each slice (`ubr.weights.body.body_boxes`); needed
                where field is "body".
            size_px: another side than the contract's, for a caller that crops afterwards; the field
                in mm stays the same.

        Returns:
            `[n, S, S]` int16 HU. Pixels outside the slice are air.
        """
        if self.field == "body":
            if boxes is None or len(boxes) != len(hu):
                raise ValueError(
                    f"field 'body' needs the body's box in each of the {len(hu)} slices; take "
                    "them from body_boxes"
                )
            hu = _body_only(hu, boxes)
        size = size_px or self.size_px
        height_mm, width_mm = hu.shape[1] * spacing_mm[0], hu.shape[2] * spacing_mm[1]
        field_mm = (
            max(height_mm, width_mm) if self.mm_per_px is None else self.mm_per_px * self.size_px
        )
        height_px, width_px = (
            max(1, round(side * size / field_mm)) for side in (height_mm, width_mm)
        )
        grid = hu[:, None].float()
        if (height_px, width_px) != tuple(hu.shape[1:]):
            grid = F.interpolate(
                grid, (height_px, width_px), mode="bilinear", antialias=True, align_corners=False
            )
        top, left = (size - height_px) // 2, (size - width_px) // 2
        # Negative padding cuts: one call centres a field that is smaller or larger than the grid.
        grid = F.pad(
            grid, (left, size - width_px - left, top, size - height_px - top), value=AIR_HU
        )
        return grid[:, 0].round_().clamp_(-32768, 32767).to(torch.int16)

    def with_neighbours(self, grid: Tensor, z_mm: NDArray[np.float64]) -> Tensor:
        """The slices of a series beside their neighbours, where the contract has any.

        Args:
            grid: `[n, S, S]` HU, what `to_grid` makes of all slices of a series.
            z_mm: `[n]` their positions, increasing from superior to inferior.

        Returns:
            `[n, 3, S, S]` int16 HU; `grid` as it is where the contract has no neighbours.
        """
        if self.neighbours_mm is None:
            return grid
        planes = []
        for away in (-self.neighbours_mm, 0.0, self.neighbours_mm):
            at = np.interp(z_mm + away, z_mm, np.arange(len(z_mm)))
            lower = torch.from_numpy(np.floor(at).astype(np.int64))
            weight = (torch.from_numpy(at) - lower).float()[:, None, None]
            upper = (lower + 1).clamp(max=len(grid) - 1)
            planes.append(
                (grid[lower] * (1 - weight) + grid[upper] * weight).round_().to(torch.int16)
            )
        return torch.stack(planes, dim=1)

    def to_image(self, grid: Tensor) -> Tensor:
        """The three channels before mean and std: `[N, S, S]` HU -> `[N, 3, S, S]` float32. What a
        detector that normalises takes.

        Three slices, `[N, 3, S, S]`, are a channel each; of a single one all channels are made,
        also where the contract has neighbours.
        """
        low, high = self.window_hu
        hu = grid.float()[:, None] if grid.ndim == 3 else grid.float()
        if self.channels == "folded":
            hu = hu.clamp(low, high)
            return torch.cat([hu, torch.zeros_like(hu), torch.ones_like(hu)], dim=1)
        return hu.sub(low).div_(high - low).clamp_(0, 1).expand(-1, 3, -1, -1)

    @property
    def pixel_scale(self) -> float:
        """What `to_image`, mean and std are multiplied by for a library whose images are 0..255
        (detectron2).
        """
        return 1.0 if self.channels == "folded" else 255.0

    def to_input(self, grid: Tensor) -> Tensor:
        """Channels, mean and std:

        `[N, S, S]` or `[N, 3, S, S]` HU -> `[N, 3, S, S]` float32, channels last in memory.
        """
        mean, std = (
            torch.tensor(v, device=grid.device).view(1, 3, 1, 1) for v in (self.mean, self.std)
        )
        return ((self.to_image(grid) - mean) / std).contiguous(memory_format=torch.channels_last)

    def intensity(self) -> tuple[object, ...]:
        """What two contracts must share for weights to go from one to the other:

        window, channels, mean and std.
        """
        return self.window_hu, self.channels, self.mean, self.std

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for metadata.

        Neighbours are told where there are any: digests of contracts without them stay what they
        were.
        """
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if (name, value) != ("neighbours_mm", None)
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of `to_dict`.

        Raises `ValueError` for a missing or unknown field: a contract is never guessed.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        if set(values) | {"neighbours_mm"} != names:
            raise ValueError(
                f"an input contract has the fields {sorted(names)}, got {sorted(values)}"
            )
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)


def _body_only(hu: Tensor, boxes: NDArray[np.int16]) -> Tensor:
    """Slices `[n, y, x]` cut to the series' box, with air outside each slice's own part of it.

    As they are where no body was found.
    """
    top, bottom, left, right = series_box(boxes)
    if bottom <= top or right <= left:
        return hu
    shown = hu.clone()
    for plane, (y0, y1, x0, x1) in zip(shown, shown_boxes(boxes).tolist(), strict=True):
        if y1 > y0:
            plane[:y0], plane[y1:], plane[:, :x0], plane[:, x1:] = AIR_HU, AIR_HU, AIR_HU, AIR_HU
    return shown[:, top:bottom, left:right]
