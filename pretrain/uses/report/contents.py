"""What the page shows of the series in a folder of scores, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...reading.finding import Finding
from ...scores.read import read_findings, read_rows, read_slices, read_summaries, weights_of
from ..pictures import spread
from .thumbnails import Thumbnails

POINTS = 96
"""Points of a curve that is drawn. Without thinning, a thousand long series would make a page of
many megabytes.
"""
BINS = 60
PLACE = ("z_mm", "low_mm", "high_mm")
"""Columns of landmarks.csv that say where a landmark lies."""


@dataclass(frozen=True)
class SeriesCurve:
    """One series of a folder of scores.

    scores, z_mm: a number for each slice. position_mm: the same, or none. parts: a part for each
    slice, or none. row: its row of series.csv. findings, landmarks: its rows of findings.csv and
    landmarks.csv.
    """

    key: str
    scores: NDArray[np.float64]
    z_mm: NDArray[np.float64]
    position_mm: NDArray[np.float64] | None
    parts: NDArray[np.str_] | None
    row: dict[str, str]
    findings: tuple[Finding, ...]
    landmarks: tuple[dict[str, str], ...]

    @property
    def r(self) -> float:
        """Pearson's r of score with position; NaN where it has none."""
        return float(self.row["pearson_r"])

    @property
    def suspect(self) -> bool:
        """Whether r is below the paper's limit."""
        return self.row["paper_rule"] == "True"


def read_series(folder: Path) -> tuple[list[SeriesCurve], dict[str, Any]]:
    """The series of a folder of scores, and the scores' settings.

    Raises `ValueError` where its tables are missing, damaged or do not belong together.
    """
    slices, settings = read_slices(folder)
    weights_of(folder, settings)
    rows = read_summaries(folder, slices)
    findings = read_findings(folder, slices, rows)
    if not slices:
        raise ValueError(f"{folder} holds no series; give a folder with scored series")
    landmarks: dict[str, list[dict[str, str]]] = {}
    if (folder / "landmarks.csv").exists():
        for row in read_rows(folder / "landmarks.csv"):
            landmarks.setdefault(row["series"], []).append(row)
    return [
        SeriesCurve(
            key,
            one["score"].astype(np.float64),
            one["z_mm"].astype(np.float64),
            one.get("position_mm"),
            one["part"].astype(np.str_) if "part" in one else None,
            rows[key],
            findings.get(key, ()),
            tuple(landmarks.get(key, ())),
        )
        for key, one in slices.items()
    ], settings


def about(
    one: SeriesCurve, parts: Sequence[str], thumbnails: Thumbnails | None, front: str = ""
) -> dict[str, Any]:
    """What the page's row and curve of a series need.

    parts: those of all series. front: its picture from the front; "" lets the thumbnails make one.
    """
    findings = [
        {
            "kind": found.kind,
            "first": found.first,
            "last": found.last,
            "confidence": found.confidence,
            "reason": found.reason,
            "pictures": thumbnails.of_finding(one.key, found) if thumbnails else [],
        }
        for found in one.findings
    ]
    return {
        "key": one.key,
        "path": one.row.get("path", ""),
        "slices": len(one.scores),
        "extent": round(float(one.z_mm[-1]), 1),
        "z": _uneven(one.z_mm),
        "r": _number(one.r),
        "suspect": one.suspect,
        "context": one.row.get("context", ""),
        "slope": _number(float(one.row["score_per_mm"])),
        "parts": one.row.get("parts", ""),
        "runs": _runs(one.parts, parts),
        "landmarks": [
            [row["landmark"], *(_number(float(row[name] or "nan")) for name in PLACE)]
            for row in one.landmarks
            if row["z_mm"] and not row["outside"]
        ],
        "warnings": one.row["warnings"],
        "kinds": sorted({found.kind for found in one.findings}),
        "findings": findings,
        "pictures": thumbnails.of_series(one.key, len(one.scores)) if thumbnails else [],
        "front": front or (thumbnails.overview(one.key, one.z_mm) if thumbnails else ""),
        "curve": [
            [i, round(float(one.scores[i]), 3), *_position(one, i)]
            for i in spread(0, len(one.scores) - 1, POINTS)
            if math.isfinite(one.scores[i])
        ],
    }


def _position(one: SeriesCurve, index: int) -> list[float]:
    return [] if one.position_mm is None else [round(float(one.position_mm[index]), 1)]


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 4)


def _uneven(z_mm: NDArray[np.float64]) -> list[float] | None:
    """Positions of slices at unequal distances; none where the extent tells them."""
    even = np.linspace(0, z_mm[-1], len(z_mm))
    return None if np.abs(z_mm - even).max() < 0.1 else z_mm.round(1).tolist()


def _runs(slices: NDArray[np.str_] | None, parts: Sequence[str]) -> list[tuple[int, int, int]]:
    """(first slice, last slice, index in `parts`) of neighbouring slices of one part."""
    if slices is None:
        return []
    starts = [0, *(np.flatnonzero(slices[1:] != slices[:-1]) + 1).tolist()]
    lasts = [start - 1 for start in [*starts[1:], len(slices)]]
    return [(a, b, parts.index(str(slices[a]))) for a, b in zip(starts, lasts, strict=True)]


def common_scale(series: Sequence[SeriesCurve]) -> dict[str, float]:
    """The axes that all curves share: scores low to high, and the longest extent in mm.

    A few outliers would flatten all curves, so 1 % of the slices may lie outside.
    """
    low, high = _usual(np.concatenate([one.scores for one in series]))
    margin = (high - low) / 20
    return {
        "low": round(low - margin, 3),
        "high": round(high + margin, 3),
        "extent": round(max(float(one.z_mm[-1]) for one in series), 1),
    }


def _usual(scores: NDArray[np.float64]) -> tuple[float, float]:
    """The range of 99 % of the scores, never empty."""
    known = scores[np.isfinite(scores)]
    low, high = (float(end) for end in np.percentile(known, [0.5, 99.5])) if len(known) else (0, 0)
    return (low, high) if high > low else (low, low + 1)


def parts_of(series: Sequence[SeriesCurve]) -> list[str]:
    """The parts that occur, superior to inferior."""
    scores: dict[str, list[float]] = {}
    for one in series:
        for part in np.unique(one.parts) if one.parts is not None else ():
            scores.setdefault(str(part), []).append(float(np.median(one.scores[one.parts == part])))
    return sorted(scores, key=lambda part: float(np.median(scores[part])))


def histogram(series: Sequence[SeriesCurve]) -> dict[str, Any]:
    """Slices by score, stacked by part (the paper's Fig. 3a).

    The range holds 99 % of the slices: a few outliers would hide the rest.
    """
    everything = np.concatenate([one.scores for one in series])
    edges = np.linspace(*_usual(everything), BINS + 1)
    parts = parts_of(series)
    counts = [
        np.histogram(
            np.concatenate(
                [
                    one.scores[one.parts == part] if parts and one.parts is not None else one.scores
                    for one in series
                ]
            ),
            edges,
        )[0]
        for part in parts or [""]
    ]
    return {
        "low": round(float(edges[0]), 2),
        "high": round(float(edges[-1]), 2),
        "counts": [c.tolist() for c in counts],
    }
