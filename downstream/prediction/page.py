"""Findings as one page for a browser without internet: each series from the front with the places
of its findings, and of each finding its surest slice with the box.

The page names series by their keys and shows nothing of a header or a path. It is written a series
at a time, from `findings.html` and `findings.css` beside this file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ubr.pretrain.data.overviews import OVERVIEW_MM
from ubr.weights.common import pages
from ubr.weights.common.pages import webp_uri

from .drawing import NEAR_PX, SLICE_PX, Region, around
from .linking import Finding, surest
from .tables import SeriesFindings, lps

PAGE = "findings.html"
MOST = 300
"""Series on a page: a few megabytes. Of more, those with the surest findings."""
PX_PER_MM = 0.8
"""Of overviews."""
LEAST_MM = 8.0
"""Sides of a finding's place that can still be seen."""


@dataclass
class Ranking:
    """Series by their surest finding, and counts of all that were passed through."""

    series: int = 0
    findings: int = 0
    looked_at: int = 0
    _surest: list[tuple[float, str]] = field(default_factory=list)

    def over(self, series: Iterable[SeriesFindings]) -> Iterator[SeriesFindings]:
        """The same series; each is counted and ranked as it passes."""
        for one in series:
            self.series += 1
            self.findings += len(one.findings)
            self.looked_at += len(one.slices)
            self._surest.append((-max((f.score for f in one.findings), default=0.0), one.key))
            yield one

    def shown(self) -> list[str]:
        """Keys of the series on the page, that with the surest finding first."""
        return [key for _, key in sorted(self._surest)[:MOST]]


def write_page(
    path: Path,
    series: Iterable[SeriesFindings],
    ranking: Ranking,
    left_out: int,
    settings: Mapping[str, object],
) -> None:
    """Write the page, a series at a time.

    series: those that `ranking` says are shown, in its order. left_out: how many sources gave no
    series. settings: what the findings depend on.
    """
    pages.write_page(
        path,
        Path(__file__).with_name("findings.html"),
        series=map(_about, series),
        ranking=ranking,
        left_out=left_out,
        most=MOST,
        detector=str(settings["detector_sha256"])[:12],
        min_score=settings["min_score"],
        top=settings["top"],
        body=settings.get("body_sha256") is not None,
    )


def _about(one: SeriesFindings) -> dict[str, Any]:
    """What the page shows of a series; lengths are in mm."""
    numbered = enumerate(one.findings, 1)
    drawn = [(number, found) for number, found in numbered if f"slice_{number}" in one.pictures]
    return {
        "key": one.key,
        "slices": len(one.z_mm),
        "looked_at": len(one.slices),
        "count": len(one.findings),
        "warnings": one.warnings,
        "overview": _overview(one, drawn) if "overview" in one.pictures else None,
        "findings": [_finding(one, number, found) for number, found in drawn],
    }


def _overview(one: SeriesFindings, drawn: Sequence[tuple[int, Finding]]) -> dict[str, Any]:
    """The series from the front, with the places of findings.

    Rows of the picture lie around the mm that they show.
    """
    from PIL import Image

    webp = one.pictures["overview"]
    x_mm, top = one.spacing_mm[2], -OVERVIEW_MM / 2
    width = one.size[1] * x_mm
    height = Image.open(io.BytesIO(webp)).height * OVERVIEW_MM
    places = []
    for number, found in drawn:
        ends = (found.edges[0] * x_mm, found.edges[2] * x_mm), found.z_mm
        sides = [max(b - a, LEAST_MM) for a, b in ends]
        corner = [(a + b - side) / 2 for (a, b), side in zip(ends, sides, strict=True)]
        places.append({"number": number, "box": (*corner, *sides)})
    return {
        "picture": webp_uri(webp),
        "box": (0, top, width, height),
        "size": (width * PX_PER_MM, height * PX_PER_MM),
        "places": places,
    }


def _finding(one: SeriesFindings, number: int, found: Finding) -> dict[str, Any]:
    edges = one.boxes.edges[surest(found, one.boxes)]
    height, width = one.size
    near = around(edges, one.spacing_mm, one.size)
    views = (("slice", (0, 0, width, height), SLICE_PX), ("near", near, NEAR_PX))
    centre = lps(one.place, np.array([found.centre]))[0]
    return {
        "number": number,
        "score": found.score,
        "slices": (found.first, found.best, found.last),
        "diameter": found.diameter_mm,
        "size": found.size_mm,
        "window": one.windows_hu[number - 1],
        "lps": None if one.place is None else centre,
        "where": one.whereabouts(found),
        "views": [
            _view(one, f"{name}_{number}", region, px, edges.tolist()) for name, region, px in views
        ],
    }


def _view(
    one: SeriesFindings, name: str, region: Region, longer_px: int, edges: list[float]
) -> dict[str, Any]:
    """A picture of a region of a slice, with a box on it."""
    _, y_mm, x_mm = one.spacing_mm
    x1, y1, x2, y2 = region
    width, height = (x2 - x1) * x_mm, (y2 - y1) * y_mm
    px = longer_px / max(width, height)
    left, top, right, bottom = (side * mm for side, mm in zip(edges, (x_mm, y_mm) * 2, strict=True))
    return {
        "picture": webp_uri(one.pictures[name]),
        "region": (x1 * x_mm, y1 * y_mm, width, height),
        "size": (width * px, height * px),
        "rect": (left, top, right - left, bottom - top),
    }
