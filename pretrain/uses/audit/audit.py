"""What is in an archive: one row for each series, a summary, and a page.

AUDIT/audit.parquet, audit.csv   one row for each series
AUDIT/summary.txt                an overview to read in a minute
AUDIT/audit.html                 a page that opens offline in any browser
AUDIT/scores/                    the scores, as `score` writes them, and small pictures
AUDIT/private/                   what the search read; gone at the end
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import is_part, make_folder, whole, write_text
from ubr.weights.common.pool import cores
from ubr.weights.common.progress import progress_bar
from ubr.weights.released import check_there

from ...data.gridding import readers
from ...data.index import remove
from ...data.scans import FoundScans, found_scans, kept_search
from ...data.volume import LeftOut, shown
from ...data.workers import Workers, chosen
from ...reading.chosen import chosen_regions
from ...reading.regions import Regions
from ...scores.read import read_rows
from ...scores.scoring import score_found
from ...scores.streamed import each_series
from .completeness import begins_at, numbered
from .headers import about, headers_of, keys_of
from .page import PageRows, write_page
from .rows import Copies, Known, Row, columns_of, judged, row_left_out
from .summary import Summary
from .tables import write_tables

if TYPE_CHECKING:
    from ubr.weights import Weights

EVERY_MM = 10.0
"""Distance of the slices that are read (`benchmarks/audit.py`)."""
HOLDS = {"scores", "private", "audit.parquet", "audit.csv", "audit.html", "summary.txt"}
STRAIGHT_R = 0.9
"""The usual slope is the median over series whose curve is at least so straight."""


@dataclass(frozen=True)
class Audited:
    """What an audit found. folder: with the tables and the page. summary: counts and what to look
    at.
    """

    folder: Path
    summary: Summary

    def table(self) -> str:
        """The summary as text."""
        return f"{self.summary.text()}\n\nthe page and the tables are in {self.folder}"


@claiming("out", fills=True)
def audit(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    weights: str | Path | Weights = "released",
    regions: str | Path | Regions | None = None,
    every_mm: float = EVERY_MM,
    workers: int | None = None,
    with_paths: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Audited:
    """Report of each series what its header states, what it shows, and whether it is intact.

    Repeat an interrupted call to resume it. Files that have not changed are not read
    again.

    Args:
        sources: one store, or any number of files and folders, searched to any depth. A store
            does not hold what headers state.
        out: a new folder, or one that the same call began.
        weights: a file that `fit` wrote, or "released", the bundled weights.
        regions: a file that `calibrate` wrote for these weights. Released weights come with their
            own; with other weights, no body part is seen without regions.
        every_mm: largest distance in mm between slices whose pixels are read; a smaller one finds
            shorter faults and takes longer. Positions are taken from all headers.
        workers: processes that read; one per core by default, 0 reads in the calling thread.
        with_paths: also write where each series was read from. Paths may contain a patient's name.
        device: where scores are computed: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show progress bars.

    Raises:
        ValueError: as `score` does; or `out` holds something else.
    """
    check_there(*map(Path, sources), weights, regions)
    from ubr.weights import load

    folder = Path(out)
    if others := [one for one in folder.iterdir() if one.name not in HOLDS and not is_part(one)]:
        raise ValueError(f"{folder} holds {others[0].name!r} and is not an audit; give a new `out`")
    staff = chosen(workers, None, default=cores(), least=0)
    with readers(sources, staff) as staff:
        weights = load(weights) if isinstance(weights, str | Path) else weights
        regions = chosen_regions(regions, weights)
        with _opened(folder, sources, staff, with_paths, progress) as found:
            score_found(
                weights,
                lambda workers: nullcontext(found),
                folder / "scores",
                staff=staff,
                regions=regions,
                every_mm=every_mm,
                with_paths=with_paths,
                device=device,
                progress=progress,
                overviews=True,
            )
            known = known_by_headers(found, progress)
            summary = write_audit(folder, found, known, regions, with_paths)
    return Audited(folder, summary)


@contextmanager
def _opened(
    folder: Path, sources: Sequence[str | Path], staff: Workers, with_paths: bool, progress: bool
) -> Iterator[FoundScans]:
    """What is found in the sources; what the search reads is kept until the block has ended."""
    private = folder / "private"
    make_folder(private, 0o700)
    kept = kept_search(private, sources)
    empty = False
    try:
        with found_scans(
            sources, workers=staff, with_paths=with_paths, progress=progress, keep=kept
        ) as found:
            empty = not len(found)
            yield found
        remove(kept)
    finally:
        if empty:
            remove(kept)
        with suppress(OSError):  # it holds what was read
            private.rmdir()


def known_by_headers(found: FoundScans, progress: bool = False) -> dict[str, Known]:
    """What headers say of each series, by its key: a few words a series are in memory."""
    known = {}
    with progress_bar(total=len(found), title="headers", unit="series", show=progress) as bar:
        for unread in found:
            headers = headers_of(unread, found.headers(unread))
            known[unread.key] = Known(about(unread), numbered(headers), begins_at(headers))
            bar.update()
    return known


def write_audit(
    folder: Path,
    found: FoundScans,
    known: Mapping[str, Known],
    regions: Regions | None,
    with_paths: bool,
) -> Summary:
    """Write the tables, the summary and the page from `folder/scores` and what headers say."""
    scores = folder / "scores"
    copies, slope = Copies(), _usual_slope(scores)
    for one in each_series(scores):
        copies.add(one)
    copy_of = copies.found()
    columns = columns_of(regions, with_paths=with_paths)
    summary, page = Summary(), PageRows()

    def rows() -> Iterator[Row]:
        for one in each_series(scores):
            row, bands = judged(one, known.get(one.key, Known()), regions, slope)
            row |= {"copy_of": copy_of.get(one.key, "")}
            row |= {"path": one.source} if with_paths else {}
            page.add(row, bands)
            yield row
        yield from _rows_left_out(scores, found, known, columns, summary)

    with whole(folder / "audit.csv") as table, whole(folder / "audit.parquet") as parquet:
        write_tables(map(summary.add, rows()), columns, table, parquet)
    write_text(folder / "summary.txt", summary.text() + "\n")
    write_page(folder / "audit.html", page, summary, regions, scores)
    return summary


def _rows_left_out(
    scores: Path,
    found: FoundScans,
    known: Mapping[str, Known],
    columns: Mapping[str, type],
    summary: Summary,
) -> Iterator[Row]:
    """The rows of series that gave no scores; files that are no series are counted."""
    done = {row["series"] for row in read_rows(scores / "series.csv")}
    unread: Iterable[LeftOut] = (
        LeftOut(row.get("path", ""), row["reason"], row["series"])
        for row in read_rows(scores / "left_out.csv")
        if row["series"]
    )
    for out in unread:
        yield _with_path(row_left_out(out, out.key, _study(known, out.key), columns), out)
        done.add(out.key)
    for out in found.left_out():
        key, study = ("", "") if out.key else keys_of(out.path)
        if key and key not in done and "copy of another" not in out.reason:
            done.add(key)
            yield _with_path(row_left_out(out, key, study, columns), out)
        elif not out.key:
            summary.other(out.reason)


def _study(known: Mapping[str, Known], key: str) -> str:
    return known[key].about.study if key in known else ""


def _with_path(row: Row, out: LeftOut) -> Row:
    return {**row, "path": shown(out.path)} if "path" in row else row


def _usual_slope(scores: Path) -> float:
    """Score per mm in a usual series, NaN where no series is straight."""
    rows = list(read_rows(scores / "series.csv"))
    slopes = [
        abs(float(row["robust_slope"]))
        for row in rows
        if abs(float(row["pearson_r"])) >= STRAIGHT_R
    ]
    return float(np.median(slopes)) if slopes else math.nan
