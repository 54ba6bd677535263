"""Scoring: weights and volumes in, one number per slice out, in the tables of a folder.

However often a scoring is interrupted, its tables equal those of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import scratch
from ubr.weights.common.pool import cores

from ..data.scans import UnreadScan, is_store, scans_in_files, scans_in_store
from ..data.volume import LeftOut
from ..data.workers import DIED, Workers, chosen, each
from ..reading.intervals import chosen_coverage, notes
from ..reading.regions import Regions
from .read import LAST, read_rows
from .scored import Scored
from .series import SeriesScores
from .working import Working
from .write import TableOptions, write_tables

if TYPE_CHECKING:
    from torch import Tensor

    from ubr.weights import Regressor, Weights


@claiming("out", fills=True)
def score(
    weights: str | Path | Weights,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    regions: str | Path | Regions | None = None,
    coverage: float | None = None,
    features: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: str | None = None,
    with_paths: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Scored:
    """Score every slice of a store or of scans. An interrupted call resumes where it is repeated.

    Args:
        weights: a file that `fit` wrote.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or
            16-bit PNG series.
        out: a new folder for the tables, or one that the same call began.
        regions: a file that `calibrate` wrote for these weights: adds body parts, positions, and
            landmarks.csv.
        coverage: with regions, the probability with which a landmark's interval contains it; 0.9 by
            default.
        features: also write features.npy, the 512 pooled features of each slice (float32), in the
            order of slices.parquet's rows.
        workers: processes that read and resample; all but one core by default, 0 reads in this
            process.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and resample
            instead. They must see the sources under the same paths, and be started with
            --nthreads 1.
        shard: 3/16 is the third of sixteen shares of the series, chosen by their keys, for arrays
            of jobs; each needs an `out` of its own.
        with_paths: also write which file or folder each series was read from. Paths may hold a
            name.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show a progress bar.

    Raises:
        ValueError: no weights file, one without a head, an output folder that holds something else
            or was begun with other options, an option out of range, sources without a usable
            series, or regions of other weights.
        ConnectionError: no scheduler answers.
    """
    import torch

    from ubr.weights import Regressor, load
    from ubr.weights.common.devices import to_device

    weights = load(weights) if isinstance(weights, str | Path) else weights
    staff = chosen(workers, scheduler, default=max(1, cores() - 1), least=0)
    share(shard)  # refuses another text before anything is looked for
    options = _options(weights, regions, coverage, features, with_paths)
    working = Working(Path(out), _settings(weights, options, shard), LAST)
    regressor = Regressor.from_weights(weights).eval().to(memory_format=torch.channels_last)
    to_device(regressor, device)
    return _score(regressor, sources, working, options, shard, staff, progress)


def share(shard: str | None) -> Callable[[str], bool]:
    """A function that says whether a hexadecimal key belongs to a share of all keys.

    "3/16" is the third of sixteen. Raises `ValueError` for another text.
    """
    if shard is None:
        return lambda key: True
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    number, count = (int(part) for part in parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard is K/N with K in 1..N, as 3/16, got {shard!r}")
    return lambda key: int(key, 16) % count == number - 1


def _options(
    weights: Weights,
    regions: str | Path | Regions | None,
    coverage: float | None,
    features: bool,
    with_paths: bool,
) -> TableOptions:
    """What the tables will hold. Raises `ValueError` for regions of other weights."""
    regions = Regions.load(regions) if isinstance(regions, str | Path) else regions
    if regions is not None:
        regions.check(weights.sha256())
    return TableOptions(regions, chosen_coverage(coverage, regions), features, with_paths)


def _settings(weights: Weights, options: TableOptions, shard: str | None) -> dict[str, object]:
    """What the scores depend on besides the series."""
    return {
        "weights_sha256": weights.sha256(),
        "regions_sha256": _regions_sha256(options.regions),
        "coverage": options.coverage if options.regions else None,
        "features": options.features,
        "shard": shard,
        "with_paths": options.with_paths,
    }


def _regions_sha256(regions: Regions | None) -> str | None:
    """Digest of what the regions say, not of their file."""
    if regions is None:
        return None
    return hashlib.sha256(json.dumps(asdict(regions), sort_keys=True).encode()).hexdigest()


def _score(
    regressor: Regressor,
    sources: Sequence[str | Path],
    working: Working,
    options: TableOptions,
    shard: str | None,
    staff: Workers,
    progress: bool,
) -> Scored:
    """Score what is not scored yet, and write the tables once all of it is."""
    is_mine = share(shard)
    found, left_out = _jobs(sources, staff, options.with_paths, progress)
    jobs = {job.key: job for job in found if is_mine(job.key)}
    left_out = [out for out in left_out if is_mine(_path_key(out.path))]
    damaged = {out.key for out in left_out if out.key}
    already = _already(working, jobs.keys() | damaged) - damaged
    where = {key: job.source for key, job in jobs.items()}
    missing = notes(options.regions, options.coverage) if options.regions else ()
    scored = Scored(working.folder, where, len(already), missing)
    if working.finished:
        working.tidy()
        return scored
    todo = [job for key, job in jobs.items() if key not in already]
    left_out += _add_all(regressor, todo, working, options, len(already), staff, progress)
    done = sorted(jobs.keys() - {out.key for out in left_out})  # not by when a process was ready
    if not done and not (shard and found):
        reason = f": {left_out[0].reason}" if left_out else ""
        raise ValueError(f"none of the {len(left_out)} sources could be scored{reason}")
    working.begin()
    with scratch(working.path, "tables") as made:
        names = write_tables(
            made,
            lambda: (_finished(working, key, where[key]) for key in done),
            left_out,
            options,
            {**working.settings, "backbone": regressor.backbone.name},
        )
        working.finish(made, names)
    return scored


def _jobs(
    sources: Sequence[str | Path], staff: Workers, with_paths: bool, progress: bool
) -> tuple[list[UnreadScan], list[LeftOut]]:
    """The series to score, and what gave none."""
    if not any(is_store(source) for source in sources):
        return scans_in_files(sources, workers=staff, progress=progress)
    if len(sources) > 1:
        raise ValueError(
            "a store is scored alone; score several one after the other, or give scans"
        )
    return scans_in_store(sources[0], with_paths=with_paths)


def _add_all(
    regressor: Regressor,
    todo: Sequence[UnreadScan],
    working: Working,
    options: TableOptions,
    already: int,
    staff: Workers,
    progress: bool,
) -> list[LeftOut]:
    """Score series and keep what they give. Returns those that gave nothing."""
    import torch

    from ..data.gridding import Slices, slices_of

    left_out = []
    task = partial(slices_of, regressor.inputs)
    results = each(task, todo, staff, name="score", already=already, progress=progress)
    with closing(results):
        for job, slices in results:
            if isinstance(slices, Slices):
                made = _arrays(regressor, torch.from_numpy(slices.grid), options)
                warnings = np.array(slices.warnings, np.str_)
                working.add(job.key, **made, z_mm=slices.z_mm, warnings=warnings)
            else:
                left_out.append(LeftOut(job.source, slices or DIED, job.key))
    return left_out


def _arrays(
    regressor: Regressor, grid: Tensor, options: TableOptions
) -> dict[str, NDArray[np.float32]]:
    """Scores `[n]`, and the features `[n, 512]` that they are made of where they are needed."""
    from ubr.weights.scorer import score_and_pool, score_grid

    if options.features or (options.regions is not None and options.regions.classifier is not None):
        scores, features = score_and_pool(regressor, grid)
        return {"scores": scores, "features": features}
    return {"scores": score_grid(regressor, grid)}


def _path_key(path: str) -> str:
    """The key of a file that gave no series, by which it belongs to a share."""
    return blake2b(os.fsencode(path), digest_size=8).hexdigest()


def _already(working: Working, keys: Collection[str]) -> set[str]:
    """The series that an earlier call has finished.

    Raises `ValueError` where that call was given other series.
    """
    if working.finished:
        there = {
            row["series"]
            for name in ("series.csv", "left_out.csv")
            for row in read_rows(working.folder / name)
        } - {""}
        if others := len(there ^ set(keys)):
            raise ValueError(
                f"{working.folder} is finished, and {others} series differ in these sources; "
                "give a new `out`"
            )
        return there
    if working.keys.isdisjoint(keys) and working.keys:
        raise ValueError(
            f"{working.folder} was begun with other series; give the sources it was begun with, "
            "or a new `out`"
        )
    return set(working.keys.intersection(keys))


def _finished(working: Working, key: str, source: str) -> SeriesScores:
    arrays = working.read(key, "scores", "z_mm", "warnings")
    return SeriesScores(
        key,
        arrays["scores"],
        arrays["z_mm"],
        tuple(arrays["warnings"].tolist()),
        source,
        arrays.get("features"),
    )
