"""Score many tiny series while workers and whole runs are killed at random: rows in
results/archive.csv.

    python -m benchmarks.archive --work /scratch/archive --series 5000 --by pool dask

The command line scores a folder of small NIfTI files, once undisturbed and once killed (SIGKILL)
and started again, with processes of this machine and with a Dask cluster on it. The tables of the
two must be the same bytes, and hold each series once. Linux only.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.rows import append, provenance
from ubr.weights import InputSpec, Regressor, build

SLICES, SIZE_PX = 6, 32
TABLES = ("slices.parquet", "series.csv", "left_out.csv")

Pids = Callable[[int], list[int]]
"""The workers of a run, by the run's process id."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--by", nargs="+", default=["pool", "dask"], choices=["pool", "dask"])
    parser.add_argument(
        "--kills", type=int, default=20, help="of workers and runs, a third of them of runs"
    )
    parser.add_argument("--every", type=float, default=20, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    scans, weights = (
        _scans(options.work / f"scans-{options.series}", options.series),
        options.work / "weights.safetensors",
    )
    Regressor(build("timm/test_resnet"), InputSpec(size_px=SIZE_PX)).to_weights(
        {"method": "none"}, "CC0-1.0"
    ).save(weights)
    for by in options.by:
        with _workers(by) as (words, pids):
            command = [
                sys.executable,
                "-m",
                "ubr.pretrain.cli",
                "score",
                str(weights),
                str(scans),
                "--device",
                "cpu",
                *words,
                "--out",
            ]
            whole, broken = options.work / f"whole-{by}", options.work / f"broken-{by}"
            for folder in (whole, broken):
                shutil.rmtree(folder, ignore_errors=True)
            undisturbed_s, *_ = _run([*command, str(whole)], pids, 0, options.every, options.seed)
            seconds, workers, runs = _run(
                [*command, str(broken)], pids, options.kills, options.every, options.seed
            )
        with (broken / "series.csv").open(newline="") as file:
            keys = [row["series"] for row in csv.DictReader(file)]
        row = {
            **provenance("", options.seed),
            "by": by,
            "series": options.series,
            "slices": options.series * SLICES,
            "killed_workers": workers,
            "killed_runs": runs,
            "seconds": round(seconds),
            "seconds_undisturbed": round(undisturbed_s),
            "slices_per_s_undisturbed": round(options.series * SLICES / undisturbed_s, 1),
            "each_series_once": len(keys) == len(set(keys)) == options.series,
            "equal": all(
                (whole / table).read_bytes() == (broken / table).read_bytes() for table in TABLES
            ),
        }
        print(row, flush=True)
        print(f"row in {append('archive', [row])}", flush=True)


def _scans(folder: Path, series: int) -> Path:
    """Small series of noise: what matters here is that each is another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(list(folder.iterdir())), series):
        hu = np.random.default_rng(number).integers(
            -1000, 1000, (SIZE_PX, SIZE_PX, SLICES), dtype=np.int16
        )
        nibabel.save(
            nibabel.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0])), folder / f"{number:06}.nii"
        )
    return folder


@contextmanager
def _workers(by: str) -> Iterator[tuple[list[str], Pids]]:
    """Options of the command line, and how to find the workers."""
    if by == "pool":
        yield ["--workers", "2"], _spawned
        return
    import dask
    from distributed import LocalCluster

    # A local cluster gives up a worker that is not back in 15 s, and replaces none; a busy machine
    # needs longer to start one.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    ):

        def running(_: int) -> list[int]:
            """A worker killed while it starts makes Dask's nanny give up; on a cluster whatever
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
    """Seconds until the command came to its end, and how many of its workers and how many runs of
    it were killed on the way.
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
