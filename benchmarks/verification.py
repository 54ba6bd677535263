"""What it costs `score` and `fit` to compare checksums.

    python -m benchmarks.verification --work /scratch/verification

Rows go to results/verification.csv. The same command runs with the checks and without, in turn in
one process, and the ratio of the seconds of CPU that they take is taken within each pair, because
machines drift. Without them, rows are not read beside pixels, and nothing is compared. `fit` takes
its slices from memory ("ram") and from files ("file"), where each step compares the slices that it
takes. All reading is done by the measured process: others would read with checks always.

The time of a training varies by more than the checks take. So the time spent in the functions that
read and compare is measured as well: `share` is the extra time there with checks, as a share of the
whole command without checks.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import blosc2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.data.bank import prepare
from ubr.pretrain.data.gridfiles import GridFile
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import Store
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.recipes import Recipe, default
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.training import fit
from ubr.weights import Intervals, Machine


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    options = parse(argv)
    phantoms(options.work / "scans", n=options.series, seed=0, form="nifti", size_px=256)
    ingest([options.work / "scans"], options.work / "store")
    store = Store.open(options.work / "store")
    recipe = dataclasses.replace(default(), backbone=options.backbone, steps=options.steps)
    rows = store.usable()
    prepare(store, rows, recipe.inputs)  # resampling them is the same with and without checks
    found = []
    for what, work in measured(store, recipe, options.work / "runs"):
        work()  # what is loaded once is not measured
        # [pair, with and without, all and reading]
        seconds = np.array([_pair(work, bool(pair % 2)) for pair in range(options.pairs)])
        ratio = seconds[:, 0, 0] / seconds[:, 1, 0]
        share = (seconds[:, 0, 1] - seconds[:, 1, 1]) / seconds[:, 1, 0]
        whole = np.median(seconds[:, :, 0], axis=0)
        found.append(
            {
                **provenance(recipe.sha256(), recipe.seed),
                "what": what,
                "backbone": recipe.backbone,
                "size_px": recipe.inputs.size_px,
                "slices": sum(row.slices for row in rows),
                "pairs": options.pairs,
                "cpu_s": round(float(whole[0]), 2),
                "cpu_s_without_checks": round(float(whole[1]), 2),
                "ratio_median": round(float(np.median(ratio)), 3),
                "ratio_min": round(float(ratio.min()), 3),
                "ratio_max": round(float(ratio.max()), 3),
                "share_median": round(float(np.median(share)), 4),
                "share_max": round(float(share.max()), 4),
            }
        )
        print(
            f"{what}: {np.median(ratio):.3f} ({ratio.min():.3f}..{ratio.max():.3f}), "
            f"share {np.median(share):.2%} (up to {share.max():.2%})",
            flush=True,
        )
    print(f"rows in {append('verification', found)}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for scans, store and runs")
    parser.add_argument("--backbone", default=default().backbone)
    parser.add_argument("--series", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20, help="of fit")
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args(argv)


def measured(
    store: Store, recipe: Recipe, runs: Path
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured: each work begins anew when it is called."""

    def fitting(place: Any) -> Path:
        shutil.rmtree(runs / "run", ignore_errors=True)
        machine, intervals = Machine(place=place, workers=0), Intervals(progress=False)
        run = fit(store, runs / "run", recipe, holdout=0, machine=machine, intervals=intervals)
        return run.weights

    def scoring() -> None:
        shutil.rmtree(runs / "scores", ignore_errors=True)
        score(weights, [store.path], runs / "scores", workers=0, progress=False)

    weights = shutil.copy(fitting("ram"), runs / "weights.safetensors")
    yield "score", scoring
    yield "fit from ram", lambda: fitting("ram")
    yield "fit from file", lambda: fitting("file")


def _pair(work: Callable[[], object], first: bool) -> list[tuple[float, float]]:
    """Seconds of CPU with checks and without: of all, and of reading.

    first: whether those with checks come first.
    """
    seconds = {}
    for checked in (first, not first):
        with ExitStack() as stack:
            reading = stack.enter_context(_clock(WITH if checked else WITHOUT))
            began = time.process_time()
            work()
            seconds[checked] = (time.process_time() - began, sum(reading))
    return [seconds[True], seconds[False]]


def _catalog(store: Store) -> Any:
    return pq.read_table(store.path / "catalog.parquet")


def _pixels(store: Store, key: str, slices: slice | None = None) -> NDArray[np.int16]:
    path = store.path / "series" / f"{key}.b2nd"
    array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    return np.asarray(array[slices or slice(None)], np.int16)


def _slices(grid: GridFile, indices: NDArray[np.int64] | None = None) -> NDArray[np.int16]:
    mapped = np.load(grid.path, mmap_mode="r")
    return np.array(mapped if indices is None else mapped[indices])


Functions = Mapping[tuple[type, str], Callable[..., Any]]
WITH: Functions = {
    (Store, "catalog"): Store.catalog,
    (Store, "read"): Store.read,
    (GridFile, "read"): GridFile.read,
}
WITHOUT: Functions = {
    (Store, "catalog"): _catalog,
    (Store, "read"): _pixels,
    (GridFile, "read"): _slices,
}
"""As versions without checksums read a store."""


@contextmanager
def _clock(functions: Functions) -> Iterator[list[float]]:
    """Stores are read by these functions; gives the seconds of CPU of each call."""
    seconds: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*values: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*values)
            finally:
                seconds.append(time.thread_time() - began)

        return call

    with ExitStack() as stack:
        for (owner, name), function in functions.items():
            stack.enter_context(patch.object(owner, name, timed(function)))
        yield seconds


if __name__ == "__main__":
    main()
