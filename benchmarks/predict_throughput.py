"""Slices a second of `ubr-detect predict` against the detector's forward alone.

    python -m benchmarks.predict_throughput RUN SCAN... --work /scratch/predict

The yardstick is the run's detector on every eighth slice of the scans, already in memory, in
batches as `predict` makes them. The whole is `predict` on all scans, from files to the tables and
the page, its start included and imports left out, in an interpreter of its own; with --body it also
scores them. Both are measured in turn, and the ratio is taken within each pair. Rows go to
results/predict_throughput.csv.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from benchmarks.common.speed import ratio_text, speed_columns, wait
from benchmarks.common.timed import timed
from ubr.downstream.evaluation import load_detector
from ubr.downstream.prediction.looking import BATCH, Looker
from ubr.pretrain import read
from ubr.weights.common import runs
from ubr.weights.common.devices import to_device
from ubr.weights.common.stored import values_sha256

PREDICT = (
    "from pathlib import Path\n"
    "import ubr.downstream.evaluation, ubr.downstream.prediction.looking\n"
    "from ubr.downstream.prediction.predicting import predict",
    "predict(Path(sys.argv[1]), sys.argv[4:], Path(sys.argv[2]), body=sys.argv[3] or None, "
    "progress=False)",
)
"""What is imported, and what is measured."""
STEP = 8
"""Every STEPth slice is in the yardstick."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append a row."""
    options = parse(argv)
    slices = sum(len(read(scan).hu) for scan in options.scans)
    bare, whole = [], []
    for pair in range(options.pairs):
        bare.append(forward(options.run, options.scans, options.passes))
        whole.append(slices / seconds(options))
        print(f"pair {pair}: {whole[-1]:.2f} of {bare[-1]:.2f} slices/s", flush=True)
    config = runs.read_config(options.run)
    row = {
        **provenance(values_sha256(config["recipe"]), config["recipe"]["seed"]),
        "backbone": config["start"]["backbone"],
        "body": str(options.body or ""),
        "scans": len(options.scans),
        "slices": slices,
        "pairs": options.pairs,
        **speed_columns(bare, whole, 2),
    }
    print(f"{ratio_text(bare, whole)}\nrow in {append('predict_throughput', [row])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("run", type=Path, help="a run folder of ubr-detect train")
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--body", help="as of ubr-detect predict")
    parser.add_argument("--passes", type=int, default=3, help="over the slices in memory")
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args(argv)


@torch.inference_mode()
def forward(run: Path, scans: Sequence[Path], passes: int) -> float:
    """Slices a second of the detector alone."""
    detector, recipe, inputs = load_detector(run, "best")
    device = to_device(detector.eval(), "auto")
    looker = Looker(detector, inputs, recipe.view)
    batches = []
    for volume in map(read, scans):
        slices = range(0, len(volume.hu), STEP)
        groups = [slices[i : i + BATCH] for i in range(0, len(slices), BATCH)]
        shown = (looker.shown(volume, group) for group in groups)
        batches += [[image.to(device) for image, _ in one] for one in shown]
    detector(batches[0])
    wait()
    began = time.perf_counter()
    for batch in passes * batches:
        detector(batch)
    wait()
    return passes * sum(map(len, batches)) / (time.perf_counter() - began)


def seconds(options: argparse.Namespace) -> float:
    """What `predict` takes."""
    out = options.work / "found"
    shutil.rmtree(out, ignore_errors=True)
    return timed(*PREDICT, options.run, out, options.body or "", *options.scans).wall_s


if __name__ == "__main__":
    main()
