"""The distribution ubr-score beside the toolkit: equal scores, what it takes to install, seconds.

    python -m benchmarks.scorer --weights FILE --scans DATA --work /scratch/scorer

It builds the wheel, installs it into a fresh environment, exports the weights, and scores all scans
and some computed DICOM patients with both. A series of 300 slices is then scored by both in turns,
each run a process of its own, from the command to the tables. In the scorer's processes any call of
the network is an error. A row goes to results/scorer.csv.

Installing is timed from files that were downloaded before. Compressed DICOM needs gdcm, which is
installed after sizes were taken.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import ROOT, provenance
from benchmarks.common.peers.scans import scans
from benchmarks.common.rows import append
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.reading.chosen import chosen_regions
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores.read import read_slices
from ubr.weights import Weights, export, load

GUARD = """
import atexit, os, socket, sys

def refused(*_, **__):
    raise SystemExit("a call of the network")

def check():
    for name in ("torch", "torchvision", "timm", "lightning"):
        if name in sys.modules:
            sys.stderr.write(f"{name} was imported\\n")
            sys.stderr.flush()
            os._exit(3)

socket.socket.connect = socket.getaddrinfo = refused
atexit.register(check)
"""
"""What every process of the scorer runs first."""
QUICKEST = {"scorer": (), "toolkit": ("--workers", "0")}
"""Options with which a single series is scored soonest."""
MEANINGS = ("slices", "direction", "findings", "warnings", "parts", "context")
"""Columns of series.csv that must be equal; numbers are compared in the table of slices."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append a row."""
    options = parse(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    weights = load(options.weights)
    onnx = options.work / "weights.onnx"
    export(weights, onnx, to="onnx", overwrite=True)
    installed = install(options.work)
    print(installed, flush=True)
    long_series = next(iter(scans(options.work, options.slices, "dicom").iterdir()))
    regions = some_regions(weights, options.work, long_series)
    runs = Runs(options, onnx, regions)
    seconds = timed(runs, long_series, options.rounds)
    print(seconds, flush=True)
    runs.pip("python-gdcm", "pylibjpeg", "pylibjpeg-rle")
    if options.patients:
        phantoms(options.work / "patients", n=options.patients, size_px=256)
    given = [*sources(options.scans, options.at_most), options.work / "patients"]
    equal = compared(runs, [one for one in given if one.exists()])
    row = {
        **provenance(weights.sha256(), 0),
        "backbone": weights.backbone,
        "size_px": weights.inputs.size_px,
        "patients": options.patients,
        **equal,
        **installed,
        "slices_of_the_series": options.slices,
        "rounds": options.rounds,
        "load": round(os.getloadavg()[0], 1),
        **seconds,
    }
    print(row)
    print(f"rows in {append('scorer', [row])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--scans", type=Path, nargs="*", default=[], help="files and folders")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--patients", type=int, default=50, help="computed ones")
    parser.add_argument("--at-most", type=int, help="of each folder in a folder of scans, to try")
    parser.add_argument("--slices", type=int, default=300, help="of the series that is timed")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(argv)


class Runs:
    """How both are run."""

    def __init__(self, options: argparse.Namespace, onnx: Path, regions: Path) -> None:
        self.work: Path = options.work.absolute()
        self.bin = self.work / "env" / "bin"
        self.given = {"scorer": onnx, "toolkit": options.weights.absolute()}
        self.regions = regions
        here, guard = self.work / "this", self.work / "guard"
        for folder in (here, guard):
            folder.mkdir(exist_ok=True)
        (guard / "sitecustomize.py").write_text(GUARD)
        if not (here / "ubr").exists():
            (here / "ubr").symlink_to(ROOT)
        self.path = {"scorer": guard, "toolkit": here}

    def pip(self, *words: str) -> None:
        """Install into the fresh environment."""
        subprocess.run([self.bin / "pip", "install", "-q", *words], check=True)

    def score(self, name: str, given: Iterable[Path], *more: str) -> Path:
        """Score, and return the folder of the tables."""
        out = self.work / f"scores_{name}"
        shutil.rmtree(out, ignore_errors=True)
        words: list[str | Path] = [self.bin / "ubr-score", "--weights", self.given[name]]
        if name == "toolkit":
            words = [sys.executable, "-m", "ubr.pretrain.cli", "score", self.given[name]]
        done = subprocess.run(
            [*words, *given, "--out", out, "--regions", self.regions, *more],
            env={**os.environ, "PYTHONPATH": str(self.path[name])},
            cwd=self.work,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{name} failed: {done.stderr.strip()}")
        return out


def install(work: Path) -> dict[str, object]:
    """Build the wheel, fetch what it needs, and install both into a fresh environment."""
    wheels, env = work / "wheels", work / "env"
    for folder in (wheels, env):
        shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "-q"]
    alone = ["wheel", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, *alone, "-w", wheels, ROOT / "scorer"], check=True)
    (wheel,) = wheels.glob("ubr_score-*.whl")
    wheel_mib = wheel.stat().st_size / 2**20
    subprocess.run([*pip, "download", "-d", wheels, wheel], check=True)
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    bare_mib = mib(env)
    began = time.perf_counter()
    words = ["install", "-q", "--no-index", "--find-links", str(wheels), "ubr-score"]
    subprocess.run([env / "bin" / "pip", *words], check=True)
    return {
        "install_s": round(time.perf_counter() - began, 1),
        "environment_mib": round(mib(env)),
        "without_pip_mib": round(mib(env) - bare_mib),
        "wheel_mib": round(wheel_mib, 2),
    }


def mib(folder: Path) -> float:
    """What a folder takes on disk."""
    done = subprocess.run(["du", "-sk", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) / 1024


def some_regions(weights: Weights, work: Path, series: Path) -> Path:
    """A file of the regions that weights bring, or of three parts by thirds of a series' scores.

    What parts mean does not change the seconds, nor whether both tell the same ones.
    """
    path = work / "regions.json"
    path.unlink(missing_ok=True)
    regions = chosen_regions(None, weights)
    if regions is None:
        from ubr.pretrain.scores.alone import Scorer

        scores = Scorer(weights).read(series).slices["score"]
        levels = [Level(float(np.quantile(scores, q)), None, 1, (), ()) for q in (1 / 3, 2 / 3)]
        regions = Regions(
            weights.sha256(),
            ("chest", "abdomen", "pelvis"),
            (levels[0], levels[1]),
            {"dome": levels[0], "crest": levels[1]},
        )
    return regions.save(path)


def sources(folders: Sequence[Path], at_most: int | None) -> list[Path]:
    """The scans; to try, the first few entries of each folder in the folders."""
    if at_most is None:
        return [folder.absolute() for folder in folders]
    found: list[Path] = []
    for folder in folders:
        for below in sorted(one for one in folder.iterdir() if one.is_dir()):
            found += sorted(below.iterdir())[:at_most]
    return [one.absolute() for one in found]


def timed(runs: Runs, series: Path, rounds: int) -> dict[str, object]:
    """Seconds from the command to the tables of one series, by both in turns."""
    spent: dict[str, list[float]] = {"scorer": [], "toolkit": []}
    for _ in range(rounds):
        for name, each in spent.items():
            began = time.perf_counter()
            runs.score(name, [series.absolute()], *QUICKEST[name])
            each.append(time.perf_counter() - began)
    ratio = np.array(spent["toolkit"]) / np.array(spent["scorer"])
    return {
        "scorer_s": round(float(np.median(spent["scorer"])), 2),
        "toolkit_s": round(float(np.median(spent["toolkit"])), 2),
        "ratio_median": round(float(np.median(ratio)), 2),
        "ratio_min": round(float(ratio.min()), 2),
        "ratio_max": round(float(ratio.max()), 2),
    }


def compared(runs: Runs, given: Sequence[Path]) -> dict[str, object]:
    """How far both are apart over all series."""
    alone, whole = (runs.score(name, given) for name in ("scorer", "toolkit"))
    (one, _), (other, _) = read_slices(alone), read_slices(whole)
    both = one.keys() & other.keys()
    return {
        "series": len(other),
        "slices": sum(len(table["score"]) for table in other.values()),
        "left_out": len(rows(whole / "left_out.csv")),
        "largest_difference": f"{max(apart(one[key], other[key]) for key in both):.1e}",
        "other_series": len(one.keys() ^ other.keys()),
        "other_left_out": len(
            {tuple(row.values()) for row in rows(alone / "left_out.csv")}
            ^ {tuple(row.values()) for row in rows(whole / "left_out.csv")}
        ),
        "other_meaning": sum(
            a.get(name) != b.get(name)
            for a, b in zip(rows(alone / "series.csv"), rows(whole / "series.csv"), strict=False)
            for name in MEANINGS
        ),
    }


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference of a score in a series; infinite where slices differ."""
    if not np.array_equal(one["z_mm"], other["z_mm"]):
        return float("inf")
    return float(np.abs(one["score"] - other["score"]).max())


def rows(path: Path) -> list[dict[str, str]]:
    """A table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
