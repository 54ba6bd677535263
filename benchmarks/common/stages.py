"""Where the time of `score` goes: each stage alone, on one core, in milliseconds a slice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.gridding import Slices, slices_of
from ubr.pretrain.data.scans import UnreadScan, is_store, scans_in_files, scans_in_store
from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.scores.slices import LAST
from ubr.pretrain.scores.write import TableOptions, write_tables
from ubr.weights import Regressor
from ubr.weights.common.disk import scratch
from ubr.weights.common.working import Working
from ubr.weights.network import Chosen, Network, score_series
from ubr.weights.runtimes import network_of, torch_threads

STAGES = ("read", "decode", "resample", "network", "write")


def stages(
    regressor: Regressor, source: Path, folder: Path, runtime: Chosen, series: int = 8
) -> dict[str, float]:
    """Milliseconds a slice of each stage, one after the other, for the first series of a source.

    read: the bytes of the files. decode: pixels from them. resample: onto the contract's grid, the
    search for the body included. network: scores. write: what is kept of a series, and the tables.

    Args:
        regressor: in evaluation mode, on its device.
        source: a store, or files and folders with scans.
        folder: a new folder for what is written.
        runtime: what computes.
        series: how many.
    """
    jobs, _ = scans_in_store(source) if is_store(source) else scans_in_files([source])
    jobs = jobs[:series]
    spent = dict.fromkeys(STAGES, 0.0)
    with torch_threads(1):
        network = network_of(regressor, runtime)
        with _clock(spent, "read"):
            for job in jobs:
                for file in _files(job):
                    file.read_bytes()
        with _clock(spent, "decode"):
            for job in jobs:
                job.read()
        with _clock(spent, "resample"):
            found = [slices_of(regressor.inputs, None, job) for job in jobs]
        grids = [one for one in found if isinstance(one, Slices)]
        pairs = [(number, one.grid) for number, one in enumerate(grids)]
        list(score_series(network, pairs[:1]))  # the first batch makes ready
        with _clock(spent, "network"):
            scores = [one for _, one, _ in score_series(_alone(network), pairs)]
        with _clock(spent, "write"):
            _write(folder, [(s, one.z_mm[one.taken]) for s, one in zip(scores, grids, strict=True)])
    # Each of these two was timed with the stages before it.
    spent["resample"] = max(0.0, spent["resample"] - spent["decode"])
    spent["decode"] = max(0.0, spent["decode"] - spent["read"])
    slices = sum(len(one.z_mm) for one in grids)
    return {stage: 1000 * seconds / slices for stage, seconds in spent.items()}


def stage_text(spent: dict[str, float]) -> str:
    """A line: the stages and their sum."""
    parts = ", ".join(f"{stage} {ms:.3f}" for stage, ms in spent.items())
    return f"ms per slice on one core: {parts}; sum {sum(spent.values()):.3f}"


@contextmanager
def _clock(spent: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent[stage] += time.perf_counter() - began


def _alone(network: Network) -> Network:
    return replace(network, streams=1)


def _files(job: UnreadScan) -> list[Path]:
    if isinstance(job.origin, tuple):
        folder, row = job.origin
        return [folder / "series" / f"{row.key}.b2nd"]
    return [Path(file) for file in job.origin.files]


def _write(folder: Path, curves: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]]) -> None:
    """What a scoring of these curves writes."""
    working = Working(folder, {}, LAST)
    for number, (scores, z_mm) in enumerate(curves):
        working.add(f"{number:016x}", scores=scores, z_mm=z_mm)
    made = [
        SeriesScores(f"{number:016x}", scores, z_mm, (), "")
        for number, (scores, z_mm) in enumerate(curves)
    ]
    with scratch(working.path, "tables") as tables:
        working.finish(tables, write_tables(tables, lambda: iter(made), [], TableOptions(), {}))
