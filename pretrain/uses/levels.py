"""The same level of the body in other exams: the slices at the score of a given slice."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import write_text
from ubr.weights.released import REGIONS, beside

from ..reading.curve import Curve, passage
from ..reading.intervals import chosen_coverage, needed, rank
from ..reading.regions import Regions
from ..scores.naming import find_key
from ..scores.read import read_curves, read_slices, usual_axis


@dataclass(frozen=True)
class SameLevel:
    """Where another series reaches the given level.

    series: its key. index: the slice nearest to the passage, from the superior end. z_mm: the
    passage, mm below the series' first slice. low_mm, high_mm: the interval, or None. All are None
    where the series does not reach the level.
    """

    series: str
    index: int | None = None
    z_mm: float | None = None
    low_mm: float | None = None
    high_mm: float | None = None


@claiming("out")
def same_level(
    scores: str | Path,
    series: str,
    index: int,
    *,
    regions: str | Path | Regions | None = None,
    coverage: float | None = None,
    out: Path | None = None,
) -> list[SameLevel]:
    """The level of one slice in every other series of a folder of scores.

    A series is at the level where its curve passes the slice's score (`curve.passage`), or its
    position if the regions read positions; without regions, if the scores have positions. The
    interval comes from pairs of labelled volumes: within its half width, the second volume passes
    the first one's score at a landmark in `coverage` of the cases. It has the same width for all
    series and levels. What it says holds for volumes like the labelled ones, near their landmarks.

    Args:
        scores: a folder that `score` wrote.
        series: the slice's series: its key in series.csv, the beginning of the key, or the path of
            the scan.
        index: the slice, 0 at the superior end.
        regions: what `calibrate` made from volumes with landmarks; by default those that come with
            released weights, if these made the scores. Without regions there is no interval.
        coverage: with regions, the probability with which the interval contains the level; 0.9 by
            default. With too few labelled volumes for it there is no interval.
        out: a new CSV file for the table.

    Raises:
        ValueError: no such folder, series or slice, a coverage outside 0..1, regions of other
            weights, or an `out` that exists.
    """
    if out is not None and out.exists():
        raise ValueError(f"{out} exists; give a new `out`")
    if regions is None:
        regions = own_regions(scores)
    regions = Regions.load(regions) if isinstance(regions, str | Path) else regions
    coverage = chosen_coverage(coverage, regions)
    axis = usual_axis(scores) if regions is None else regions.axis
    curves, weights_sha256 = read_curves(scores, axis)
    half_mm = None
    if regions is not None:
        regions.check(weights_sha256)
        half_mm = None if no_interval(regions, coverage) else half_width_mm(regions, coverage)
    series = find_key(series, curves)
    if len(curves) < 2:
        raise ValueError(f"{scores} holds one series only; score all exams into one folder")
    given = curves[series].scores
    if not 0 <= index < len(given):
        raise ValueError(
            f"index must be in 0..{len(given) - 1}, the slices of series {series}; got {index}"
        )
    rows = [
        _at(key, curve, float(given[index]), half_mm)
        for key, curve in curves.items()
        if key != series
    ]
    if out is not None:
        _write_csv(out, rows)
    return rows


def own_regions(scores: str | Path) -> Regions | None:
    """The regions of the released weights that made a folder's scores; None for other weights.

    Raises `ValueError` for a folder that `score` did not write.
    """
    _, settings = read_slices(scores)
    file = beside(settings.get("weights"), REGIONS)
    return Regions.load(file) if file else None


def half_width_mm(regions: Regions, coverage: float) -> float:
    """Half the interval's length: a quantile of the distances that pairs of labelled volumes have.

    The quantile is (n + 1) coverage / n, since a new pair is one more; n is the number of pairs of
    volumes, in either order. Pairs are many, but no more independent than the volumes. So the
    volumes must suffice for the coverage, as in `intervals`. Raises `ValueError` where they do not.
    """
    if why := no_interval(regions, coverage):
        raise ValueError(why)
    volumes = _volumes(regions)
    pairs = volumes * (volumes - 1) / 2
    return float(
        np.quantile(
            regions.pairs_mm, min(1.0, (pairs + 1) * coverage / pairs), method="inverted_cdf"
        )
    )


def no_interval(regions: Regions | None, coverage: float | None) -> str:
    """Why there is no interval, and what to do; "" where there is one."""
    if regions is None:
        return "for an interval, give regions made from volumes with labelled landmarks"
    volumes, coverage = _volumes(regions), chosen_coverage(coverage, regions)
    if regions.pairs_mm and rank(volumes, coverage) <= volumes:
        return ""
    allowed = "give no interval"
    if regions.pairs_mm:
        allowed = f"allow at most {100 * volumes / (volumes + 1):.0f} %"
    return (
        f"no interval at {100 * coverage:g} %: {volumes} volumes labelled with a landmark "
        f"{allowed}; lower the `coverage`, or calibrate on {needed(coverage)} volumes"
    )


def _volumes(regions: Regions) -> int:
    """How many volumes are labelled with the landmark that most of them show."""
    return max((level.volumes for level in regions.landmarks.values()), default=0)


def table(rows: Sequence[SameLevel], why: str = "") -> str:
    """Rows as text.

    why: why there is no interval; "" if there is one.
    """
    width = max(len("series"), *(len(row.series) for row in rows))
    interval = any(row.low_mm is not None for row in rows)
    lines = [f"{'series':<{width}}  {'index':>5}  {'z_mm':>7}{'  interval mm' if interval else ''}"]
    for row in rows:
        where = (
            "does not reach the level" if row.z_mm is None else f"{row.index:>5}  {row.z_mm:>7.1f}"
        )
        between = f"  {row.low_mm:.1f} to {row.high_mm:.1f}" if row.low_mm is not None else ""
        lines.append(f"{row.series:<{width}}  {where}{between}")
    return "\n".join([*lines, *([why] if why else [])])


def _at(key: str, curve: Curve, level: float, half_mm: float | None) -> SameLevel:
    z, outside = passage(*curve, level)
    if outside:
        return SameLevel(key)
    low, high = (None, None) if half_mm is None else (round(z - half_mm, 2), round(z + half_mm, 2))
    return SameLevel(key, int(np.abs(curve.z_mm - z).argmin()), round(z, 2), low, high)


def _write_csv(path: Path, rows: Sequence[SameLevel]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([field.name for field in fields(SameLevel)])
    writer.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())
