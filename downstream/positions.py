"""Where in the body each key slice lies, by the score of a regressor.

A detector with `position` is given this; it goes beyond the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ubr.pretrain.data.volume import Volume
from ubr.weights import Regressor, Weights
from ubr.weights.body import body_boxes
from ubr.weights.common.progress import progress_bar
from ubr.weights.scorer import score_grid

from .dataset import DeepLesion
from .slices import View, key_volume, scan_slice


@dataclass(frozen=True)
class Positions:
    """Body positions of key slices.

    by_name: position by `KeySlice.name`. scorer: digest of the weights that they come from.
    """

    by_name: dict[str, float]
    scorer: str


def body_positions(
    scorer: Weights, *sets: DeepLesion, device: str = "cpu", progress: bool = True
) -> Positions:
    """The score of each key slice by its name.

    The body's box is found in the slice alone, since a data set of key slices holds no whole
    series. Where the scorer's contract has neighbours they are taken from the slices that ship with
    the key slice.

    Args:
        scorer: weights with the regressor's head, as `ubr-pretrain fit` writes them; any backbone,
            not only the detector's.
        sets: their images; an unreadable one gets the mean of the others, as its stand-in may be
            any of them.
        device: "cpu", "cuda", ...; finding the body costs more than the network.
        progress: show a progress bar.

    Raises:
        ValueError: the weights hold a trunk only, or no image can be read.
    """
    regressor = Regressor.from_weights(scorer).eval()
    regressor.to(device)
    score = partial(_score, regressor)
    found: dict[str, float] = {}
    images = [(one.images, key, one.unreadable) for one in sets for key in one.keys]
    view = _view(scorer)
    for folder, key, unreadable in progress_bar(
        images, title="positions", unit="slices", show=progress
    ):
        try:
            planes, _ = key_volume(folder, key, view)
        except ValueError:
            if unreadable == "stop":
                raise
            continue
        x_mm, y_mm, z_mm = key.spacing_mm
        found[key.name] = score(planes, (z_mm, y_mm, x_mm))
    if not found:
        raise ValueError("none of the images can be read, so none has a position; check the folder")
    middle = float(np.mean(list(found.values())))
    return Positions(
        {key.name: found.get(key.name, middle) for _, key, _ in images}, scorer.sha256()
    )


def slice_position(scorer: Weights) -> Callable[[Volume, int], float]:
    """A function that gives the score of a slice of a scan, as `body_positions` of a key slice.

    Raises `ValueError` for weights that hold a trunk only.
    """
    regressor = Regressor.from_weights(scorer).eval()
    view = _view(scorer)

    def position(volume: Volume, index: int) -> float:
        planes = scan_slice(volume.hu, volume.z_mm, index, view)
        return _score(regressor, planes, volume.spacing_mm)

    return position


def _view(scorer: Weights) -> View:
    """What of a slice a scorer is shown."""
    apart = scorer.inputs.neighbours_mm
    return View(channels=3, distance_mm=apart) if apart else View()


def _score(
    regressor: Regressor, planes: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> float:
    """The score of a slice `[1, y, x]`, or of one between its neighbours, at (z, y, x) mm."""
    hu = planes.round().astype(np.int16)
    inputs = regressor.inputs
    grid = torch.from_numpy(inputs.to_grid(hu, spacing_mm[1:], body_boxes(hu, spacing_mm)))
    return float(score_grid(regressor, grid if len(grid) == 1 else grid[None])[0])
