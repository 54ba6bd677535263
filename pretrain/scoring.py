"""Scores: weights x volumes -> one number a slice, and what each volume's curve says of it.

SCORES/slices.parquet has a row a slice (series, index, z_mm, score), SCORES/series.csv a row a series (slices, extent, Pearson r, ordered
pairs, slope, first and last score, warnings), SCORES/left_out.csv a row for each series or file that gave none, with the reason. Series are
named by the same hashed keys as in a store and ordered by them; nothing identifies a patient, unless paths were asked for.

However often a scoring is stopped, its tables are those of one that was not (`working`).
"""

from __future__ import annotations

import csv
import heapq
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ubr.weights import Regressor, Weights, load
from ubr.weights.devices import to_device

from .data.jobs import Slices, in_scans, in_store, is_store, slices_of
from .data.volume import WARNINGS, LeftOut, reasons
from .data.workers import DIED, chosen, cores, each
from .reading.curve import ordered_share, pearson_r
from .working import Working

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64
"""Slices a forward pass: large enough to fill a GPU at 128 pixels, small enough for a laptop."""
SERIES_AT_ONCE = 256
"""Series whose rows are in memory when the tables are written; a row group of slices.parquet."""
LAST = "slices.parquet"
"""The table that is put in its place last: where it is, the scoring is finished."""


@dataclass(frozen=True)
class SeriesScores:
    """Scores of one series.

    key: its hash. scores, z_mm: a number a slice, superior to inferior. warnings: of its volume. source: where it was read from; for
    the caller only, it is never written out.
    """

    key: str
    scores: NDArray[np.float32]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]
    source: str

    def summary(self) -> dict[str, object]:
        """The row of series.csv."""
        extent = float(self.z_mm[-1])
        slope = float(np.polyfit(self.z_mm, self.scores, 1)[0]) if len(self.scores) > 1 else math.nan
        return {
            "series": self.key,
            "slices": len(self.scores),
            "extent_mm": round(extent, 3),
            "pearson_r": round(pearson_r(self.scores, self.z_mm), 5),
            "ordered": round(ordered_share(self.scores), 5),
            "score_per_mm": round(slope, 6),
            "first_score": round(float(self.scores[0]), 4),
            "last_score": round(float(self.scores[-1]), 4),
            "warnings": "; ".join(self.warnings),
        }


_BLANK = SeriesScores("", np.zeros(1, np.float32), np.zeros(1), (), "")
"""A share of the series can be empty; its tables have columns all the same."""


@dataclass(frozen=True)
class Scored:
    """What `score` wrote; read from its files when asked for.

    folder: with slices.parquet, series.csv and left_out.csv. sources: where each series was read from, by its key; for the caller only.
    already: how many series an earlier call had scored.
    """

    folder: Path
    sources: Mapping[str, str]
    already: int = 0

    @property
    def series(self) -> tuple[SeriesScores, ...]:
        """The scores of all series, in the order of their keys; all of them in memory."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.folder / "slices.parquet")
        scores, z_mm = (table[name].to_numpy() for name in ("score", "z_mm"))
        rows = list(_rows(self.folder / "series.csv"))
        ends = np.cumsum([int(row["slices"]) for row in rows])
        return tuple(
            SeriesScores(
                row["series"],
                scores[end - int(row["slices"]) : end],
                z_mm[end - int(row["slices"]) : end],
                tuple(filter(None, re.split(rf"; (?=(?:{'|'.join(WARNINGS)}):)", row["warnings"]))),
                self.sources[row["series"]],
            )
            for row, end in zip(rows, ends, strict=True)
        )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What gave no scores; with paths where they were asked for."""
        rows = _rows(self.folder / "left_out.csv")
        return tuple(LeftOut(row.get("path", ""), row["reason"], row["series"]) for row in rows)

    def table(self) -> str:
        """The end of a scoring as text: counts, typical quality, the least straight curves, and what was left out and why."""
        rows = [(float(row["pearson_r"]), row["series"], int(row["slices"])) for row in _rows(self.folder / "series.csv")]
        defined = [r for r, _, _ in rows if not math.isnan(r)]
        median = np.median(defined) if defined else math.nan
        slices = sum(n for _, _, n in rows)
        lines = [f"scored    {len(rows):6,} series, {slices:,} slices; median r {median:.4f}; in {self.folder}"]
        if self.already:
            lines.append(f"{'':10}{self.already:6,} of them by an earlier call")
        least = heapq.nsmallest(5, rows, key=lambda row: -2.0 if math.isnan(row[0]) else row[0])
        lines += [f"{'':10}r {r:.4f}  series {key}, {n} slices" for r, key, n in least]
        left_out = self.left_out
        return "\n".join([*lines, f"left out  {len(left_out):6,}", *reasons(left_out, 10, with_paths=True)])


def score(
    weights: str | Path | Weights,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: str | None = None,
    with_paths: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Scored:
    """Score every slice of a store or of scans. What is scored is kept from series to series, so that the same call goes on where it was.

    Args:
        weights: a file that `fit` wrote.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series.
        out: a new folder for slices.parquet, series.csv and left_out.csv, or one that was begun so.
        workers: processes that read and resample; all but one core by default, 0 reads in this process.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and resample instead; they must see the sources under
            the same paths. Start them with --nthreads 1.
        shard: 3/16 is the third of sixteen shares of the series, chosen by their keys, for arrays of jobs; give each its own --out.
        with_paths: also write which file or folder each series was read from. Paths may hold a name.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show a progress bar.

    Raises:
        ValueError: no weights file, one without a head, an output folder that holds something else or was begun with other options, an
            option out of range, or sources without a usable series.
        ConnectionError: no scheduler answers.
    """
    weights = weights if isinstance(weights, Weights) else load(weights)
    staff = chosen(workers, scheduler, default=max(1, cores() - 1), least=0)
    if len(sources) > 1 and any(is_store(source) for source in sources):
        raise ValueError("a store is scored alone; score several one after the other, or give scans")
    is_mine = share(shard)
    settings = {"weights_sha256": weights.sha256(), "shard": shard, "with_paths": with_paths}
    working = Working(Path(out), settings, LAST)
    regressor = Regressor.from_weights(weights).eval().to(memory_format=torch.channels_last)
    to_device(regressor, device)

    found, left_out = in_store(sources[0], with_paths) if len(sources) == 1 and is_store(sources[0]) else in_scans(sources, staff, progress)
    jobs = {job.key: job for job in found if is_mine(job.key)}
    left_out = [out for out in left_out if is_mine(_path_key(out.path))]
    already = _already(working, jobs.keys())
    where = {key: job.source for key, job in jobs.items()}
    if working.finished:
        working.tidy()
        return Scored(working.folder, where, len(already))
    todo = [job for key, job in jobs.items() if key not in already]
    with closing(each(partial(slices_of, weights.inputs), todo, staff, name="score", already=len(already), progress=progress)) as results:
        for job, slices in results:
            if isinstance(slices, Slices):
                scores = scores_of(regressor, torch.from_numpy(slices.grid))
                working.add(job.key, scores=scores, z_mm=slices.z_mm, warnings=np.array(slices.warnings, np.str_))
            else:
                left_out.append(LeftOut(job.source, slices or DIED, job.key))
    done = sorted(jobs.keys() - {out.key for out in left_out})  # not by when a process was ready
    if not done and not (shard and found):
        reason = f": {left_out[0].reason}" if left_out else ""
        raise ValueError(f"none of the {len(left_out)} sources could be scored{reason}")
    working.begin()
    tables = _write(working.path, (_finished(working, key, where[key]) for key in done), left_out, settings)
    working.finish(tables)
    return Scored(working.folder, where, len(already))


def share(shard: str | None) -> Callable[[str], bool]:
    """Whether a key, hexadecimal, belongs to a share of all keys: "3/16" is the third of sixteen. Raises `ValueError` for another text."""
    if shard is None:
        return lambda key: True
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    number, count = (int(part) for part in parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard is K/N with K in 1..N, as 3/16, got {shard!r}")
    return lambda key: int(key, 16) % count == number - 1


@torch.inference_mode()
def scores_of(regressor: Regressor, grid: Tensor) -> NDArray[np.float32]:
    """Scores of slices on the contract's grid, `[n, S, S]` int16 HU -> `[n]`."""
    device = next(regressor.parameters()).device
    parts = [regressor.score(part.to(device, non_blocking=True)) for part in torch.split(grid, BATCH)]
    return torch.cat(parts).cpu().numpy()


def _path_key(path: str) -> str:
    """What gave no series has no key; its share is told by its path."""
    return blake2b(os.fsencode(path), digest_size=8).hexdigest()


def _already(working: Working, keys: Collection[str]) -> set[str]:
    """The series that an earlier call has done. Raises `ValueError` where it was given other ones."""
    if working.finished:
        there = {row["series"] for name in ("series.csv", "left_out.csv") for row in _rows(working.folder / name)} - {""}
        if others := len(there ^ set(keys)):
            raise ValueError(f"{working.folder} is finished, and {others} series are not the same in these sources; give a new --out")
        return there
    if working.keys.isdisjoint(keys) and working.keys:
        raise ValueError(f"{working.folder} was begun with other series; give the sources it was begun with, or a new --out")
    return set(working.keys.intersection(keys))


def _finished(working: Working, key: str, source: str) -> SeriesScores:
    arrays = working.read(key)
    return SeriesScores(key, arrays["scores"], arrays["z_mm"], tuple(arrays["warnings"].tolist()), source)


def _write(folder: Path, series: Iterable[SeriesScores], left_out: Iterable[LeftOut], settings: Mapping[str, object]) -> list[str]:
    """Write the tables into a folder, some series at a time. Returns their names."""
    import pyarrow.parquet as pq

    series, with_paths = iter(series), bool(settings["with_paths"])
    with _csv(folder / "left_out.csv", ["series", "reason", *(["path"] if with_paths else [])]) as table:
        for left in sorted(left_out, key=lambda left: (left.key, left.reason, left.path)):
            table.writerow({"series": left.key, "reason": left.reason} | ({"path": left.path} if with_paths else {}))
    schema = _slice_rows([]).schema.with_metadata({"ubr": json.dumps(settings)})
    with _csv(folder / "series.csv", list(_series_row(_BLANK, with_paths))) as table, pq.ParquetWriter(folder / LAST, schema) as slices:
        while batch := list(islice(series, SERIES_AT_ONCE)):
            slices.write_table(_slice_rows(batch).cast(schema))
            table.writerows(_series_row(one, with_paths) for one in batch)
    return ["left_out.csv", "series.csv", LAST]


def _slice_rows(series: Sequence[SeriesScores]) -> pa.Table:
    """Rows of slices.parquet."""
    import pyarrow as pa

    lengths = [len(one.scores) for one in series]
    return pa.table(
        {
            "series": pa.array(np.repeat(np.array([one.key for one in series], np.str_), lengths), pa.string()),
            "index": pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in [0, *lengths]])),
            "z_mm": pa.array(np.concatenate([np.empty(0, np.float64), *(one.z_mm for one in series)])),
            "score": pa.array(np.concatenate([np.empty(0, np.float32), *(one.scores for one in series)])),
        }
    )


def _series_row(one: SeriesScores, with_paths: bool) -> dict[str, object]:
    """A row of series.csv."""
    return one.summary() | ({"path": one.source} if with_paths else {})


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[csv.DictWriter[str]]:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        yield writer


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield from csv.DictReader(file)
