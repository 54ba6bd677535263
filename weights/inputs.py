"""The input contract: how Hounsfield units become the input of a backbone's first convolution.

Preprocessing that differs between pretraining and detector ruins a transfer experiment without an
error. It therefore has one home. An `InputSpec` is chosen once and travels inside the weights
file. Pretraining and detectors build their input through it, in two stages:

    slices in HU
      -- to_grid, with_neighbours -->  int16 HU on a square grid
      -- to_input -->                  float [N, 3, S, S]

The first stage is geometry: which part of the slice, at which resolution, with which neighbouring
slices. Its result can be stored. The second stage is intensity and runs on the device. HU are
resampled before they are windowed, so that augmentation can work in HU between the stages.

The first stage is NumPy. Methods of the second import torch themselves, because options are made
from the contract, and help must not wait for torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .body import series_box, shown_boxes
from .common import doors
from .common.hu import AIR_HU
from .resample import resampled

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects of a CT slice.

    Args:
        window_hu: the HU that become 0 and 1; values outside are clipped. -175..275 is the
            authors' soft-tissue window.
        size_px: side S of the square input in pixels.
        field: the part of the slice that is shown: the whole "image", or the square around the
            "body" (`ubr.weights.body`). With "body", everything outside the body's part of the
            slice is set to air: the table, and arms beside the torso or head.
        mm_per_px: pixel size in mm; the field is then cropped or padded with air around its centre
            to S pixels. Without it the field is stretched to S pixels, whatever its size in mm.
        channels: what the three channels are. "grey": the windowed slice, 0..1, three times.
            "folded": HU clipped to the window, zeros, ones; for a trunk whose first convolution
            does the rest (`ubr.weights.fold`).
        neighbours_mm: if given, the three channels are three slices: the one this far above, the
            slice itself, and the one this far below. Each is windowed on its own. Positions
            between two slices are interpolated; beyond the ends the last slice is repeated.
        mean: one number per channel, subtracted from it.
        std: one number per channel, by which it is then divided. The defaults are ImageNet's, with
            which torchvision's and timm's weights were trained.
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
            raise ValueError(f"neighbours_mm must be in 0.1..50 or null, got {self.neighbours_mm}")
        if self.neighbours_mm is not None and self.channels == "folded":
            raise ValueError(
                "channels 'folded' hold one slice, so neighbours_mm cannot apply; omit one of them"
            )
        if self.mm_per_px is not None and not 0.1 <= self.mm_per_px <= 20:
            raise ValueError(f"mm_per_px must be in 0.1..20 or null, got {self.mm_per_px}")
        threes = len(self.mean) == len(self.std) == 3
        if not threes or min(self.std) <= 0:
            raise ValueError(
                f"mean and std are three numbers each, std positive; got {self.mean} and {self.std}"
            )

    def to_grid(
        self,
        hu: NDArray[Any],
        spacing_mm: tuple[float, float],
        boxes: NDArray[np.int16] | None = None,
        *,
        size_px: int | None = None,
        slices: NDArray[np.intp] | None = None,
    ) -> NDArray[np.int16]:
        """Resample the slices of a series to the square grid.

        Args:
            hu: `[n, y, x]` HU, any dtype.
            spacing_mm: (y, x) pixel size in mm.
            boxes: `[n, 4]` the body's box in each slice (`ubr.weights.body.body_boxes`); required
                if field is "body".
            size_px: a side other than the contract's, for a caller that crops afterwards; the field
                in mm stays the same.
            slices: `[n]` if `hu` holds some slices of a series only: their indices in `boxes`,
                which are those of the whole series.

        Returns:
            `[n, S, S]` int16 HU. Pixels outside the slice are air.
        """
        top, bottom, left, right = 0, hu.shape[1], 0, hu.shape[2]
        shown: list[list[int]] | None = None
        if self.field == "body":
            if boxes is None or (len(boxes) != len(hu) and slices is None):
                raise ValueError(
                    f"field 'body' needs the body's box in each of the {len(hu)} slices; take "
                    "them from body_boxes"
                )
            box = series_box(boxes)
            if box[1] > box[0] and box[3] > box[2]:  # else no body was found
                top, bottom, left, right = box
                kept = shown_boxes(boxes)
                shown = (kept if slices is None else kept[slices]).tolist()
        size = size_px or self.size_px
        height_mm, width_mm = (bottom - top) * spacing_mm[0], (right - left) * spacing_mm[1]
        field_mm = (
            max(height_mm, width_mm) if self.mm_per_px is None else self.mm_per_px * self.size_px
        )
        height_px, width_px = (
            max(1, round(side * size / field_mm)) for side in (height_mm, width_mm)
        )
        grid = np.empty((len(hu), size, size), np.int16)
        for first in range(0, len(hu), _AT_ONCE):
            some = hu[first : first + _AT_ONCE, top:bottom, left:right].astype(np.float32)
            if shown is not None:
                _to_air(some, shown[first : first + _AT_ONCE], top, left)
            grid[first : first + _AT_ONCE] = resampled(some, size, height_px, width_px)
        return grid

    def needed(self, z_mm: NDArray[np.float64], slices: NDArray[np.intp]) -> NDArray[np.intp]:
        """Ascending indices of the slices that are needed to make the input of some of them.

        Args:
            z_mm: `[n]` positions of all slices.
            slices: indices of those that become input.
        """
        between = [bounds for bounds, _ in self._between(z_mm, slices)]
        return np.unique(np.concatenate([slices, *(one for two in between for one in two)]))

    def with_neighbours(
        self,
        grid: NDArray[np.int16],
        z_mm: NDArray[np.float64],
        slices: NDArray[np.intp] | None = None,
    ) -> NDArray[np.int16]:
        """Stack each slice of a series with its neighbours, if the contract has neighbours.

        Args:
            grid: `[n, S, S]` HU, the output of `to_grid` for all slices of a series.
            z_mm: `[n]` their positions, increasing from superior to inferior.
            slices: which slices are wanted, all by default. `grid` then holds those that are
                `needed` for them.

        Returns:
            `[n, 3, S, S]` int16 HU, a row for each slice wanted; `grid` unchanged if the contract
            has no neighbours.
        """
        if self.neighbours_mm is None:
            return grid
        wanted = np.arange(len(z_mm)) if slices is None else slices
        held = self.needed(z_mm, wanted)
        planes = []
        for bounds, share in self._between(z_mm, wanted):
            lower, upper = (grid[np.searchsorted(held, one)] for one in bounds)
            weight = share.astype(np.float32)[:, None, None]
            planes.append(np.rint(lower * (1 - weight) + upper * weight).astype(np.int16))
        return np.stack(planes, axis=1)

    def _between(
        self, z_mm: NDArray[np.float64], slices: NDArray[np.intp]
    ) -> list[tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]]:
        """For each channel the slices above and below its position, and the share of the lower."""
        found = []
        for away in (-1.0, 0.0, 1.0) if self.neighbours_mm is not None else ():
            at = np.interp(
                z_mm[slices] + away * (self.neighbours_mm or 0.0), z_mm, np.arange(len(z_mm))
            )
            lower, upper = (ends(at).astype(np.intp) for ends in (np.floor, np.ceil))
            found.append(((lower, upper), at - lower))
        return found

    def to_image(self, grid: Tensor) -> Tensor:
        """The three channels before mean and std: `[N, S, S]` HU -> `[N, 3, S, S]` float32.

        This is the input of a detector that subtracts mean and std itself. Three slices,
        `[N, 3, S, S]`, become one channel each. A single slice is copied to all three channels,
        even if the contract has neighbours.
        """
        low, high = self.window_hu
        hu = grid.float()[:, None] if grid.ndim == 3 else grid.float()
        if self.channels == "folded":
            import torch

            hu = hu.clamp(low, high)
            return torch.cat([hu, torch.zeros_like(hu), torch.ones_like(hu)], dim=1)
        return hu.sub(low).div_(high - low).clamp_(0, 1).expand(-1, 3, -1, -1)

    @property
    def pixel_scale(self) -> float:
        """What to multiply `to_image`, mean and std by for a library that takes 0..255 images."""
        return 1.0 if self.channels == "folded" else 255.0

    def to_input(self, grid: Tensor) -> Tensor:
        """The network's input: `[N, S, S]` or `[N, 3, S, S]` HU -> `[N, 3, S, S]` float32.

        `to_image`, minus mean, over std; in channels-last memory format.
        """
        import torch

        mean, std = (
            torch.tensor(v, device=grid.device).view(1, 3, 1, 1) for v in (self.mean, self.std)
        )
        return ((self.to_image(grid) - mean) / std).contiguous(memory_format=torch.channels_last)

    def intensity(self) -> tuple[object, ...]:
        """Window, channels, mean and std: weights move only between contracts that share them."""
        return self.window_hu, self.channels, self.mean, self.std

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for metadata.

        `neighbours_mm` is left out if it is None, so that digests of contracts from before it
        existed stay valid.
        """
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if (name, value) != ("neighbours_mm", None)
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of `to_dict`.

        Raises `ValueError` for a missing or unknown field, or a value of the wrong type. A contract
        is never guessed.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        from .provenance import Inputs

        doors.check(values, Inputs, "input contract", "take it from the file as it was written")
        if set(values) | {"neighbours_mm"} != names:
            raise ValueError(
                f"an input contract has the fields {sorted(names)}, got {sorted(values)}"
            )
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)


def reference_slice(inputs: InputSpec) -> Tensor:
    """`reference_hu` as a tensor."""
    import torch

    return torch.from_numpy(reference_hu(inputs))


def reference_hu(inputs: InputSpec) -> NDArray[np.int16]:
    """The synthetic slice on which the features of two networks are compared.

    An ellipse of waves that cover the window and a little beyond, surrounded by air.
    `[1, S, S]` HU.
    """
    low, high = inputs.window_hu
    y, x = np.meshgrid(*[np.linspace(-1, 1, inputs.size_px)] * 2, indexing="ij")
    waves = (np.sin(9 * x + 4 * y) * np.cos(7 * y - 3 * x) + 1) / 2
    hu = low + (high - low) * (1.2 * waves - 0.1)
    inside = (x / 0.9) ** 2 + (y / 0.7) ** 2 < 1
    return np.rint(np.where(inside, hu, AIR_HU)).clip(-32768, 32767).astype(np.int16)[None]


_AT_ONCE = 16
"""Slices that are resampled at a time: they stay in the cache, and a series is never copied."""


def _to_air(hu: NDArray[np.float32], shown: list[list[int]], top: int, left: int) -> None:
    """Set everything outside each body to air, in slices cropped at `top` and `left`."""
    for plane, (y0, y1, x0, x1) in zip(hu, shown, strict=True):
        if y1 > y0:
            y0, y1, x0, x1 = (max(0, k) for k in (y0 - top, y1 - top, x0 - left, x1 - left))
            plane[:y0], plane[y1:], plane[:, :x0], plane[:, x1:] = AIR_HU, AIR_HU, AIR_HU, AIR_HU
