"""A detector whose answers can be computed by hand, in place of a trained one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from ubr.downstream import evaluation
from ubr.downstream.recipes import DetectorRecipe
from ubr.downstream.slices import View
from ubr.weights import InputSpec

INPUTS = InputSpec(size_px=32, window_hu=(-1000.0, 1000.0))


class Bright(nn.Module):
    """Boxes around what is brighter than 700 HU in the middle channel; the score is its mean.

    seen: the images of each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.seen: list[list[Tensor]] = []

    def forward(
        self, images: list[Tensor], targets: None, positions: Tensor | None
    ) -> list[dict[str, Tensor]]:
        self.seen.append(images)
        return [self._boxes(image[1].numpy()) for image in images]

    def _boxes(self, plane: np.ndarray[Any, Any]) -> dict[str, Tensor]:
        parts, _ = ndimage.label(plane > 0.85)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts)]
        scores = [float(plane[y1:y2, x1:x2].mean()) for x1, y1, x2, y2 in boxes]
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(scores),
        }


def use_bright(patch: pytest.MonkeyPatch, view: View) -> Bright:
    """Let every run folder hold this detector, trained in a view."""
    detector = Bright()
    loaded = (detector.eval(), DetectorRecipe(view=view), INPUTS)
    patch.setattr(evaluation, "load_detector", lambda run, which: loaded)
    return detector
