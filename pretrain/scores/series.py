"""The scores of one series, and its row of series.csv."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..reading.context import Context
from ..reading.curve import ordered_share, pearson_r
from ..reading.finding import Finding, kinds_of
from ..reading.line import fit_line


@dataclass(frozen=True)
class SeriesScores:
    """Scores of one series.

    key: its hash. scores, z_mm: a number for each slice, superior to inferior. warnings: of its
    volume. source: where it was read from; it is written out only where paths were asked for.
    features: `[n, 512]`, what the regressor sees in each slice (the paper's pool6), if asked for.
    findings: its faults, judged beside the series that were scored with it. interpolated: which
    scores come from the slices around, because these show no body or were not asked for.
    position_mm, context: each slice's position on the body axis, and what it comes from; of weights
    that follow millimetres. overview: `[k, w]` of the slices that were scored (`data.overviews`),
    if asked for.
    """

    key: str
    scores: NDArray[np.float32]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]
    source: str
    features: NDArray[np.float32] | None = None
    findings: tuple[Finding, ...] = ()
    interpolated: NDArray[np.bool_] | None = None
    position_mm: NDArray[np.float64] | None = None
    context: Context | None = None
    overview: NDArray[np.int16] | None = None

    def summary(self) -> dict[str, object]:
        """The row of series.csv."""
        extent = float(self.z_mm[-1])
        slope = (
            float(np.polyfit(self.z_mm, self.scores, 1)[0]) if len(self.scores) > 1 else math.nan
        )
        line = fit_line(self.scores, self.z_mm)
        return {
            "series": self.key,
            "slices": len(self.scores),
            "extent_mm": round(extent, 3),
            "pearson_r": round(pearson_r(self.scores, self.z_mm), 5),
            "ordered": round(ordered_share(self.scores), 5),
            "score_per_mm": round(slope, 6),
            "first_score": round(float(self.scores[0]), 4),
            "last_score": round(float(self.scores[-1]), 4),
            "robust_slope": round(line.robust_slope, 6),
            "range": f"{line.first_score:.2f} to {line.last_score:.2f}",
            "direction": line.direction,
            "paper_rule": line.paper_rule,
            **({"context": self.context} if self.context else {}),
            "findings": kinds_of(self.findings),
            "warnings": "; ".join(self.warnings),
        }
