"""Where in the body the slices of a scan lie, by weights that know body coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.reading.context import on_axis, positions
from ubr.pretrain.reading.curve import Curve
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.ranges import Range
from ubr.pretrain.reading.reference import reference_of

if TYPE_CHECKING:
    from ubr.pretrain.data.volume import Volume
    from ubr.pretrain.reading.regions import Regions
    from ubr.weights import Regressor


@dataclass(frozen=True, eq=False)
class Body:
    """A regressor, and regions of its scores.

    regressor: on the device to use, in evaluation mode. regions: with parts, a scale or both, or
    none. follows_mm: its scores follow millimetres. looked_at: the range whose slices are looked
    at. settings: what makes these and no others.
    """

    regressor: Regressor
    regions: Regions | None
    follows_mm: bool
    looked_at: Range
    settings: dict[str, object]

    def scores(self, volume: Volume) -> NDArray[np.float32]:
        """`[n]`, of all slices of a volume."""
        from ubr.weights.scorer import score_slices

        return score_slices(self.regressor, volume.hu, volume.spacing_mm, volume.z_mm)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of `columns`."""
        return tuple(self.columns(np.zeros(2, np.float32), np.arange(2.0)))

    def columns(
        self, scores: NDArray[np.floating], z_mm: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        """What is known of each slice, name -> `[n]`: `slice_score`; `position_mm`, where scores
        follow millimetres; `part` and `position`, as the regions have them. A series is judged by
        its own curve, as where it is scored alone.
        """
        found: dict[str, NDArray[Any]] = {"slice_score": scores}
        if self.follows_mm:
            found["position_mm"] = self._mm(scores, z_mm)
        if self.regions is not None:
            found |= self.regions.columns(self._levels(scores, z_mm))
        return found

    def within(self, scores: NDArray[np.floating], z_mm: NDArray[np.float64]) -> NDArray[np.intp]:
        """Indices of the slices that are looked at."""
        levels = np.asarray(self._levels(scores, z_mm), np.float64)
        return self.looked_at.within(Curve(levels, z_mm), self.regions)

    def _mm(self, scores: NDArray[np.floating], z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        faults = findings(scores, z_mm, reference=reference_of([(scores, z_mm)]))
        return positions(scores, z_mm, faults).mm

    def _levels(
        self, scores: NDArray[np.floating], z_mm: NDArray[np.float64]
    ) -> NDArray[np.floating]:
        """What the regions read."""
        if self.regions is None or self.regions.axis == "score":
            return scores
        return on_axis(self.regions.axis, scores, self._mm(scores, z_mm))


def open_body(
    weights: str | Path,
    regions: str | Path | None,
    device: str,
    start: str | None = None,
    end: str | None = None,
) -> Body:
    """Weights of a body axis, and the regions to read them by.

    Args:
        weights: a file that `fit` wrote, or "released".
        regions: a file that `calibrate` wrote for them; released weights come with their own.
        device: where to compute.
        start: the upper level from which slices are looked at: a landmark, a part or a number.
        end: likewise the lower one.

    Raises:
        ValueError: no such file, weights without a head, regions of other weights or of those that
            classify by features, unknown levels, or levels the wrong way round.
    """
    from ubr.pretrain.reading.chosen import chosen_regions
    from ubr.weights import Regressor, load
    from ubr.weights.common.devices import to_device

    loaded = load(weights)
    chosen = chosen_regions(regions, loaded)
    if chosen is not None and chosen.classifier is not None:
        raise ValueError(
            "regions that classify parts by features are not supported here; give regions that "
            "calibrate made without features"
        )
    looked_at = Range(start, end)
    looked_at.scores(chosen)  # its levels are known, before networks are built
    regressor = Regressor.from_weights(loaded).eval()
    to_device(regressor, device)
    settings: dict[str, object] = {
        "body_sha256": loaded.sha256(),
        "regions_sha256": None if chosen is None else chosen.sha256(),
        "from": start,
        "to": end,
    }
    return Body(regressor, chosen, loaded.made().follows_mm, looked_at, settings)
