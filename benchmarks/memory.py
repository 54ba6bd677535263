"""Resident memory of `fit` when slices are read from files, for a small and a large store.

    python -m benchmarks.memory --work /scratch/memory

Rows go to results/memory.csv. The command line trains on stores of 10 and 300 series with place
"file" and two loader workers, while the resident memory of the process and its workers is read from
/proc (Linux) five times a second.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance, resident_mib
from benchmarks.common.rows import append
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.volume import Series, Volume
from ubr.weights.body import body_boxes

SLICES, SIZE_PX = 120, 128


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--volumes", type=int, nargs="+", default=[10, 300])
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args(argv)
    rows = []
    for volumes in options.volumes:
        store = _store(options.work / f"store-{volumes}", volumes)
        seen = memory_of_fit(store, options.work / f"run-{volumes}", options.steps)
        half = len(seen) // 2
        rows.append(
            {
                **provenance("", 0),
                "volumes": volumes,
                "slices": volumes * SLICES,
                "grid_mib": round(volumes * SLICES * SIZE_PX**2 * 2 / 2**20),
                "resident_mib_first_half": round(float(np.median(seen[:half]))),
                "resident_mib_second_half": round(float(np.median(seen[half:]))),
                "resident_mib_peak": round(max(seen)),
            }
        )
        print({key: value for key, value in rows[-1].items() if "mib" in key or key == "volumes"})
    print(f"rows in {append('memory', rows)}")


def memory_of_fit(store: Path, run: Path, steps: int) -> list[float]:
    """Resident memory in MiB, five times a second while the command line trains."""
    shutil.rmtree(run, ignore_errors=True)
    options = f"--backbone timm/test_resnet --place file --workers 2 --g 8 --steps {steps}"
    options += f" --inputs.size_px {SIZE_PX} --holdout 0 --checkpoint_every 1000 --log_every 1"
    command = [sys.executable, "-m", "ubr.pretrain.cli", "fit", str(store), "--out", str(run)]
    command += options.split()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        # Only while it trains: preparing the grids comes first and is another matter.
        if (run / "metrics.jsonl").exists():
            seen.append(resident_mib(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"fit ended with status {process.returncode}: {' '.join(command)}")
    return seen


def _store(path: Path, volumes: int) -> Path:
    """Make a store of series of noise around a body.

    Their content does not matter here, only that each is a file of its own.
    """
    store = Store.create(path)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    body = np.where((y - 64) ** 2 + (x - 64) ** 2 < 50**2, 40, -1000)
    for number in range(volumes):
        series = Series("nifti", (f"{number}.nii",), f"memory-{number}", "")
        if store.has(store.key(series)):
            continue
        hu = (body + rng.integers(-20, 20, (SLICES, SIZE_PX, SIZE_PX))).astype(np.int16)
        volume = Volume(hu, (3.0, 3.0, 3.0), 3.0 * np.arange(SLICES, dtype=np.float64))
        store.add(series, volume, body_boxes(hu, volume.spacing_mm))
    return path


if __name__ == "__main__":
    main()
