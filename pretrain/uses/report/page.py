"""A folder of scores as one page: findings, curves, slices, a histogram by part, and slices at
equal scores (the paper's Fig. 2, 3a and 4). A click marks a slice for `calibrate`.

The page is one file that needs no internet. It names series by their keys and shows nothing of a
header; paths are on it only where they were scored `with_paths`. Its parts are `page.html` and the
scripts `table.js`, `curves.js`, `labels.js` and `histogram.js`, beside those that all pages share
(`pages/`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import write_text
from ubr.weights.common.pages import webp_uri

from ...data.store import Store
from ...reading.context import MM_PER_UNIT, Axis, on_axis
from ...reading.finding import KINDS
from ...reading.line import PAPER_R
from ...scores.read import OVERVIEWS
from ...scores.streamed import each_overview
from ..pages.filling import filled
from ..pictures import at_levels
from .contents import SeriesCurve, about, common_scale, histogram, parts_of, read_series
from .thumbnails import Thumbnails

LEVELS, COLUMNS = 7, 8


SCRIPTS = ("curves.js", "labels.js", "table.js", "histogram.js")


@claiming("out")
def report(
    scores: str | Path,
    out: str | Path,
    *,
    store: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one page about a folder of scores.

    Args:
        scores: a folder that `score` wrote.
        out: the .html file; missing folders are created.
        store: the store that was scored, for pictures of slices and front views of series; without
            it, only the front views that an audit keeps with its scores are shown.
        overwrite: replace an earlier page at the same path.

    Returns:
        `out`.

    Raises:
        ValueError: no scores in the folder, a name that does not end in .html, a file that exists,
            or a store that holds none of these series.
    """
    path = Path(out)
    if path.suffix != ".html":
        raise ValueError(f"out must end in .html, got {path.name!r}")
    if path.exists() and (path.is_dir() or not overwrite):
        how = "give another `out`" + ("" if path.is_dir() else ", or set `overwrite`")
        raise ValueError(f"{path} exists; {how}")
    series, settings = read_series(Path(scores))
    scored = {one.key: len(one.scores) for one in series}
    thumbnails = Thumbnails(Store.open(store), scored) if store is not None else None
    kept = (Path(scores) / OVERVIEWS).is_file()
    fronts = {key: webp_uri(webp) for key, webp in each_overview(Path(scores))} if kept else {}
    write_text(path, _render(series, settings, thumbnails, fronts))
    return path


def _render(
    series: Sequence[SeriesCurve],
    settings: Mapping[str, Any],
    thumbnails: Thumbnails | None,
    fronts: Mapping[str, str],
) -> str:
    """The template, filled. fronts: pictures from the front that the scores keep."""
    kinds = [kind for kind in KINDS if any(f.kind == kind for one in series for f in one.findings)]
    defined = [one.r for one in series if not math.isnan(one.r)]
    parts = parts_of(series)
    rows = [about(one, parts, thumbnails, fronts.get(one.key, "")) for one in series]
    here = Path(__file__).parent
    return filled(
        here / "page.html",
        scripts=[here / file for file in SCRIPTS],
        data={
            **{"series": rows, "parts": parts, "kinds": kinds, "histogram": histogram(series)},
            **{"scale": common_scale(series), "paperR": PAPER_R},
            "pictures": thumbnails is not None,
        },
        series=len(series),
        kinds=[
            (kind, sum(any(f.kind == kind for f in one.findings) for one in series))
            for kind in kinds
        ],
        parts=parts,
        scale=common_scale(series),
        levels=_levels(series, thumbnails) if thumbnails else [],
        positions=_have_positions(series),
        slices=sum(len(one.scores) for one in series),
        median_r=np.median(defined) if defined else None,
        paper_r=PAPER_R,
        suspect=sum(one.suspect for one in series),
        without_r=len(series) - len(defined),
        with_findings=sum(bool(one.findings) for one in series),
        pictures=thumbnails is not None,
        fronts=any(row["front"] for row in rows),
        paths=any(one.row.get("path") for one in series),
        weights=str(settings["weights_sha256"])[:12],
        backbone=settings.get("backbone"),
    )


def _levels(
    series: Sequence[SeriesCurve], thumbnails: Thumbnails
) -> list[tuple[float, list[tuple[Any, ...]]]]:
    """Slices at equal scores side by side (the paper's Fig. 2), or at equal positions if there are
    positions.

    (score or mm, (series, index, picture) of several series).
    """
    axis: Axis = "position" if _have_positions(series) else "score"
    shown = [
        replace(one, scores=np.asarray(on_axis(axis, one.scores, one.position_mm), np.float64))
        for one in series
        if one.key in thumbnails.spacing_mm
    ]
    everything = np.concatenate([one.scores for one in shown])
    low, high = np.percentile(everything, [2, 98])
    levels = np.linspace(low, high, LEVELS).tolist()
    rows = []
    for level, cells in zip(levels, at_levels(shown, levels, COLUMNS), strict=True):
        made = [
            (one.key, *picture)
            for one, index in cells
            for picture in thumbnails.of(one.key, [index])
        ]
        rows.append((round(level, 1) if axis == "score" else round(MM_PER_UNIT * level), made))
    return rows


def _have_positions(series: Sequence[SeriesCurve]) -> bool:
    return all(one.position_mm is not None for one in series)
