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
from ...scores.read import read_findings, read_rows, read_slices
from .thumbnails import Thumbnails

POINTS = 96
"""Points of a curve that is drawn. Without thinning, a thousand long series would make a page of
many megabytes.
"""
BINS = 60


@dataclass(frozen=True)
class SeriesCurve:
    """One series of a folder of scores.

    scores, z_mm: a number for each slice. parts: a part for each slice, or none. row: its row of
    series.csv. findings: its rows of findings.csv.
    """

    key: str
    scores: NDArray[np.float64]
    z_mm: NDArray[np.float64]
    parts: NDArray[np.str_] | None
    row: dict[str, str]
    findings: tuple[Finding, ...]


def read_series(folder: Path) -> list[SeriesCurve]:
    """The series of a folder of scores.

    Raises `ValueError` where its tables are missing, damaged or do not belong together.
    """
    slices, _ = read_slices(folder)
    rows = {row["series"]: row for row in read_rows(folder / "series.csv")}
    if rows.keys() != slices.keys():
        raise ValueError(
            f"{folder}: series.csv and slices.parquet hold different series; score again"
        )
    findings = read_findings(folder)
    if not slices:
        raise ValueError(f"{folder} holds no series")
    return [
        SeriesCurve(
            key,
            one["score"].astype(np.float64),
            one["z_mm"].astype(np.float64),
            one["part"].astype(np.str_) if "part" in one else None,
            rows[key],
            findings.get(key, ()),
        )
        for key, one in slices.items()
    ]


def about(one: SeriesCurve, thumbnails: Thumbnails | None) -> dict[str, Any]:
    """What the page's row and curve of a series need."""
    chosen = np.unique(
        np.linspace(0, len(one.scores) - 1, min(POINTS, len(one.scores))).round().astype(int)
    )
    findings = [
        {
            "kind": found.kind,
            "first": found.first,
            "last": found.last,
            "z": [round(float(one.z_mm[end]), 1) for end in (found.first, found.last)],
            "confidence": found.confidence,
            "reason": found.reason,
            "pictures": thumbnails.of_finding(one.key, found) if thumbnails else [],
        }
        for found in one.findings
    ]
    return {
        "key": one.key,
        "slices": len(one.scores),
        "extent": round(float(one.z_mm[-1])),
        "r": _number(float(one.row["pearson_r"])),
        "slope": _number(float(one.row["score_per_mm"])),
        "parts": one.row.get("parts", ""),
        "warnings": one.row["warnings"],
        "kinds": sorted({found.kind for found in one.findings}),
        "findings": findings,
        "curve": [
            [round(float(one.z_mm[i]), 1), round(float(one.scores[i]), 3)]
            for i in chosen
            if math.isfinite(one.scores[i])
        ],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 4)


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
    low, high = np.percentile(everything, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
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
