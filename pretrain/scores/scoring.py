"""Scoring: weights and volumes in, one number per slice out, in the tables of a folder.

However often a scoring is interrupted, its tables equal those of an uninterrupted one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from ...weights.common.checks import check_choice
from ...weights.common.claims import claiming
from ...weights.common.disk import scratch
from ...weights.common.execution import Runtime
from ...weights.common.pool import cores
from ...weights.common.working import Working
from ...weights.exported import Exported
from ...weights.network import Ready
from ...weights.released import check_there
from ...weights.scorable import Scorable, opened, prepared
from ..data.gridding import readers
from ..data.scans import FoundScans, UnreadScan, found_scans
from ..data.store.keys import hash_text
from ..data.workers import Workers, chosen
from ..reading.chosen import chosen_regions
from ..reading.intervals import chosen_coverage, notes
from ..reading.regions import Regions
from .adding import add_all
from .again import Again
from .read import read_rows
from .scored import Scored
from .series import SeriesScores
from .slices import is_scores, table_name
from .write import TableOptions, write_tables

if TYPE_CHECKING:
    from ...weights import Weights


@claiming("out", fills=True)
def score(
    weights: str | Path | Weights | Exported,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    regions: str | Path | Regions | None = None,
    coverage: float | None = None,
    features: bool = False,
    every_mm: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: str | None = None,
    with_paths: bool = False,
    device: str = "auto",
    runtime: Runtime = "auto",
    progress: bool = True,
) -> Scored:
    """Score every slice of a store or of scans. Repeat an interrupted call to resume it.

    Args:
        weights: a file that `fit` wrote; an .onnx that `export` made from one, which scores
            without torch; or "released", the bundled weights.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or
            16-bit PNG series; or one folder that these weights scored, whose tables are written
            anew with `regions`, without scoring again.
        out: a new folder for the tables, or one that the same call began.
        regions: a file that `calibrate` wrote for these weights: adds body parts, positions, and
            landmarks.csv. Released weights come with their own.
        coverage: with regions, the probability with which a landmark's interval contains it; 0.9 by
            default.
        features: also write features.npy, the 512 pooled features of each slice (float32), in the
            order of slices.parquet's rows.
        every_mm: largest distance in mm between scored slices; the scores of those between are
            interpolated. Geometry and missing slices are still taken from all headers. The column
            `interpolated` of slices.parquet marks slices whose scores are interpolated, also those
            that show no body, which are never scored directly.
        workers: number of processes (threads for a store) that read and resample; one per core by
            default, 0 reads in the calling thread.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and resample
            instead. They must see the sources under the same paths, and be started with
            --nthreads 1.
        shard: 3/16 is the third of sixteen shares of the series, chosen by their keys, for job
            arrays; each needs its own `out`.
        with_paths: also write which file or folder each series was read from. Paths may contain a
            patient's name.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        runtime: what computes the scores: "torch", or on a CPU "openvino" (extra `fast`) or "onnx"
            (extra `onnx`). "auto" takes the fastest one installed if there are enough slices to
            repay its start, and if its scores agree with torch's. A resumed scoring keeps
            its runtime.
        progress: show a progress bar.

    Raises:
        ValueError: no weights file, one without a head, an output folder that holds something else
            or was begun with other options, an option out of range, sources without a usable
            series, or regions of other weights.
        ConnectionError: no scheduler answers.
    """
    check_there(weights, *map(Path, sources), regions)
    staff = chosen(workers, scheduler, default=cores(), least=0)
    asked: dict[str, Any] = {
        **{"regions": regions, "coverage": coverage, "features": features, "every_mm": every_mm},
        **{"shard": shard, "with_paths": with_paths},
    }
    if any(map(is_scores, sources)):
        return _read_again(weights, sources, Path(out), **asked)
    find = partial(found_scans, sources, with_paths=with_paths, progress=progress)
    machine: dict[str, Any] = {"device": device, "runtime": runtime, "progress": progress}
    with readers(sources, staff) as staff:
        return score_found(weights, find, out, staff=staff, **asked, **machine)


def _read_again(
    weights: str | Path | Weights | Exported,
    sources: Sequence[str | Path],
    out: Path,
    *,
    every_mm: float | None,
    shard: str | None,
    **tables: Any,
) -> Scored:
    """The tables of a folder of scores written anew, into another one."""
    if len(sources) > 1:
        raise ValueError("a folder of scores is read alone; give one, or scans")
    weights = opened(weights)
    options = _options(weights, **tables)
    settings = _settings(weights, options, shard, every_mm)
    scored = Again(Path(sources[0]), options, settings).write(out)
    return scored if tables["regions"] else _noted(scored, options, weights)


def score_found(
    weights: str | Path | Weights | Exported,
    find: Callable[..., AbstractContextManager[FoundScans]],
    out: str | Path,
    *,
    staff: Workers,
    regions: str | Path | Regions | None = None,
    coverage: float | None = None,
    features: bool = False,
    every_mm: float | None = None,
    shard: str | None = None,
    with_paths: bool = False,
    device: str = "auto",
    runtime: Runtime = "auto",
    progress: bool = True,
    overviews: bool = False,
    plain: bool = False,
) -> Scored:
    """`score` for callers that look for scans themselves, and have claimed `out`.

    find: given `workers`, opens what was found; it is called once the options are known to be good.
    staff: who reads. overviews: also write overviews.parquet, a small picture of each series.
    plain: write slices.csv in place of slices.parquet. All else is as in `score`.
    """
    weights = opened(weights)
    share(shard)  # refuses another text before anything is looked for
    check_choice("runtime", runtime, Runtime)
    options = _options(weights, regions, coverage, features, with_paths)
    options = replace(options, overviews=overviews, plain=plain)
    settings = _settings(weights, options, shard, every_mm)
    working = Working(Path(out), settings, table_name(plain))
    runtime = _as_begun(runtime, working)
    ready = prepared(weights, device, runtime, features=options.by_features)
    with find(workers=staff) as found:
        scored = _score(weights, ready, found, working, options, shard, staff, progress)
    return scored if regions is not None else _noted(scored, options, weights)


def share(shard: str | None) -> Callable[[str], bool]:
    """A function that says whether a hexadecimal key belongs to a share of all keys.

    "3/16" is the third of sixteen. Raises `ValueError` for another text.
    """
    if shard is None:
        return lambda key: True
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    number, count = (int(part) for part in parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard must be K/N with K in 1..N, such as 3/16, got {shard!r}")
    return lambda key: int(key, 16) % count == number - 1


def _options(
    weights: Scorable,
    regions: str | Path | Regions | None,
    coverage: float | None,
    features: bool,
    with_paths: bool,
) -> TableOptions:
    """What the tables will hold. Raises `ValueError` for regions of other weights."""
    regions = chosen_regions(regions, weights)
    coverage = chosen_coverage(coverage, regions)
    in_mm = weights.made().follows_mm
    return TableOptions(regions, coverage, features, with_paths, positions=in_mm)


def _noted(scored: Scored, options: TableOptions, weights: Scorable) -> Scored:
    """With a note on the regions, where none were given."""
    made = weights.made()
    if options.regions is not None:
        told = f"the regions are those of {made.name}; give `regions` for others"
    else:
        parent = made.parent
        # Regions of a parent are refused where it is not known how far scores moved.
        theirs = f", or {parent.name}" if parent and parent.name and parent.moved else ""
        told = f"no body parts and landmarks: give `regions` that calibrate wrote{theirs}"
    return replace(scored, notes=(told, *scored.notes))


def _settings(
    weights: Scorable, options: TableOptions, shard: str | None, every_mm: float | None
) -> dict[str, object]:
    """What the scores depend on besides the series; the runtime is added when it is known.

    Raises `ValueError` for an option out of range.
    """
    if every_mm is not None and not 0 < every_mm < math.inf:
        raise ValueError(f"every_mm must be above 0, got {every_mm:g}")
    return {
        "weights_sha256": weights.sha256(),
        "weights": weights.made().name,
        "regions_sha256": options.regions and options.regions.sha256(),
        "coverage": options.coverage if options.regions else None,
        "features": options.features,
        "shard": shard,
        "with_paths": options.with_paths,
        "every_mm": every_mm,
    }


def _as_begun(runtime: Runtime, working: Working) -> Runtime:
    """The runtime that the folder was begun with, or the choice for a new one.

    Raises `ValueError` where another one is asked for: the last digits of its scores differ.
    """
    if not working.begun:
        return runtime
    begun = working.begun.get("runtime", "torch")  # earlier versions had no other
    if begun not in get_args(Runtime) or runtime not in ("auto", begun):
        raise ValueError(
            f"{working.folder} was begun with runtime {begun}, not {runtime}; give the same "
            "`runtime`, or a new `out`"
        )
    return cast(Runtime, begun)


def _score(
    weights: Scorable,
    ready: Ready,
    found: FoundScans,
    working: Working,
    options: TableOptions,
    shard: str | None,
    staff: Workers,
    progress: bool,
) -> Scored:
    """Score what is not scored yet, and write the tables once all of it is."""
    is_mine = share(shard)
    where, counts = dict[str, str](), dict[str, tuple[int, ...]]()
    for scan in found:
        if is_mine(scan.key):
            where[scan.key], counts[scan.key] = scan.source, scan.counts
    left_out = [out for out in found.left_out() if is_mine(hash_text(out.path))]
    damaged = {out.key for out in left_out if out.key}
    listed = partial(_listed, working.folder)
    already = working.already({**dict.fromkeys(damaged, ()), **counts}, listed) - damaged
    missing = notes(options.regions, options.coverage) if options.regions else ()
    scored = Scored(working.folder, where, len(already), missing)
    if working.finished:
        working.tidy()
        return replace(scored, runtime=str(working.begun.get("runtime", "torch")))
    todo = _Todo(found, where.keys() - already)
    network, why_not = ready(todo.slices_about)
    working.settings["runtime"] = network.runtime
    left_out += add_all(
        network, weights.inputs, todo, working, len(already), staff, progress, options.overviews
    )
    done = sorted(where.keys() - {out.key for out in left_out})  # not by when a process was ready
    if not done and not (shard and len(found)):
        reason = f": {left_out[0].reason}" if left_out else ""
        raise ValueError(f"no CT series could be scored{reason}")
    working.begin()
    with scratch(working.path, "tables") as made:
        names = write_tables(
            made,
            lambda: (_finished(working, key, where[key]) for key in done),
            left_out,
            options,
            {**working.settings, "backbone": weights.backbone},
        )
        working.finish(made, names)
    return replace(scored, runtime=network.runtime, notes=(*missing, *why_not))


@dataclass(frozen=True)
class _Todo:
    """The scans with these keys, read anew in each iteration."""

    found: FoundScans
    keys: Set[str]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[UnreadScan]:
        return (scan for scan in self.found if scan.key in self.keys)

    def slices_about(self) -> int:
        """How many slices they have, about."""
        return sum(scan.slices_about for scan in self)


def _listed(folder: Path) -> set[str]:
    """The series in the tables."""
    tables = (folder / name for name in ("series.csv", "left_out.csv"))
    return {row["series"] for table in tables for row in read_rows(table)}


def _finished(working: Working, key: str, source: str) -> SeriesScores:
    arrays = working.read(key, "scores", "z_mm", "warnings")
    return SeriesScores(
        key,
        arrays["scores"],
        arrays["z_mm"],
        tuple(arrays["warnings"].tolist()),
        source,
        arrays.get("features"),
        interpolated=arrays.get("interpolated"),
        overview=arrays.get("overview"),
    )
