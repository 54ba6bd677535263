"""Images a second of `fit` and `score` against the bare trunk.

    python -m benchmarks.throughput --work /scratch/throughput \\
        [--backbone vgg16 --size-px 128]

Rows go to results/throughput.csv. The yardsticks are the trunk's forward + backward (for `fit`) and
its forward under inference mode (for `score`) on a batch already in memory. Bare and whole
are measured in turn in one process, and the ratio is taken within each pair, because machines
drift.

Then it prints where the time of `score` goes: each stage alone on one core, and how much of the
cores' time the whole takes beside their sum (1 is no loss). `benchmarks.score_pairs` compares two
checkouts.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from benchmarks.common.speed import logged_speeds, ratio_text, speed_columns, wait
from benchmarks.common.stages import stage_text, stages
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import Store
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.recipes import Recipe, default
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.training import fit
from ubr.weights import Backbone, Intervals, Regressor, load, start
from ubr.weights.common.devices import to_device
from ubr.weights.common.optimizer import pick_precision
from ubr.weights.common.pool import cores
from ubr.weights.network import BATCH
from ubr.weights.runtimes import chosen_runtime


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    options = parse(argv)
    phantoms(options.work / "scans", n=24, seed=0, form="nifti", size_px=256)
    ingest([options.work / "scans"], options.work / "store")
    store = Store.open(options.work / "store")
    recipe = dataclasses.replace(default(), backbone=options.backbone, steps=options.steps)
    inputs = dataclasses.replace(recipe.inputs, size_px=options.size_px)
    recipe = dataclasses.replace(recipe, inputs=inputs)
    on_gpu = torch.cuda.is_available()
    precision = pick_precision(recipe.precision, recipe.backbone, "cuda" if on_gpu else "cpu")
    speeds: dict[str, list[tuple[float, float]]] = {"fit": [], "score": []}
    for pair, (fitting, scoring) in enumerate(measured(store, recipe, precision, options)):
        speeds["fit"].append(fitting)
        speeds["score"].append(scoring)
        print(
            f"pair {pair}: fit {fitting[1]:.0f} of {fitting[0]:.0f} images/s, score "
            f"{scoring[1]:.0f} of {scoring[0]:.0f}"
        )
    rows = []
    for what, pairs in speeds.items():
        bare, whole = zip(*pairs, strict=True)
        rows.append(
            {
                **provenance(recipe.sha256(), recipe.seed),
                "what": what,
                "backbone": recipe.backbone,
                "size_px": recipe.inputs.size_px,
                "precision": precision if what == "fit" else "32-true",
                "pairs": options.pairs,
                **speed_columns(bare, whole, 1),
            }
        )
        print(f"{what}: {ratio_text(bare, whole)}")
    print(f"rows in {append('throughput', rows)}")
    print_stages(store, options.work, cores() / median(whole for _, whole in speeds["score"]))


def print_stages(store: Store, work: Path, core_s: float) -> None:
    """Where the time of `score` goes. core_s: seconds that all cores together take for a slice."""
    regressor = Regressor.from_weights(load(work / "runs" / "run")).eval().requires_grad_(False)
    device = to_device(regressor.to(memory_format=torch.channels_last), "auto")
    slices = sum(row.slices for row in store.rows())
    runtime = chosen_runtime("auto", device, slices)
    shutil.rmtree(work / "stages", ignore_errors=True)
    spent = stages(regressor, store.path, work / "stages", runtime)
    print(f"{runtime}, {stage_text(spent)}")
    print(f"whole x cores / sum of the stages: {1000 * core_s / sum(spent.values()):.2f}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for phantoms, store and runs"
    )
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30, help="a measurement")
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args(argv)


Pair = tuple[float, float]
"""Images a second: bare, and whole."""


def measured(
    store: Store, recipe: Recipe, precision: str, options: argparse.Namespace
) -> Iterator[tuple[Pair, Pair]]:
    """Measure fitting and scoring, as often as the options say."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    slices = torch.cat([to_grid(store, row, recipe.inputs) for row in store.rows()[:3]])
    ready = recipe.inputs.to_input(slices[:BATCH]).to(device)
    batch = recipe.inputs.to_input(slices[: recipe.g * recipe.m]).to(device)
    net = start(recipe.backbone, seed=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    runs = options.work / "runs"
    for _ in range(options.pairs):
        shutil.rmtree(runs, ignore_errors=True)
        bare_fit = _speed(lambda: _train(net, batch, precision), len(batch), options.steps)
        run = fit(
            store,
            runs / "run",
            recipe,
            holdout=0,
            intervals=Intervals(log_every=max(1, options.steps // 6), progress=False),
        )
        whole_fit = float(np.median(logged_speeds(run.folder)))
        bare_score = _speed(lambda: _infer(net, ready), BATCH, 2 * options.steps)
        began = time.perf_counter()
        scores = score(run.weights, [store.path], runs / "scores", progress=False)
        scored = sum(len(series.scores) for series in scores.series)
        whole_score = scored / (time.perf_counter() - began)
        yield (bare_fit, whole_fit), (bare_score, whole_score)


def _speed(once: Callable[[], None], images: int, times: int) -> float:
    once()
    wait()
    began = time.perf_counter()
    for _ in range(times):
        once()
    wait()
    return images * times / (time.perf_counter() - began)


def _train(net: Backbone, batch: torch.Tensor, precision: str) -> None:
    net.train().zero_grad()
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=precision.startswith("bf16")):
        features = net(batch)
    # Of a size that training has: the gradient of a mean all but cancels in BatchNorm, and numbers
    # too small for a float are slow.
    features.float().square().sum().backward()


@torch.inference_mode()
def _infer(net: Backbone, batch: torch.Tensor) -> None:
    net.eval()(batch)


if __name__ == "__main__":
    main()
