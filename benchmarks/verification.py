"""What it costs `score` and `fit` to compare checksums.

    python -m benchmarks.verification --work /scratch/verification

Rows go to results/verification.csv. The same command runs with the checks and without, in turn in
one process, and the ratio of the seconds of CPU that they take is taken within each pair, because
machines drift. Without them, rows are not read beside pixels, and nothing is compared. `fit` takes
its slices from memory ("ram") and from files ("file"), where each step compares the slices that it
takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
        pairs = [_pair(work, first=bool(pair % 2)) for pair in range(options.pairs)]
        ratio = np.array([with_checks / without for with_checks, without in pairs])
        seconds = np.median(np.array(pairs), axis=0)
        found.append(
            {
                **provenance(recipe.sha256(), recipe.seed),
                "what": what,
                "backbone": recipe.backbone,
                "size_px": recipe.inputs.size_px,
                "slices": sum(row.slices for row in rows),
                "pairs": options.pairs,
                "cpu_s": round(float(seconds[0]), 2),
                "cpu_s_without_checks": round(float(seconds[1]), 2),
                "ratio_median": round(float(np.median(ratio)), 3),
                "ratio_min": round(float(ratio.min()), 3),
                "ratio_max": round(float(ratio.max()), 3),
            }
        )
        print(f"{what}: {np.median(ratio):.3f} ({ratio.min():.3f}..{ratio.max():.3f})", flush=True)
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
        machine, intervals = Machine(place=place), Intervals(progress=False)
        run = fit(store, runs / "run", recipe, holdout=0, machine=machine, intervals=intervals)
        return run.weights

    def scoring() -> None:
        shutil.rmtree(runs / "scores", ignore_errors=True)
        score(weights, [store.path], runs / "scores", workers=0, progress=False)

    weights = shutil.copy(fitting("ram"), runs / "weights.safetensors")
    yield "score", scoring
    yield "fit from ram", lambda: fitting("ram")
    yield "fit from file", lambda: fitting("file")


def _pair(work: Callable[[], object], *, first: bool) -> tuple[float, float]:
    """Seconds of CPU with checks and without; first: whether those with checks come first."""
    seconds = {}
    for checked in (first, not first):
        with ExitStack() as stack:
            if not checked:
                stack.enter_context(without_checks())
            began = time.process_time()
            work()
            seconds[checked] = time.process_time() - began
    return seconds[True], seconds[False]


@contextmanager
def without_checks() -> Iterator[None]:
    """Stores are read as versions without checksums read them."""

    def catalog(store: Store) -> Any:
        return pq.read_table(store.path / "catalog.parquet")

    def pixels(store: Store, key: str, slices: slice | None = None) -> NDArray[np.int16]:
        path = store.path / "series" / f"{key}.b2nd"
        array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        return np.asarray(array[slices or slice(None)], np.int16)

    def slices(grid: GridFile, indices: NDArray[np.int64] | None = None) -> NDArray[np.int16]:
        mapped = np.load(grid.path, mmap_mode="r")
        return np.array(mapped if indices is None else mapped[indices])

    with (
        patch.object(Store, "catalog", catalog),
        patch.object(Store, "read", pixels),
        patch.object(GridFile, "read", slices),
    ):
        yield


if __name__ == "__main__":
    main()
