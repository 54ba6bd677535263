"""A folder of scores as one page: findings, curves, a histogram by part, and slices at equal scores
(the paper's Fig. 2, 3a and 4).

The page is one file that needs no internet. It names series by their keys and shows nothing of a
header. Its parts are `page.html` (the template), `style.css` and `script.js`, which are copied into
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ubr.weights.common.disk import write_text

from ...data.store import Store
from ..pictures import at_levels
from .contents import SeriesCurve, about, histogram, parts_of, read_series
from .thumbnails import Thumbnails

LEVELS, COLUMNS = 7, 8


def report(scores: str | Path, out: str | Path, *, store: str | Path | None = None) -> Path:
    """Write the page.

    Args:
        scores: a folder that `score` wrote.
        out: the .html file; a file of this name is replaced.
        store: the store that was scored, for pictures of slices; without it there are none.

    Returns:
        `out`.

    Raises:
        ValueError: no scores there, a name that does not end in .html, or a store that holds none
            of these series.
    """
    path = Path(out)
    if path.suffix != ".html":
        raise ValueError(f"out must end in .html, got {path.name!r}")
    series = read_series(Path(scores))
    scored = {one.key: len(one.scores) for one in series}
    thumbnails = Thumbnails(Store.open(store), scored) if store is not None else None
    write_text(path, _render(series, thumbnails))
    return path


def _render(series: Sequence[SeriesCurve], thumbnails: Thumbnails | None) -> str:
    """The template, filled."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    copied = {
        name: Markup((folder / file).read_text("utf-8").rstrip("\n"))
        for name, file in (("style", "style.css"), ("script", "script.js"))
    }
    kinds = sorted({finding.kind for one in series for finding in one.findings})
    defined = [r for one in series if not math.isnan(r := float(one.row["pearson_r"]))]
    return environment.get_template("page.html").render(
        series=[about(one, thumbnails) for one in series],
        kinds=[
            (kind, sum(any(f.kind == kind for f in one.findings) for one in series))
            for kind in kinds
        ],
        parts=parts_of(series),
        histogram=histogram(series),
        levels=_levels(series, thumbnails) if thumbnails else [],
        slices=sum(len(one.scores) for one in series),
        median_r=np.median(defined) if defined else None,
        with_findings=sum(bool(one.findings) for one in series),
        pictures=thumbnails is not None,
        **copied,
    )


def _levels(
    series: Sequence[SeriesCurve], thumbnails: Thumbnails
) -> list[tuple[float, list[tuple[Any, ...]]]]:
    """Slices at equal scores side by side (the paper's Fig. 2).

    (score, (series, index, picture) of several series).
    """
    shown = [one for one in series if one.key in thumbnails.spacing_mm]
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
        rows.append((round(level, 1), made))
    return rows
