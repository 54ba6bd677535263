"""A folder of scores as one page: series and their findings, curves, histograms by part, slices
(the paper's Fig. 2, 3a and 4).

The page is one file that needs no internet. It names series by their keys and shows nothing of a
header.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.store import Store, StoreError
from ..scores.tables import read_csv, read_slices
from .pictures import WINDOW_HU, at_levels

POINTS = 96
"""Points of a curve that is drawn; a longer series is thinned, or a thousand of them would be a
page of many megabytes.
"""
THUMBNAIL_PX = 96
SHOWN = 3
"""Slices that are shown of a finding."""
MOST_THUMBNAILS = 600
"""Of findings, on a page: about 2 MB."""
LEVELS, COLUMNS = 7, 8
BINS = 60


@dataclass(frozen=True)
class SeriesCurve:
    """One series of a scores folder.

    scores, z_mm: a number a slice; parts: a part a slice, or none; row: its row of series.csv.
    """

    key: str
    scores: NDArray[np.float64]
    z_mm: NDArray[np.float64]
    parts: NDArray[np.str_] | None
    row: dict[str, str]
    findings: tuple[dict[str, str], ...]


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
    from jinja2 import Environment, FileSystemLoader

    path = Path(out)
    if path.suffix != ".html":
        raise ValueError(f"out must end in .html, got {path.name!r}")
    series = read_scores(Path(scores))
    pictures = Pictures(Store.open(store), series) if store is not None else None
    kinds = sorted({f["kind"] for one in series for f in one.findings})
    defined = [r for one in series if not math.isnan(r := float(one.row["pearson_r"]))]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        series=[_about(one, pictures) for one in series],
        kinds=[
            (kind, sum(any(f["kind"] == kind for f in one.findings) for one in series))
            for kind in kinds
        ],
        parts=_parts(series),
        histogram=_histogram(series),
        levels=_levels(series, pictures) if pictures else [],
        slices=sum(len(one.scores) for one in series),
        median_r=np.median(defined) if defined else None,
        with_findings=sum(bool(one.findings) for one in series),
        pictures=pictures,
    )
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def read_scores(folder: Path) -> list[SeriesCurve]:
    """The series of a scores folder.

    Raises `ValueError` where its tables are missing, damaged or do not belong together.
    """
    slices, _ = read_slices(folder)
    rows = {row["series"]: row for row in read_csv(folder / "series.csv")}
    if rows.keys() != slices.keys():
        raise ValueError(
            f"{folder}: series.csv and slices.parquet are of other series; score again"
        )
    findings: dict[str, list[dict[str, str]]] = {key: [] for key in slices}
    for finding in read_csv(folder / "findings.csv"):
        findings[finding["series"]].append(finding)
    if not slices:
        raise ValueError(f"{folder} holds no series")
    return [
        SeriesCurve(
            key,
            one["score"].astype(np.float64),
            one["z_mm"].astype(np.float64),
            one["part"].astype(np.str_) if "part" in one else None,
            rows[key],
            tuple(findings[key]),
        )
        for key, one in slices.items()
    ]


class Pictures:
    """Slices of a store as small pictures, data URIs that a page can hold.

    left: how many of findings may still be made.
    """

    def __init__(self, store: Store, series: Sequence[SeriesCurve]) -> None:
        self.store, self.left = store, MOST_THUMBNAILS
        scored = {one.key: len(one.scores) for one in series}
        # A series that was ingested with more or fewer slices than it was scored with would show
        # the wrong ones.
        self.spacing = {
            row.key: row.spacing_mm for row in store.rows() if row.slices == scored.get(row.key)
        }
        if not self.spacing:
            raise ValueError(
                "the store holds none of the scored series; give the one that was scored"
            )

    def of_findings(self, one: SeriesCurve, finding: dict[str, str]) -> list[tuple[int, str]]:
        """(index, picture) of a few slices of a finding."""
        first, last = int(finding["first"]), int(finding["last"])
        chosen = sorted(
            {int(i) for i in np.linspace(first, last, min(SHOWN, last - first + 1)).round()}
        )[: max(0, self.left)]
        made = self.of(one.key, chosen)
        self.left -= len(made)
        return made

    def of(self, key: str, indices: Sequence[int]) -> list[tuple[int, str]]:
        """(index, picture) of slices; none where the store lacks the series or its pixels."""
        if key not in self.spacing or not indices:
            return []
        try:
            hu = self.store.read(key, list(indices))
        except StoreError:
            return []
        return [
            (i, _picture(one, self.spacing[key][1:])) for i, one in zip(indices, hu, strict=True)
        ]


def _picture(hu: NDArray[np.int16], spacing_yx: tuple[float, float]) -> str:
    """A slice as a grey WebP, its longer side `THUMBNAIL_PX`, its pixels square."""
    from PIL import Image

    low, high = WINDOW_HU
    grey = (np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    mm = hu.shape[0] * spacing_yx[0], hu.shape[1] * spacing_yx[1]
    height, width = (max(1, round(THUMBNAIL_PX * side / max(mm))) for side in mm)
    stream = io.BytesIO()
    Image.fromarray(grey).resize((width, height), Image.Resampling.BOX).save(
        stream, "webp", quality=70
    )
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def _about(one: SeriesCurve, pictures: Pictures | None) -> dict[str, Any]:
    """What the page's row and curve of a series need."""
    chosen = np.unique(
        np.linspace(0, len(one.scores) - 1, min(POINTS, len(one.scores))).round().astype(int)
    )
    findings = [
        {
            "kind": f["kind"],
            "first": int(f["first"]),
            "last": int(f["last"]),
            "z": [round(float(one.z_mm[int(f[end])]), 1) for end in ("first", "last")],
            "confidence": float(f["confidence"]),
            "reason": f["reason"],
            "pictures": pictures.of_findings(one, f) if pictures else [],
        }
        for f in one.findings
    ]
    return {
        "key": one.key,
        "slices": len(one.scores),
        "extent": round(float(one.z_mm[-1])),
        "r": _number(float(one.row["pearson_r"])),
        "slope": _number(float(one.row["score_per_mm"])),
        "parts": one.row.get("parts", ""),
        "warnings": one.row["warnings"],
        "kinds": sorted({f["kind"] for f in one.findings}),
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


def _parts(series: Sequence[SeriesCurve]) -> list[str]:
    """The parts that occur, superior to inferior."""
    scores: dict[str, list[float]] = {}
    for one in series:
        for part in np.unique(one.parts) if one.parts is not None else ():
            scores.setdefault(str(part), []).append(float(np.median(one.scores[one.parts == part])))
    return sorted(scores, key=lambda part: float(np.median(scores[part])))


def _histogram(series: Sequence[SeriesCurve]) -> dict[str, Any]:
    """Slices a score, stacked by part (the paper's Fig.

    3a). The range holds 99 % of the slices: a few outliers would hide the rest.
    """
    everything = np.concatenate([one.scores for one in series])
    low, high = np.percentile(everything, [0.5, 99.5])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    parts = _parts(series)
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


def _levels(
    series: Sequence[SeriesCurve], pictures: Pictures
) -> list[tuple[float, list[tuple[str, int, str]]]]:
    """Slices at equal scores side by side (the paper's Fig.

    2): (score, (series, index, picture) of several series).
    """
    shown = [one for one in series if one.key in pictures.spacing]
    everything = np.concatenate([one.scores for one in shown])
    low, high = np.percentile(everything, [2, 98])
    levels = np.linspace(low, high, LEVELS).tolist()
    rows = []
    for level, cells in zip(levels, at_levels(shown, levels, COLUMNS), strict=True):
        made = [
            (one.key, *picture) for one, index in cells for picture in pictures.of(one.key, [index])
        ]
        rows.append((round(level, 1), made))
    return rows
