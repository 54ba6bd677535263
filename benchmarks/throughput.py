"""Images a second of `fit` and `score` against the bare trunk, in one process: rows in
results/throughput.csv.

    python -m benchmarks.throughput --work /scratch/throughput [--backbone vgg16 --size-px 128]

The yardsticks are the trunk's forward + backward (for `fit`) and its forward under inference mode
(for `score`) on a batch that lies ready in memory. Bare and whole are measured in turn, and the
ratio is taken within each pair, because machines drift.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.rows import append, provenance
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import Store
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.recipes import default
from ubr.pretrain.scores.scoring import BATCH, score
from ubr.pretrain.training import fit
from ubr.weights import Backbone, Intervals, start
from ubr.weights.common.optimizer import pick_precision


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for phantoms, store and runs"
    )
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30, help="a measurement")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()

    phantoms(options.work / "scans", n=24, seed=0, form="nifti", size_px=256)
    ingest([options.work / "scans"], options.work / "store")
    store = Store.open(options.work / "store")
    recipe = dataclasses.replace(default(), backbone=options.backbone, steps=options.steps)
    recipe = dataclasses.replace(
        recipe, inputs=dataclasses.replace(recipe.inputs, size_px=options.size_px)
    )
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    precision = pick_precision(
        recipe.precision, recipe.backbone, device.type if not on_gpu else "gpu"
    )
    slices = torch.cat([to_grid(store, row, recipe.inputs) for row in store.rows()[:3]])
    ready = recipe.inputs.to_input(slices[:BATCH]).to(device)
    batch = recipe.inputs.to_input(slices[: recipe.g * recipe.m]).to(device)
    net = start(recipe.backbone, seed=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    runs = options.work / "runs"
    pairs = []
    for pair in range(options.pairs):
        shutil.rmtree(runs, ignore_errors=True)
        bare_fit = _speed(lambda: _train(net, batch, precision), len(batch), options.steps)
        run = fit(
            store,
            runs / "run",
            recipe,
            holdout=0,
            intervals=Intervals(log_every=max(1, options.steps // 6), progress=False),
        )
        lines = [
            json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()
        ]
        whole_fit = float(
            np.median([line["images_per_s"] for line in lines[1:]])
        )  # the first interval has the start in it
        bare_score = _speed(lambda: _infer(net, ready), BATCH, 2 * options.steps)
        began = time.perf_counter()
        scored = sum(
            len(s.scores)
            for s in score(
                run.weights, [store.path], runs / "scores", workers=0, progress=False
            ).series
        )
        whole_score = scored / (time.perf_counter() - began)
        pairs.append((bare_fit, whole_fit, bare_score, whole_score))
        print(
            f"pair {pair}: fit {whole_fit:.0f} of {bare_fit:.0f} images/s, score "
            f"{whole_score:.0f} of {bare_score:.0f}"
        )
    values = np.array(pairs)
    rows = []
    for what, bare, whole in (
        ("fit", values[:, 0], values[:, 1]),
        ("score", values[:, 2], values[:, 3]),
    ):
        ratio = whole / bare
        rows.append(
            {
                **provenance(recipe.sha256(), recipe.seed),
                "what": what,
                "backbone": recipe.backbone,
                "size_px": recipe.inputs.size_px,
                "precision": precision if what == "fit" else "32-true",
                "pairs": options.pairs,
                "bare_images_per_s": round(float(np.median(bare)), 1),
                "images_per_s": round(float(np.median(whole)), 1),
                "ratio_median": round(float(np.median(ratio)), 3),
                "ratio_min": round(float(ratio.min()), 3),
                "ratio_max": round(float(ratio.max()), 3),
            }
        )
        print(f"{what}: median ratio {np.median(ratio):.3f} ({ratio.min():.3f}..{ratio.max():.3f})")
    print(f"rows in {append('throughput', rows)}")


def _speed(once: Callable[[], None], images: int, times: int) -> float:
    once()
    _wait()
    began = time.perf_counter()
    for _ in range(times):
        once()
    _wait()
    return images * times / (time.perf_counter() - began)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
