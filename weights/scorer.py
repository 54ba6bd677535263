"""Scores of slices: a regressor and HU in, one number per slice out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .body import body_boxes, showing
from .network import BATCH, interpolated
from .regressor import Regressor


def score_slices(
    regressor: Regressor,
    hu: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    z_mm: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Score all slices of a series. A slice without a body gets a score from those around it.

    Args:
        regressor: in evaluation mode, on the device to use.
        hu: `[n, y, x]`, superior to inferior.
        spacing_mm: (z, y, x).
        z_mm: `[n]` positions below the first slice, increasing.

    Returns:
        `[n]` scores.
    """
    boxes = body_boxes(hu, spacing_mm)
    taken = showing(boxes, np.arange(len(hu)))
    held = regressor.inputs.needed(z_mm, taken)
    grid = regressor.inputs.to_grid(hu[held], spacing_mm[1:], boxes, slices=held)
    grid = regressor.inputs.with_neighbours(grid, z_mm, taken)
    return interpolated(score_grid(regressor, grid), z_mm, taken)


@torch.inference_mode()
def score_grid(regressor: Regressor, grid: NDArray[np.int16] | Tensor) -> NDArray[np.float32]:
    """Score slices that are on the contract's grid already.

    Args:
        regressor: in evaluation mode, on the device to use.
        grid: `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours.

    Returns:
        `[n]` scores.
    """
    device = next(regressor.parameters()).device
    parts = [
        regressor.score(part.to(device, non_blocking=True))
        for part in torch.split(torch.as_tensor(grid), BATCH)
    ]
    return torch.cat(parts).cpu().numpy()
