"""A series' slices on the grid of the weights' contract, which is what scoring reads.

Reading runs in other processes, which start sooner without the networks. Nothing here needs one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ubr.weights import InputSpec
from ubr.weights.body import body_boxes

from .bank import to_grid
from .scans import UnreadScan, why_unread
from .store import Store
from .volume import Series, Volume


@dataclass(frozen=True)
class Slices:
    """A series on the grid.

    grid: `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours. z_mm: `[n]`. warnings: of its
    volume.
    """

    grid: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]


def slices_of(inputs: InputSpec, unread: UnreadScan) -> Slices | str:
    """A series on the contract's grid, or the reason why not."""
    try:
        if isinstance(unread.origin, Series):
            volume = unread.read().volume
            return Slices(grid_of(inputs, volume).numpy(), volume.z_mm, volume.warnings)
        path, row = unread.origin
        return Slices(to_grid(Store(path), row, inputs).numpy(), row.z_mm, row.warnings)
    except Exception as error:  # one series must not end the others
        return why_unread(error)


def grid_of(inputs: InputSpec, volume: Volume) -> Tensor:
    """A volume's slices on the contract's grid.

    `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours.
    """
    boxes = body_boxes(volume.hu, volume.spacing_mm)
    grid = inputs.to_grid(torch.from_numpy(volume.hu), volume.spacing_mm[1:], boxes)
    return inputs.with_neighbours(grid, volume.z_mm)
