"""An audit as one page for a browser without internet: sorted, filtered, with a picture of each
series and its parts as bands.

The page names series by their keys and shows nothing of a header but classes; paths are on it only
where they were asked for. Its parts are `page.html`, `audit.css` and `audit.js`, beside those that
all pages share (`pages/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ubr.weights.common.disk import write_text
from ubr.weights.common.pages import webp_uri

from ...reading.regions import Regions
from ...scores.streamed import each_overview
from ..pages.filling import filled
from .rows import Band, Row
from .summary import Summary

MOST = 2000
"""Series on a page: about 3 MB. Of more, those that most need to be looked at."""
COLUMNS = (
    *("series", "study", "ct", "stated", "stated_kind", "seen", "agreement", "confidence"),
    *("agreement_reason", "complete", "missing", "missing_at", "complete_reason", "direction"),
    *("slices", "extent_mm", "spacing_mm", "uneven", "kernel", "tilt_deg", "twice", "copy_of"),
    *("findings", "warnings", "path"),
)
"""What the page holds of a row."""


@dataclass
class PageRows:
    """The rows that the page shows, of those that were added."""

    rows: list[tuple[int, Row, list[Band]]] = field(default_factory=list)
    series: int = 0

    def add(self, row: Row, bands: Sequence[Band]) -> None:
        """Add a series."""
        self.series += 1
        kept = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "", False)}
        self.rows.append((_urgency(row), kept, list(bands)))
        if len(self.rows) >= 2 * MOST:
            self._drop()

    def shown(self) -> list[dict[str, Any]]:
        """The rows as the page's script reads them, most urgent first."""
        self._drop()
        return [
            {**row, "bands": [(part, round(a), round(b)) for part, a, b in bands]}
            for _, row, bands in self.rows
        ]

    def _drop(self) -> None:
        self.rows.sort(key=lambda one: -one[0])
        del self.rows[MOST:]


def _urgency(row: Row) -> int:
    """How much a series needs to be looked at."""
    return (
        8 * (row["agreement"] == "no")
        + 8 * (row["direction"] == "reversed")
        + 6 * (row["complete"] == "missing")
        + 4 * (row["ct"] == "doubtful")
        + 3 * bool(row["copy_of"])
        + 3 * (row["agreement"] == "partly")
        + 2 * bool(row["findings"])
        + bool(row["uneven"])
    )


def write_page(
    path: Path, page: PageRows, summary: Summary, regions: Regions | None, scores: Path
) -> None:
    """Write the page. scores: the folder with the pictures."""
    series = page.shown()
    by_key = {one["series"]: one for one in series}
    for key, webp in each_overview(scores):
        if key in by_key:
            by_key[key]["picture"] = webp_uri(webp)
    here = Path(__file__).parent
    text = filled(
        here / "page.html",
        styles=[here / "audit.css"],
        scripts=[here / "audit.js"],
        data={"series": series, "parts": list(regions.parts) if regions else []},
        summary=summary.text(),
        shown=len(series),
        of=page.series,
        paths=any("path" in one for one in series),
    )
    write_text(path, text)
