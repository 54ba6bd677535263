"""Writing the tables of a folder of scores, some series at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common.checksums import file_crc32
from ..data.overviews import overview_webp
from ..data.tables import table_writer
from ..data.volume import LeftOut, shown
from ..reading.context import on_axis, positions
from ..reading.faults import findings
from ..reading.finding import Finding
from ..reading.intervals import landmark_rows
from ..reading.reference import Reference, reference_of
from ..reading.regions import Regions
from .read import OVERVIEWS
from .series import SeriesScores
from .slices import FEATURES, Columns, slices_writer, table_name

SERIES_AT_ONCE = 256
"""Series whose rows are in memory when the tables are written; a row group of slices.parquet."""
TYPICAL = 2000
"""Series from which the look of an intact curve is learned.

Keys are hashes, so the first ones are as good as any.
"""
_BLANK = SeriesScores("", np.zeros(1, np.float32), np.zeros(1), (), "")
"""A share of the series can be empty; its tables have columns all the same."""


@dataclass(frozen=True)
class TableOptions:
    """What the tables hold besides scores.

    regions: parts and landmarks, with intervals of this coverage. features: of each slice.
    with_paths: where each series was read from. positions: on the body axis, of weights
    whose scores follow millimetres. overviews: a small coronal picture of each series.
    plain: the table of slices is slices.csv.
    """

    regions: Regions | None = None
    coverage: float = 0.9
    features: bool = False
    with_paths: bool = False
    positions: bool = False
    overviews: bool = False
    plain: bool = False

    @property
    def by_features(self) -> bool:
        """Whether the tables need the features of each slice."""
        return self.features or (self.regions is not None and self.regions.classifier is not None)


def write_tables(
    folder: Path,
    series: Callable[[], Iterator[SeriesScores]],
    left_out: Iterable[LeftOut],
    options: TableOptions,
    settings: Mapping[str, object],
) -> list[str]:
    """Write the tables into a folder, some series at a time. Returns their names.

    series: gives all series in the order of their keys, each time from the first. settings: what
    the scores depend on.
    """
    reference = reference_of([(one.scores, one.z_mm) for one in islice(series(), TYPICAL)])
    left = [{"series": out.key, "reason": out.reason, "path": shown(out.path)} for out in left_out]
    with _csv(
        folder / "left_out.csv", ["series", "reason", *(["path"] if options.with_paths else [])]
    ) as table:
        table.writerows(sorted(left, key=lambda row: tuple(row.values())))
    judge = partial(judged, reference=reference, in_mm=options.positions)
    blank = judge(_BLANK)
    last = table_name(options.plain)
    names = ["left_out.csv", "series.csv", "findings.csv", last]

    def checksums() -> dict[str, str]:
        return {name: file_crc32(folder / name) for name in names if name != last}

    empty = slice_rows([], options)
    with (
        slices_writer(folder, options.plain, empty, settings, checksums) as add,
        ExitStack() as stack,
    ):
        summaries = stack.enter_context(
            _csv(folder / "series.csv", list(series_row(blank, options)))
        )
        faults = stack.enter_context(
            _csv(folder / "findings.csv", ["series", *(field.name for field in fields(Finding))])
        )
        if options.regions:
            columns = list(landmarks_of(blank, options.regions, options.coverage)[0])
            landmarks = stack.enter_context(_csv(folder / "landmarks.csv", columns))
            names.append("landmarks.csv")
        remaining = series()
        while batch := [judge(one) for one in islice(remaining, SERIES_AT_ONCE)]:
            add(slice_rows(batch, options))
            summaries.writerows(series_row(one, options) for one in batch)
            faults.writerows(
                {"series": one.key, **asdict(finding)} for one in batch for finding in one.findings
            )
            if options.regions:
                regions, coverage = options.regions, options.coverage
                landmarks.writerows(
                    row for one in batch for row in landmarks_of(one, regions, coverage)
                )
        stack.close()
        if options.features:
            _write_features(folder / FEATURES, series)
            names.append(FEATURES)
        if options.overviews:
            _write_overviews(folder / OVERVIEWS, series)
            names.append(OVERVIEWS)
    return names


def judged(one: SeriesScores, reference: Reference, in_mm: bool) -> SeriesScores:
    """The series with its findings, and with the positions that they allow."""
    found = findings(one.scores, one.z_mm, reference=reference)
    if not in_mm:
        return replace(one, findings=found)
    mm, context = positions(one.scores, one.z_mm, found)
    return replace(one, findings=found, position_mm=mm, context=context)


def _read_by(one: SeriesScores, regions: Regions) -> NDArray[np.floating]:
    return on_axis(regions.axis, one.scores, one.position_mm)


def landmarks_of(one: SeriesScores, regions: Regions, coverage: float) -> list[dict[str, object]]:
    """Rows of landmarks.csv."""
    return landmark_rows(regions, one.key, _read_by(one, regions), one.z_mm, coverage)


def slice_rows(series: Sequence[SeriesScores], options: TableOptions) -> Columns:
    """Rows of the table of slices."""
    lengths = [len(one.scores) for one in series]
    return {
        "series": np.repeat(np.array([one.key for one in series], np.str_), lengths),
        "index": np.concatenate([np.arange(n, dtype=np.int32) for n in [0, *lengths]]),
        "z_mm": np.concatenate([np.empty(0, np.float64), *(one.z_mm for one in series)]),
        "score": np.concatenate([np.empty(0, np.float32), *(one.scores for one in series)]),
        **({"position_mm": _positions(series)} if options.positions else {}),
        "interpolated": _interpolated(series),
        **_columns(series, options.regions),
    }


def _interpolated(series: Sequence[SeriesScores]) -> NDArray[np.bool_]:
    """Scores of earlier versions have no such mark."""
    marks = (
        np.zeros(len(one.scores), np.bool_) if one.interpolated is None else one.interpolated
        for one in series
    )
    return np.concatenate([np.empty(0, np.bool_), *marks])


def _positions(series: Sequence[SeriesScores]) -> NDArray[np.float64]:
    return np.concatenate(
        [np.empty(0), *(one.position_mm for one in series if one.position_mm is not None)]
    )


def _columns(series: Sequence[SeriesScores], regions: Regions | None) -> dict[str, NDArray[Any]]:
    """The columns that regions add."""
    if regions is None:
        return {}
    features = None
    if regions.classifier:
        width = len(regions.classifier.weights[0])
        features = np.concatenate(
            [
                np.empty((0, width), np.float32),
                *(one.features for one in series if one.features is not None),
            ]
        )
    read = [np.empty(0, np.float32), *(_read_by(one, regions) for one in series)]
    return regions.columns(np.concatenate(read), features)


def series_row(one: SeriesScores, options: TableOptions) -> dict[str, object]:
    """A row of series.csv."""
    regions = options.regions
    parts = regions.summary(_read_by(one, regions), one.z_mm) if regions else {}
    return one.summary() | parts | ({"path": one.source} if options.with_paths else {})


def _write_features(path: Path, series: Callable[[], Iterator[SeriesScores]]) -> None:
    """One array of all slices, mapped so that it need not be in memory."""
    shapes = [one.features.shape for one in series() if one.features is not None]
    rows, columns = sum(n for n, _ in shapes), shapes[0][1] if shapes else 0
    whole = np.lib.format.open_memmap(path, "w+", np.float32, (rows, columns))
    at = 0
    for one in series():
        if one.features is not None:
            whole[at : at + len(one.features)] = one.features
            at += len(one.features)
    whole.flush()


def _write_overviews(path: Path, series: Callable[[], Iterator[SeriesScores]]) -> None:
    """A table of the series' keys and pictures, a row group for as many as are in memory."""
    import pyarrow as pa

    schema = pa.schema({"series": pa.string(), "webp": pa.binary()})
    remaining = series()
    with table_writer(path, schema) as table:
        while batch := list(islice(remaining, SERIES_AT_ONCE)):
            pictures = [_picture(one) for one in batch]
            columns = {"series": [one.key for one in batch], "webp": pictures}
            table.write_table(pa.table(columns, schema))


def _picture(one: SeriesScores) -> bytes | None:
    """A series' overview; none where it is lacking."""
    if one.overview is None:
        return None
    taken = one.z_mm if one.interpolated is None else one.z_mm[~one.interpolated]
    return overview_webp(one.overview, taken, float(one.z_mm[-1]))


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[csv.DictWriter[str]]:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        yield writer
