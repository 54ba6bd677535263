"""Score many tiny series while workers and whole runs are killed at random.

    python -m benchmarks.archive --work /scratch/archive --series 5000 --by pool dask

Rows go to results/archive.csv. The command line scores a folder of small NIfTI files, once
undisturbed, and once killed (SIGKILL) and started again; both with processes of this machine and
with a Dask cluster on it. The tables of the two must be the same bytes, and hold each series once.
Linux only.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.weights import InputSpec, Regressor, build
from ubr.weights.common import disk
from ubr.weights.common.optional import optional

SLICES, SIZE_PX = 6, 32
TABLES = ("slices.parquet", "series.csv", "left_out.csv")

Pids = Callable[[int], list[int]]
"""Gives the process ids of a run's workers, by that of the run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Score, kill, compare, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--by", nargs="+", default=["pool", "dask"], choices=["pool", "dask"])
    parser.add_argument(
        "--kills", type=int, default=20, help="of workers and runs, a third of them of runs"
    )
    parser.add_argument("--every", type=float, default=20, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    scans = _scans(options.work / f"scans-{options.series}", options.series)
    weights = options.work / "weights.safetensors"
    regressor = Regressor(build("timm/test_resnet"), InputSpec(size_px=SIZE_PX))
    regressor.to_weights({"method": "none"}, "CC0-1.0").save(weights)
    for by in options.by:
        row = {**provenance("", options.seed), **measured(options, by, weights, scans)}
        print(row, flush=True)
        print(f"row in {append('archive', [row])}", flush=True)


def measured(options: argparse.Namespace, by: str, weights: Path, scans: Path) -> dict[str, object]:
    """Score undisturbed, score while processes are killed, and compare the tables."""
    command = [sys.executable, "-m", "ubr.pretrain.cli", "score", str(weights), str(scans)]
    whole, broken = options.work / f"whole-{by}", options.work / f"broken-{by}"
    for folder in (whole, broken):
        shutil.rmtree(folder, ignore_errors=True)
    with _workers(by) as (words, pids):
        command += ["--device", "cpu", *words, "--out"]
        undisturbed_s, *_ = _run([*command, str(whole)], pids, 0, options.every, options.seed)
        seconds, workers, runs = _run(
            [*command, str(broken)], pids, options.kills, options.every, options.seed
        )
    with (broken / "series.csv").open(newline="") as file:
        keys = [row["series"] for row in csv.DictReader(file)]
    slices = options.series * SLICES
    return {
        "by": by,
        "series": options.series,
        "slices": slices,
        "killed_workers": workers,
        "killed_runs": runs,
        "seconds": round(seconds),
        "seconds_undisturbed": round(undisturbed_s),
        "slices_per_s_undisturbed": round(slices / undisturbed_s, 1),
        "each_series_once": len(keys) == len(set(keys)) == options.series,
        "equal": all(
            (whole / table).read_bytes() == (broken / table).read_bytes() for table in TABLES
        ),
    }


def _scans(folder: Path, series: int) -> Path:
    """Make small series of noise; it only matters that no two are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(list(folder.glob("*.nii"))), series):
        hu = np.random.default_rng(number).integers(
            -1000, 1000, (SIZE_PX, SIZE_PX, SLICES), dtype=np.int16
        )
        image = nibabel.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0]))  # type: ignore[no-untyped-call]
        with disk.whole(folder / f"{number:06}.nii") as part:
            nibabel.save(image, part)
    return folder


@contextmanager
def _workers(by: str) -> Iterator[tuple[list[str], Pids]]:
    """Options of the command line, and how to find the workers."""
    if by == "pool":
        yield ["--workers", "2"], _spawned
        return
    dask, distributed = (
        optional(module, extra="cluster", purpose="--by dask") for module in ("dask", "distributed")
    )
    # A local cluster gives up a worker that is not back in 15 s, and replaces none; a busy machine
    # needs longer to start one.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
    ):

        def running(_: int) -> list[int]:
            """The workers that have started.

            A worker killed while it starts makes Dask's nanny give up; on a real cluster, whatever
            started it would start another.
            """
            processes = [nanny.process for nanny in cluster.workers.values()]
            return [
                process.pid for process in processes if process and process.status.name == "running"
            ]

        yield ["--scheduler", cluster.scheduler_address], running


def _spawned(run: int) -> list[int]:
    found = []
    for child in (
        child
        for thread in Path(f"/proc/{run}/task").glob("*/children")
        for child in thread.read_text().split()
    ):
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
        except OSError:  # it ended meanwhile
            continue
    return found


def _run(
    command: list[str], pids: Pids, kills: int, every_s: float, seed: int
) -> tuple[float, int, int]:
    """Run a command, and kill its workers and the command itself on the way.

    Returns the seconds until it ended, the number of workers killed, and the number of runs killed.
    """
    dice, began = random.Random(seed), time.monotonic()
    workers = runs = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        left = kills - workers - runs
        try:
            status = process.wait(dice.uniform(0.2, 1.8) * every_s if left else None)
        except subprocess.TimeoutExpired:
            if dice.random() < 1 / 3:
                process.kill()
                process.wait()
                runs += 1
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            elif found := pids(process.pid):
                os.kill(dice.choice(found), signal.SIGKILL)
                workers += 1
            continue
        if status:
            raise SystemExit(f"score ended with status {status}: {' '.join(command)}")
        return time.monotonic() - began, workers, runs


if __name__ == "__main__":
    main()
