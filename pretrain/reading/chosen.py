"""Which regions a verb reads by: those given, or the ones that come with released weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...weights.common.notes import note
from ...weights.released import REGIONS, beside
from .regions import Level, Regions

if TYPE_CHECKING:
    from ...weights.scorable import Scorable


def chosen_regions(given: str | Path | Regions | None, weights: Scorable) -> Regions | None:
    """The regions to read the scores of these weights by.

    Regions of the parent are taken where they are given, if the head was kept and it is known how
    far scores moved. They then have no intervals, which would promise what was not shown.

    Args:
        given: regions, or a file that `calibrate` wrote; None takes those that come with released
            weights, if the weights are such.
        weights: that made the scores, or will.

    Raises:
        ValueError: the regions are of other weights, or read positions that these do not give, or
            the file cannot be read.
    """
    made = weights.made()
    file = beside(made.name, REGIONS) if given is None else given
    regions = Regions.load(file) if isinstance(file, str | Path) else file
    if regions is None:
        return None
    if regions.axis == "position" and not made.follows_mm:
        raise ValueError(
            "the regions read positions, and these weights were trained without the position "
            "loss; run calibrate again"
        )
    sha256, parent = weights.sha256(), made.parent
    is_parents = parent is not None and parent.sha256 == regions.weights_sha256 != sha256
    if is_parents and parent and parent.moved and regions.classifier is None:
        note(
            f"the regions are those of {parent}; there are no intervals: run calibrate on scores "
            "of these weights for regions of their own"
        )
        return _of_child(regions, sha256)
    regions.check(sha256)
    return regions


def _of_child(regions: Regions, sha256: str) -> Regions:
    """The parent's levels, without what was measured of them."""

    def bare(level: Level) -> Level:
        return replace(level, without=(), residuals_mm=())

    return replace(
        regions,
        weights_sha256=sha256,
        borders=tuple(map(bare, regions.borders)),
        landmarks={name: bare(level) for name, level in regions.landmarks.items()},
        pairs_mm=(),
    )
