"""Scoring one scan in memory, for callers that look for levels in its curve."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...weights.body import body_boxes
from ...weights.common.notes import note
from ..data.find import find_one, read_volume
from ..data.volume import Series, UnusableError, Volume
from ..reading.context import on_axis, positions
from ..reading.curve import pearson_r
from ..reading.faults import findings
from ..reading.finding import Finding
from ..reading.reference import reference_of
from ..reading.regions import Regions

TROUBLE = ("unreadable", "duplicate", "gap", "transform")
"""Codes of warnings that slices are missing, or that a header is damaged."""

if TYPE_CHECKING:
    from ...weights import Weights


def score_scan(weights: Weights, source: str | Path) -> tuple[Series, Volume, NDArray[np.float64]]:
    """The series and the volume of a scan, and the score of each slice.

    Where slices are missing, the header is damaged, or the curve shows a fault, a warning says so.

    Raises:
        ValueError: none or several series, or one in which no level can be looked for
            (`score_series`).
    """
    series = find_one(source)
    return (series, *score_series(weights, series, str(source)))


def score_series(
    weights: Weights, series: Series, called: str
) -> tuple[Volume, NDArray[np.float64]]:
    """The volume of a series, and the score of each slice; see `score_scan`.

    called: what the series is called in warnings and errors.

    Raises:
        UnusableError: no level can be looked for in it: fewer than three slices, no body, scores
            that are constant or fall towards the feet.
    """
    from ...weights import Regressor
    from ...weights.common.devices import to_device
    from ...weights.scorer import score_slices

    volume = read_volume(series)
    for warning in volume.warnings:
        if warning.startswith(TROUBLE):
            note(f"{called}: {warning}")
    check_slices(volume, called)
    regressor = Regressor.from_weights(weights).eval()
    to_device(regressor, "auto")
    scores = score_slices(regressor, volume.hu, volume.spacing_mm, volume.z_mm).astype(np.float64)
    check_curve(scores, volume.z_mm, called)
    for fault in _faults(scores, volume.z_mm):
        note(f"{called} may be faulty ({fault.kind}): {fault.reason}; levels in it may be wrong")
    return volume, scores


def check_slices(volume: Volume, called: str) -> None:
    """Raise `UnusableError` where no level can be looked for: fewer than three slices, no body."""
    if len(volume.hu) < 3:
        raise UnusableError(
            f"{called} has {len(volume.hu)} slices; finding a level needs at least three"
        )
    if not body_boxes(volume.hu, volume.spacing_mm).any():
        raise UnusableError(f"{called} shows no body in any of its {len(volume.hu)} slices")


def check_curve(scores: NDArray[np.floating], z_mm: NDArray[np.float64], called: str) -> None:
    """Raise `UnusableError` for scores that are constant or fall towards the feet."""
    r = pearson_r(scores, z_mm)
    if math.isnan(r):
        raise UnusableError(
            f"all {len(scores)} slices of {called} have the same score, {scores[0]:g}: these "
            "weights cannot tell them apart"
        )
    if r <= 0:
        raise UnusableError(
            f"the scores of {called} fall towards the feet (r {r:.2f}): it is upside-down, or "
            "unlike what these weights were trained on"
        )


def read_by(
    regions: Regions | None, scores: NDArray[np.float64], z_mm: NDArray[np.float64]
) -> NDArray[np.floating]:
    """What regions read of a scan, `[n]`: its scores, or the positions that they give.

    As where a series is scored alone, its findings are read from its own curve.
    """
    if regions is None or regions.axis == "score":
        return scores
    return on_axis(regions.axis, scores, positions(scores, z_mm, _faults(scores, z_mm)).mm)


def _faults(scores: NDArray[np.float64], z_mm: NDArray[np.float64]) -> tuple[Finding, ...]:
    return findings(scores, z_mm, reference=reference_of([(scores, z_mm)]))
