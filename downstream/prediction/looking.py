"""A detector on the slices of a scan, in the view that it was trained in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ubr.pretrain.data.volume import Volume
from ubr.weights import InputSpec

from ..dataset import to_image
from ..detector import Detector
from ..geometry import Geometry, prepare
from ..slices import View, scan_slice
from .body import Body
from .boxes import Boxes, joined

BATCH = 4
"""Slices of one scan that are looked at together.

They are padded to one size, so what is found depends on it in the last digits.
"""


@dataclass(frozen=True, eq=False)
class Looker:
    """A detector with what it needs to know of its training.

    Args:
        detector: on the device to use, in evaluation mode.
        inputs: the intensity that it was trained with.
        view: neighbours, pixel size, largest side.
        position: (volume, slice) -> position in the body, for a detector that takes one.
        body: tells where findings lie.
    """

    detector: Detector
    inputs: InputSpec
    view: View
    position: Callable[[Volume, int], float] | None = None
    body: Body | None = None

    def look(self, volume: Volume, slices: Sequence[int], least: float) -> Iterator[Boxes]:
        """What the detector finds in slices of a volume, some slices at a time.

        Each slice is shown as in training: its neighbours lie at distances in mm, the border is
        cut, and pixels have the view's size in mm.

        Args:
            volume: the scan.
            slices: indices of the slices, ascending.
            least: score that a box has at least.
        """
        # Slices are made ready in this thread: torch in a second one takes cores from the first,
        # which costs far more than the one millisecond of a slice.
        for group in (slices[i : i + BATCH] for i in range(0, len(slices), BATCH)):
            yield self._found(volume, group, self.shown(volume, group), least)

    def shown(self, volume: Volume, slices: Sequence[int]) -> list[tuple[Tensor, Geometry]]:
        """What the detector is given of each slice: an image, and where it lies in the slice."""
        z_mm, y_mm, x_mm = volume.spacing_mm
        found = []
        for index in slices:
            hu = scan_slice(volume.hu, volume.z_mm, index, self.view)
            hu, _, geometry = prepare(hu, [], (x_mm, y_mm, z_mm), self.view)
            found.append((to_image(torch.from_numpy(hu), self.inputs), geometry))
        return found

    @torch.inference_mode()
    def _found(
        self,
        volume: Volume,
        slices: Sequence[int],
        shown: Sequence[tuple[Tensor, Geometry]],
        least: float,
    ) -> Boxes:
        device = next(self.detector.parameters()).device
        places = None
        if self.position is not None:
            places = torch.tensor([self.position(volume, i) for i in slices], device=device)
        results = self.detector([image.to(device) for image, _ in shown], None, places)
        parts = []
        height, width = volume.hu.shape[1:]
        for index, (_, geometry), found in zip(slices, shown, results, strict=True):
            scores = found["scores"].cpu().double().numpy()
            edges = geometry.to_slice(found["boxes"].cpu().double().numpy())
            edges = edges.clip(0, [width, height, width, height])
            kept = np.flatnonzero(scores >= least)
            kept = kept[np.argsort(-scores[kept], kind="stable")]
            parts.append(Boxes(np.full(len(kept), index, np.int32), edges[kept], scores[kept]))
        return joined(parts)
