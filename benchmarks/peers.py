"""Seconds and memory of a series: `score` beside MONAI, TorchIO and bpreg.

    python3 -m venv PEERS
    echo THIS_ENVIRONMENT/lib/python3.11/site-packages > PEERS/lib/python3.11/site-packages/here.pth
    PEERS/bin/pip install monai torchio "numpy<2" "albumentations<1.4" pandas requests
    PEERS/bin/pip install --no-deps bpreg

    python -m benchmarks.peers --weights FILE --work /scratch/peers --python PEERS/bin/python

The second line lets the peers use this environment's torch. bpreg pins torch 1.8 and runs with this
one, if numpy is older than 2; pip names the pins that are not met. Rows go to results/peers.csv.
Each run is a process of its own that scores a folder of series on the same cores; the pipelines
take turns. MONAI and TorchIO run the same network. bpreg runs its own, with random numbers, and
reads NIfTI only. The imports of torch, timm and the library itself do not count in seconds, and
have a column. Memory is the largest sum over a run's processes, shared pages in proportion. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import ROOT, provenance, resident_mib
from benchmarks.common.peers.pipelines import PEERS, PIPELINES
from benchmarks.common.peers.scans import FORMS, scans
from benchmarks.common.rows import append
from ubr.weights import load


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    options = parse(argv)
    here = options.work / "this"
    here.mkdir(parents=True, exist_ok=True)
    if not (here / "ubr").exists():
        (here / "ubr").symlink_to(ROOT)
    found = [name for name in options.pipelines if installed(name, options.python)]
    for slices, form in product(options.slices, options.forms):
        names = [name for name in found if reads(name, form)]
        if not names:
            continue
        folder = scans(options.work, slices, form, options.series, options.size_px)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                runs[name].append(measured(name, folder, options))
                print(slices, form, name, runs[name][-1], flush=True)
        rows = [row(name, form, slices, runs, options) for name in names]
        print(f"rows in {append('peers', rows)}")
        shutil.rmtree(folder)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for scans and scores")
    parser.add_argument("--python", default=sys.executable, help="the peers' interpreter")
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 300, 1000])
    parser.add_argument("--series", type=int, default=2, help="in the folder")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--pipelines", nargs="+", default=list(PIPELINES), choices=PIPELINES)
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    if shutil.which(options.python) is None:
        parser.error(f"--python {options.python} cannot be run; give the peers' interpreter")
    try:
        load(options.weights)
    except ValueError as error:
        parser.error(str(error))
    return options


def installed(name: str, python: str) -> bool:
    """Whether a pipeline can be imported; a line says which cannot."""
    module = name if name in PEERS else name.partition(", ")[2]
    find = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({module!r}))"
    found = not subprocess.run([interpreter(name, python), "-c", find], check=False).returncode
    if not found:
        print(f"{name} is left out: {module} is not installed; --help says how", flush=True)
    return found


def reads(name: str, form: str) -> bool:
    """Whether a pipeline reads this form of scans; a line says which does not."""
    can = form != "dicom" or PIPELINES[name].dicom
    if not can:
        print(f"{name} is left out of {form}, which it does not read", flush=True)
    return can


def interpreter(name: str, python: str) -> str:
    """What runs a pipeline."""
    return python if name in PEERS else sys.executable


def measured(name: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """What a run took: what `child` prints, and memory_mib."""
    out = options.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = [interpreter(name, options.python), "-m", "benchmarks.common.peers.child"]
    child = subprocess.Popen(
        [*words, name, options.weights.absolute(), folder.absolute(), out.absolute()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str((options.work / "this").absolute())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    memory = 0.0
    while child.poll() is None:
        memory = max(memory, resident_mib(child.pid))
        time.sleep(0.2)
    said, error = child.communicate()
    if child.returncode:
        raise SystemExit(f"{name} failed: {(error.strip() or 'no output').splitlines()[-1]}")
    return {**json.loads(said.splitlines()[-1]), "memory_mib": memory}


def row(
    name: str,
    form: str,
    slices: int,
    runs: dict[str, list[dict[str, float]]],
    options: argparse.Namespace,
) -> dict[str, object]:
    """A row of the table; ratios are those of each round."""
    seconds = {one: np.array([run["seconds"] for run in runs[one]]) for one in runs}
    ratio = seconds[name] / seconds[next(iter(runs))]
    middle = {key: float(np.median([run[key] for run in runs[name]])) for key in NUMBERS}
    weights = load(options.weights)
    return {
        **provenance(weights.sha256(), 0),
        "pipeline": name,
        "version": runs[name][0]["version"],
        "command": f"python -m benchmarks.common.peers.child '{name}' FILE FOLDER OUT",
        "backbone": PIPELINES[name].backbone or weights.backbone,
        "form": form,
        "slices": slices,
        "size_px": options.size_px,
        "series": options.series,
        "rounds": options.rounds,
        "load": round(os.getloadavg()[0], 1),
        "s_a_series": round(middle["seconds"] / options.series, 2),
        "cores_s_a_series": round(middle["cores_s"] / options.series, 2),
        "import_s": round(middle["import_s"], 2),
        "memory_mib": round(middle["memory_mib"]),
        "times_the_first_median": round(float(np.median(ratio)), 2),
        "times_the_first_min": round(float(ratio.min()), 2),
        "times_the_first_max": round(float(ratio.max()), 2),
    }


NUMBERS = ("seconds", "cores_s", "import_s", "memory_mib")


if __name__ == "__main__":
    main()
