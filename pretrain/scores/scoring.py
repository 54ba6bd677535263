"""Scores: weights x volumes -> one number a slice, in the tables of a folder (`tables`).

However often a scoring is stopped, its tables are those of one that was not (`working`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ubr.weights import Regressor, Weights, load
from ubr.weights.body import body_boxes
from ubr.weights.common.devices import to_device
from ubr.weights.common.pool import cores

from ..data.find import find_one, read_volume
from ..data.gridding import Slices, grid_of, slices_of
from ..data.scans import is_store, scans_in_files, scans_in_store
from ..data.volume import LeftOut, Series, Volume
from ..data.workers import DIED, chosen, each
from ..reading.curve import pearson_r
from ..reading.intervals import chosen_coverage, notes
from ..reading.regions import Regions
from .tables import LAST, Asked, Scored, SeriesScores, read_csv, write
from .working import Working

BATCH = 64
"""Slices a forward pass: large enough to fill a GPU at 128 pixels, small enough for a laptop."""


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
    """Score every slice of a store or of scans. What is scored is kept from series to series, so
    that the same call goes on where it was.

    Args:
        weights: a file that `fit` wrote.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or
            16-bit PNG series.
        out: a new folder for the tables, or one that was begun so.
        regions: a file that `calibrate` wrote for these weights: adds body parts, positions, and
            landmarks.csv.
        coverage: with regions, the probability with which a landmark's interval contains it; 0.9 by
            default.
        features: also write features.npy, the 512 pooled features of each slice (float32), in the
            order of slices.parquet's rows.
        workers: processes that read and resample; all but one core by default, 0 reads in this
            process.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and resample
            instead; they must see the sources under the same paths. Start them with --nthreads 1.
        shard: 3/16 is the third of sixteen shares of the series, chosen by their keys, for arrays
            of jobs; give each its own --out.
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
    weights = weights if isinstance(weights, Weights) else load(weights)
    staff = chosen(workers, scheduler, default=max(1, cores() - 1), least=0)
    if len(sources) > 1 and any(is_store(source) for source in sources):
        raise ValueError(
            "a store is scored alone; score several one after the other, or give scans"
        )
    is_mine = share(shard)
    regions = Regions.load(regions) if isinstance(regions, str | Path) else regions
    if regions is not None:
        regions.check(weights.sha256())
    coverage = chosen_coverage(coverage, regions)
    without_interval = notes(regions, coverage) if regions else ()
    needs_features = features or (regions is not None and regions.classifier is not None)
    asked = Asked(regions, coverage, features, with_paths)
    settings = {
        "weights_sha256": weights.sha256(),
        "regions_sha256": _digest(regions),
        "coverage": coverage if regions else None,
        "features": features,
        "shard": shard,
        "with_paths": with_paths,
    }
    working = Working(Path(out), settings, LAST)
    regressor = Regressor.from_weights(weights).eval().to(memory_format=torch.channels_last)
    to_device(regressor, device)

    left_out: list[LeftOut] = []
    if len(sources) == 1 and is_store(sources[0]):
        found = scans_in_store(sources[0], with_paths=with_paths)
    else:
        found, left_out = scans_in_files(sources, workers=staff, progress=progress)
    jobs = {job.key: job for job in found if is_mine(job.key)}
    left_out = [out for out in left_out if is_mine(_path_key(out.path))]
    already = _already(working, jobs.keys())
    where = {key: job.source for key, job in jobs.items()}
    if working.finished:
        working.tidy()
        return Scored(working.folder, where, len(already), without_interval)
    todo = [job for key, job in jobs.items() if key not in already]
    with closing(
        each(
            partial(slices_of, weights.inputs),
            todo,
            staff,
            name="score",
            already=len(already),
            progress=progress,
        )
    ) as results:
        for job, slices in results:
            if isinstance(slices, Slices):
                made = _arrays(regressor, torch.from_numpy(slices.grid), needs_features)
                working.add(
                    job.key, **made, z_mm=slices.z_mm, warnings=np.array(slices.warnings, np.str_)
                )
            else:
                left_out.append(LeftOut(job.source, slices or DIED, job.key))
    done = sorted(jobs.keys() - {out.key for out in left_out})  # not by when a process was ready
    if not done and not (shard and found):
        reason = f": {left_out[0].reason}" if left_out else ""
        raise ValueError(f"none of the {len(left_out)} sources could be scored{reason}")
    working.begin()
    working.finish(
        write(
            working.path,
            lambda: (_finished(working, key, where[key]) for key in done),
            left_out,
            asked,
            settings,
        )
    )
    return Scored(working.folder, where, len(already), without_interval)


def share(shard: str | None) -> Callable[[str], bool]:
    """Whether a key, hexadecimal, belongs to a share of all keys:

    "3/16" is the third of sixteen. Raises `ValueError` for another text.
    """
    if shard is None:
        return lambda key: True
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    number, count = (int(part) for part in parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard is K/N with K in 1..N, as 3/16, got {shard!r}")
    return lambda key: int(key, 16) % count == number - 1


def score_one(weights: Weights, source: str | Path) -> tuple[Series, Volume, NDArray[np.float64]]:
    """One scan, kept in memory: its series, its volume, and the score of each slice, for callers
    that look for levels in the curve.

    Raises:
        ValueError: none or several series, or one in which no level can be looked for: fewer than
            three slices, no body, scores that are constant or fall towards the feet.
    """
    series = find_one(source)
    volume = read_volume(series)
    if len(volume.hu) < 3:
        raise ValueError(
            f"{source} has {len(volume.hu)} slices; a level is looked for in at least three"
        )
    if not body_boxes(volume.hu, volume.spacing_mm).any():
        raise ValueError(f"{source} shows no body in any of its {len(volume.hu)} slices")
    regressor = Regressor.from_weights(weights).eval()
    to_device(regressor, "auto")
    scores = scores_of(regressor, grid_of(weights.inputs, volume)).astype(np.float64)
    r = pearson_r(scores, volume.z_mm)
    if math.isnan(r):
        raise ValueError(
            f"all {len(scores)} slices of {source} have the same score, {scores[0]:g}: these "
            "weights tell nothing of it"
        )
    if r <= 0:
        raise ValueError(
            f"the scores of {source} fall towards the feet (r {r:.2f}): it lies upside-down, or "
            "these weights do not know its kind"
        )
    return series, volume, scores


@torch.inference_mode()
def scores_of(regressor: Regressor, grid: Tensor) -> NDArray[np.float32]:
    """Scores of slices on the contract's grid, `[n, S, S]` int16 HU -> `[n]`."""
    device = next(regressor.parameters()).device
    parts = [
        regressor.score(part.to(device, non_blocking=True)) for part in torch.split(grid, BATCH)
    ]
    return torch.cat(parts).cpu().numpy()


@torch.inference_mode()
def _arrays(regressor: Regressor, grid: Tensor, features: bool) -> dict[str, NDArray[np.float32]]:
    """Scores `[n]`, and the features `[n, 512]` that they are made of where they are asked for."""
    if not features:
        return {"scores": scores_of(regressor, grid)}
    device = next(regressor.parameters()).device
    pooled = torch.cat(
        [regressor.pool6(part.to(device, non_blocking=True)) for part in torch.split(grid, BATCH)]
    )
    return {"scores": regressor.head.score(pooled).cpu().numpy(), "features": pooled.cpu().numpy()}


def _digest(regions: Regions | None) -> str | None:
    """Of what they say, not of their file."""
    return (
        hashlib.sha256(json.dumps(asdict(regions), sort_keys=True).encode()).hexdigest()
        if regions
        else None
    )


def _path_key(path: str) -> str:
    """What gave no series has no key; its share is told by its path."""
    return blake2b(os.fsencode(path), digest_size=8).hexdigest()


def _already(working: Working, keys: Collection[str]) -> set[str]:
    """The series that an earlier call has done.

    Raises `ValueError` where it was given other ones.
    """
    if working.finished:
        there = {
            row["series"]
            for name in ("series.csv", "left_out.csv")
            for row in read_csv(working.folder / name)
        } - {""}
        if others := len(there ^ set(keys)):
            raise ValueError(
                f"{working.folder} is finished, and {others} series are not the same in these "
                "sources; give a new --out"
            )
        return there
    if working.keys.isdisjoint(keys) and working.keys:
        raise ValueError(
            f"{working.folder} was begun with other series; give the sources it was begun with, "
            "or a new --out"
        )
    return set(working.keys.intersection(keys))


def _finished(working: Working, key: str, source: str) -> SeriesScores:
    arrays = working.read(key)
    return SeriesScores(
        key,
        arrays["scores"],
        arrays["z_mm"],
        tuple(arrays["warnings"].tolist()),
        source,
        arrays.get("features"),
    )
