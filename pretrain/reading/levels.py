"""The same level of the body in other exams: the slices at the score of a given one."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..tables import read_curves
from .curve import passage

NEAR_MM = 60.0
"""Half the length of the curve that a line is laid through. Curves bend over the length of a trunk, hardly over 12 cm."""
FEWEST = 5
"""Slices that the line is laid through at least; in a thick-slice series they reach further."""


@dataclass(frozen=True)
class SameLevel:
    """Where another series is at the given level.

    series: its key. index: the slice nearest to the passage, from the superior end. z_mm: the passage, mm below the series' first slice.
    low_mm, high_mm: see `same_level`. All are None where the series does not reach the level; the interval alone where its curve does not
    rise there.
    """

    series: str
    index: int | None = None
    z_mm: float | None = None
    low_mm: float | None = None
    high_mm: float | None = None


def same_level(scores: str | Path, series: str, index: int, *, coverage: float = 0.9, out: Path | None = None) -> list[SameLevel]:
    """The level of one slice in every other series of a SCORES folder.

    A series is at the level where its curve passes the slice's score (`curve.passage`). The interval around that place is how far a
    single slice's score scatters there, in mm: the robust line (Theil-Sen) through the curve within `NEAR_MM`, the `coverage` quantile of
    the slices' absolute distances from it, divided by its slope. It is the noise of that curve. It is no promise about anatomy, and
    `coverage` is no probability of it: a curve that is smooth and wrong has a short interval, and the noise of the given slice's own score
    is not in it.

    Args:
        scores: a folder that `score` wrote.
        series: the key of the series that the slice is of.
        index: the slice, counted from the superior end.
        coverage: share of the slices around the level whose scatter the interval covers.
        out: a new CSV file for the table.

    Raises:
        ValueError: no such folder, series or slice, a coverage outside 0..1, or an `out` that exists.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage:g}")
    if out is not None and out.exists():
        raise ValueError(f"{out} exists; give a new --out")
    curves, _ = read_curves(scores)
    if series not in curves:
        raise ValueError(f"{scores} has no series {series!r}; it holds {len(curves)}, see series.csv")
    if len(curves) < 2:
        raise ValueError(f"{scores} holds one series only; score the exams to compare together")
    given = curves[series].scores
    if not 0 <= index < len(given):
        raise ValueError(f"index must be in 0..{len(given) - 1}, the slices of series {series}; got {index}")
    rows = [_at(key, z_mm, curve, float(given[index]), coverage) for key, (curve, z_mm) in curves.items() if key != series]
    if out is not None:
        _write(out, rows)
    return rows


def table(rows: Sequence[SameLevel]) -> str:
    """Rows as text."""
    width = max(len("series"), *(len(row.series) for row in rows))
    lines = [f"{'series':<{width}}  {'index':>5}  {'z_mm':>7}  scatter mm"]
    for row in rows:
        where = "does not reach the level" if row.z_mm is None else f"{row.index:>5}  {row.z_mm:>7.1f}"
        interval = f"  {row.low_mm:.1f} to {row.high_mm:.1f}" if row.low_mm is not None else ""
        lines.append(f"{row.series:<{width}}  {where}{interval}")
    return "\n".join(
        [*lines, "scatter: how far single slices stray from the curve there; it does not say how likely the anatomy is the same"]
    )


def _at(key: str, z_mm: NDArray[np.float64], scores: NDArray[np.float64], level: float, coverage: float) -> SameLevel:
    z, outside = passage(scores, z_mm, level)
    if outside:
        return SameLevel(key)
    index = int(np.abs(z_mm - z).argmin())
    half = _scatter_mm(z_mm, scores, z, coverage)
    low, high = (None, None) if half is None else (round(z - half, 2), round(z + half, 2))
    return SameLevel(key, index, round(z, 2), low, high)


def _scatter_mm(z_mm: NDArray[np.float64], scores: NDArray[np.float64], z: float, coverage: float) -> float | None:
    """The quantile of the distances in mm between the slices around z and their robust line; None where that does not rise."""
    from scipy.stats import theilslopes

    order = np.argsort(np.abs(z_mm - z), kind="stable")
    near = np.sort(order[: max(FEWEST, int((np.abs(z_mm - z) <= NEAR_MM).sum()))])
    if len(near) < 3:
        return None
    slope, intercept, *_ = theilslopes(scores[near], z_mm[near], method="joint")
    if slope <= 0:
        return None
    return float(np.quantile(np.abs(scores[near] - intercept - slope * z_mm[near]), coverage) / slope)


def _write(path: Path, rows: Sequence[SameLevel]) -> None:
    """Write under a temporary name and rename."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([field.name for field in fields(SameLevel)])
    writer.writerows(astuple(row) for row in rows)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text.getvalue(), newline="")
    part.replace(path)
