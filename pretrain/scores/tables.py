"""The tables of a folder of scores: written series by series, and read by whoever looks at scores.

    slices.parquet   a row a slice: series, index, z_mm, score; with regions also part and position
    series.csv       a row a series: slices, extent, Pearson r, ordered pairs, slope, range, findings, warnings; with regions also the parts
    findings.csv     a row a fault that its curve shows: kind, first and last slice, confidence, reason
    landmarks.csv    with regions: where each landmark and border lies, in mm, with an interval
    features.npy     on request: the pooled features of each slice, in the order of slices.parquet
    left_out.csv     a row for each series or file that gave no scores, with the reason

Series are named by the same hashed keys as in a store and ordered by them; nothing identifies a
patient, unless paths were asked for.
"""

from __future__ import annotations

import csv
import heapq
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.volume import WARNINGS, LeftOut, reasons
from ..reading.curve import Curve, ordered_share, pearson_r
from ..reading.faults import (
    ENOUGH,
    KINDS,
    PAPER_R,
    Finding,
    Reference,
    facts,
    findings,
    reference_of,
)
from ..reading.intervals import landmark_rows
from ..reading.regions import Regions

if TYPE_CHECKING:
    import pyarrow as pa

SERIES_AT_ONCE = 256
"""Series whose rows are in memory when the tables are written; a row group of slices.parquet."""
TYPICAL = 2000
"""Series that tell what a sound curve looks like.

Keys are hashes, so the first ones are as good as any.
"""
LAST = "slices.parquet"
"""The table that is put in its place last: where it is, the scoring is finished."""


@dataclass(frozen=True)
class SeriesScores:
    """Scores of one series.

    key: its hash. scores, z_mm: a number a slice, superior to inferior. warnings: of its volume.
    source: where it was read from; for the caller only, it is written out where paths were asked
    for. features: `[n, 512]`, what the regressor sees in each slice (the paper's pool6), if asked
    for. findings: what is wrong with it, judged beside the series that were scored with it.
    """

    key: str
    scores: NDArray[np.float32]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]
    source: str
    features: NDArray[np.float32] | None = None
    findings: tuple[Finding, ...] = ()

    def summary(self) -> dict[str, object]:
        """The row of series.csv."""
        extent = float(self.z_mm[-1])
        slope = (
            float(np.polyfit(self.z_mm, self.scores, 1)[0]) if len(self.scores) > 1 else math.nan
        )
        about = facts(self.scores, self.z_mm)
        return {
            "series": self.key,
            "slices": len(self.scores),
            "extent_mm": round(extent, 3),
            "pearson_r": round(pearson_r(self.scores, self.z_mm), 5),
            "ordered": round(ordered_share(self.scores), 5),
            "score_per_mm": round(slope, 6),
            "first_score": round(float(self.scores[0]), 4),
            "last_score": round(float(self.scores[-1]), 4),
            "robust_slope": round(about.robust_slope, 6),
            "range": f"{about.first_score:.2f} to {about.last_score:.2f}",
            "direction": about.direction,
            "paper_rule": about.paper_rule,
            "findings": "; ".join(dict.fromkeys(f.kind for f in self.findings)),
            "warnings": "; ".join(self.warnings),
        }


_BLANK = SeriesScores("", np.zeros(1, np.float32), np.zeros(1), (), "")
"""A share of the series can be empty; its tables have columns all the same."""


@dataclass(frozen=True)
class Scored:
    """What `score` wrote; read from its files when asked for.

    folder: with the tables. sources: where each series was read from, by its key; for the caller
    only. already: how many series an earlier call had scored. notes: what the regions could not
    give.
    """

    folder: Path
    sources: Mapping[str, str]
    already: int = 0
    notes: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[SeriesScores, ...]:
        """The scores of all series, in the order of their keys; all of them in memory."""
        slices, _ = read_slices(self.folder)
        found: dict[str, list[Finding]] = {}
        for row in read_csv(self.folder / "findings.csv"):
            finding = Finding(
                row["kind"],
                int(row["first"]),
                int(row["last"]),
                float(row["confidence"]),
                row["reason"],
            )
            found.setdefault(row["series"], []).append(finding)
        return tuple(
            SeriesScores(
                row["series"],
                slices[row["series"]]["score"],
                slices[row["series"]]["z_mm"],
                tuple(filter(None, re.split(rf"; (?=(?:{'|'.join(WARNINGS)}):)", row["warnings"]))),
                self.sources[row["series"]],
                findings=tuple(found.get(row["series"], ())),
            )
            for row in read_csv(self.folder / "series.csv")
        )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What gave no scores; with paths where they were asked for."""
        rows = read_csv(self.folder / "left_out.csv")
        return tuple(LeftOut(row.get("path", ""), row["reason"], row["series"]) for row in rows)

    def table(self) -> str:
        """The end of a scoring as text:

        counts, quality, the least straight curves, findings, and what was left out and why.
        """
        rows = list(read_csv(self.folder / "series.csv"))
        r = {row["series"]: float(row["pearson_r"]) for row in rows}
        defined = [value for value in r.values() if not math.isnan(value)]
        median = np.median(defined) if defined else math.nan
        slices = sum(int(row["slices"]) for row in rows)
        lines = [
            f"scored    {len(rows):6,} series, {slices:,} slices; median r {median:.4f}; in "
            f"{self.folder}"
        ]
        if self.already:
            lines.append(f"{'':10}{self.already:6,} of them by an earlier call")
        least = heapq.nsmallest(
            5, rows, key=lambda row: -2.0 if math.isnan(r[row["series"]]) else r[row["series"]]
        )
        lines += [
            f"{'':10}r {r[row['series']]:.4f}  series {row['series']}, {row['slices']} slices"
            for row in least
        ]
        kinds = [row["findings"].split("; ") for row in rows if row["findings"]]
        counts = ", ".join(
            f"{kind} {n}" for kind in KINDS if (n := sum(kind in found for found in kinds))
        )
        suspect = sum(row["paper_rule"] == "True" for row in rows)
        if len(rows) < ENOUGH:
            lines.append(
                f"{'':10}{ENOUGH} series and more are needed to tell whether a header's spacing "
                "is right"
            )
        lines.append(
            f"findings  {len(kinds):6,} series{f': {counts}' if counts else ''}; r below "
            f"{PAPER_R}: {suspect}"
        )
        left_out = self.left_out
        return "\n".join(
            [
                *lines,
                f"left out  {len(left_out):6,}",
                *reasons(left_out, 10, with_paths=True),
                *self.notes,
            ]
        )


# -----------------------------------------------------------------------------------------------------------------
# writing


@dataclass(frozen=True)
class Asked:
    """What the tables hold beside scores. regions: parts and landmarks, with intervals of this
    coverage. features: of each slice. with_paths: where each series was read from.
    """

    regions: Regions | None = None
    coverage: float = 0.9
    features: bool = False
    with_paths: bool = False


def write(
    folder: Path,
    series: Callable[[], Iterator[SeriesScores]],
    left_out: Iterable[LeftOut],
    asked: Asked,
    settings: Mapping[str, object],
) -> list[str]:
    """Write the tables into a folder, some series at a time. Returns their names.

    series: gives all series in the order of their keys, each time from the first. settings: what
    the scores depend on.
    """
    import pyarrow.parquet as pq

    reference = reference_of([(one.scores, one.z_mm) for one in islice(series(), TYPICAL)])
    left = [{"series": out.key, "reason": out.reason, "path": out.path} for out in left_out]
    with _csv(
        folder / "left_out.csv", ["series", "reason", *(["path"] if asked.with_paths else [])]
    ) as table:
        table.writerows(sorted(left, key=lambda row: tuple(row.values())))
    schema = _slice_rows([], asked).schema.with_metadata({"ubr": json.dumps(settings)})
    names = ["left_out.csv", "series.csv", "findings.csv", LAST]
    with ExitStack() as stack:
        summaries = stack.enter_context(
            _csv(folder / "series.csv", list(_series_row(_BLANK, asked)))
        )
        faults = stack.enter_context(
            _csv(folder / "findings.csv", ["series", *(field.name for field in fields(Finding))])
        )
        slices = stack.enter_context(pq.ParquetWriter(folder / LAST, schema))
        if asked.regions:
            columns = list(
                landmark_rows(asked.regions, "", _BLANK.scores, _BLANK.z_mm, asked.coverage)[0]
            )
            landmarks = stack.enter_context(_csv(folder / "landmarks.csv", columns))
            names.append("landmarks.csv")
        remaining = series()
        while batch := [_judged(one, reference) for one in islice(remaining, SERIES_AT_ONCE)]:
            slices.write_table(_slice_rows(batch, asked).cast(schema))
            summaries.writerows(_series_row(one, asked) for one in batch)
            faults.writerows(
                {"series": one.key, **asdict(finding)} for one in batch for finding in one.findings
            )
            if asked.regions:
                regions, coverage = asked.regions, asked.coverage
                landmarks.writerows(
                    row
                    for one in batch
                    for row in landmark_rows(regions, one.key, one.scores, one.z_mm, coverage)
                )
    if asked.features:
        _write_features(folder / "features.npy", series)
        names.append("features.npy")
    return names


def _judged(one: SeriesScores, reference: Reference) -> SeriesScores:
    return replace(one, findings=findings(one.scores, one.z_mm, reference=reference))


def _slice_rows(series: Sequence[SeriesScores], asked: Asked) -> pa.Table:
    """Rows of slices.parquet."""
    import pyarrow as pa

    lengths = [len(one.scores) for one in series]
    scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in series)])
    return pa.table(
        {
            "series": pa.array(
                np.repeat(np.array([one.key for one in series], np.str_), lengths), pa.string()
            ),
            "index": pa.array(
                np.concatenate([np.arange(n, dtype=np.int32) for n in [0, *lengths]])
            ),
            "z_mm": pa.array(
                np.concatenate([np.empty(0, np.float64), *(one.z_mm for one in series)])
            ),
            "score": pa.array(scores),
            **{
                name: pa.array(column)
                for name, column in _columns(series, scores, asked.regions).items()
            },
        }
    )


def _columns(
    series: Sequence[SeriesScores], scores: NDArray[np.float32], regions: Regions | None
) -> dict[str, NDArray[Any]]:
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
    return regions.columns(scores, features)


def _series_row(one: SeriesScores, asked: Asked) -> dict[str, object]:
    """A row of series.csv."""
    parts = asked.regions.summary(one.scores, one.z_mm) if asked.regions else {}
    return one.summary() | parts | ({"path": one.source} if asked.with_paths else {})


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


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[csv.DictWriter[str]]:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        yield writer


# -----------------------------------------------------------------------------------------------------------------
# reading


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one of the tables."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); score again into a new folder"
        ) from None


def read_slices(folder: str | Path) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, Any]]:
    """The columns of slices.parquet by series, from the superior end, and what the scores were made
    with.

    Raises `ValueError` for a folder that `score` did not write.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(Path(folder) / LAST).sort_by(
            [("series", "ascending"), ("index", "ascending")]
        )
        settings = dict(json.loads(table.schema.metadata[b"ubr"]))
        columns = {name: table[name].to_numpy() for name in table.column_names}
        keys = columns.pop("series")
        starts = (
            np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
            if len(keys)
            else np.array([], int)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} is not a folder that score wrote: its {LAST} cannot be read "
            f"({type(error).__name__})"
        ) from None
    ends = [*starts[1:], len(keys)]
    return {
        str(keys[a]): {name: column[a:b] for name, column in columns.items()}
        for a, b in zip(starts, ends, strict=True)
    }, settings


def read_curves(folder: str | Path) -> tuple[dict[str, Curve], str]:
    """The curves of a folder that `score` wrote, by series, and the digest of the weights that made
    them. Raises `ValueError` as above.
    """
    slices, settings = read_slices(folder)
    curves = {
        key: Curve(one["score"].astype(np.float64), one["z_mm"].astype(np.float64))
        for key, one in slices.items()
    }
    return curves, str(settings["weights_sha256"])


def read_features(folder: str | Path) -> dict[str, NDArray[np.float32]]:
    """The features `[n, 512]` of a folder that `score` wrote, by series, mapped.

    Raises `ValueError` where they were not asked for.
    """
    path = Path(folder) / "features.npy"
    if not path.exists():
        raise ValueError(f"{folder} has no features.npy; score with --features into a new folder")
    try:
        whole: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); score again into a new folder"
        ) from None
    slices, _ = read_slices(folder)
    ends = np.cumsum([len(one["score"]) for one in slices.values()], dtype=int)
    if len(whole) != (ends[-1] if len(ends) else 0):
        raise ValueError(
            f"{path} has {len(whole)} rows, {LAST} {ends[-1] if len(ends) else 0}; score again "
            "into a new folder"
        )
    return dict(zip(slices, np.split(whole, ends[:-1]), strict=True)) if slices else {}
