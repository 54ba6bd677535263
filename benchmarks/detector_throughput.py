"""Images a second of a detector's training against a bare loop over the same torchvision model.

    python -m benchmarks.detector_throughput --data /scratch/lesions/planted \\
        --work /scratch/throughput [--backbone vgg16 --recipe paper]

Rows go to results/detector_throughput.csv. The yardstick is forward, backward, the recipe's
clipping and optimizer step of the same detector on the same batches, already in memory.
Bare and whole are measured in turn in one process, and the ratio is taken within each pair, because
machines drift.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from benchmarks.common.speed import logged_speeds, ratio_text, speed_columns, wait
from ubr.downstream import starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.detector import Detector, faster_rcnn, measure_norms
from ubr.downstream.module import Batches
from ubr.downstream.recipes import RECIPES, DetectorRecipe, recipe
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Intervals, Machine, Weights
from ubr.weights.common.optimizer import pick_precision

LOG_EVERY = 8
"""Steps between two measurements; the first ones are left out."""


@dataclass(frozen=True)
class Setting:
    """What is measured, and on what."""

    weights: Weights
    train: DeepLesion
    recipe: DetectorRecipe
    device: torch.device
    precision: str


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append a row."""
    options = parse(argv)
    setting = setting_of(options)
    chosen = setting.recipe
    batches = Batches(setting.train, chosen.batch, chosen.seed)
    ready = [_on(setting.device, *batches[step]) for step in range(chosen.steps)]
    bare, whole = [], []
    for pair in range(options.pairs):
        bare.append(bare_speed(setting, ready))
        whole.append(whole_speed(setting, options.work / "run", options.workers))
        print(f"pair {pair}: {whole[-1]:.2f} of {bare[-1]:.2f} images/s")
    row = {
        **provenance(chosen.sha256(), chosen.seed),
        "recipe": options.recipe,
        "backbone": options.backbone,
        "precision": setting.precision,
        "workers": options.workers,
        "pairs": options.pairs,
        **speed_columns(bare, whole, 2),
    }
    print(ratio_text(bare, whole))
    print(f"row in {append('detector_throughput', [row])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in DeepLesion's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=48, help="a measurement")
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args(argv)


def setting_of(options: argparse.Namespace) -> Setting:
    """What is measured, from the options."""
    chosen = dataclasses.replace(recipe(options.recipe), steps=options.steps)
    weights = starting_weights(options.backbone, "random", InputSpec())
    train = DeepLesion(
        options.data, "train", weights.inputs, view=chosen.view, augment=chosen.augment
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = pick_precision(chosen.precision, options.backbone, device.type)
    return Setting(weights, train, chosen, device, precision)


def whole_speed(setting: Setting, folder: Path, workers: int) -> float:
    """Images a second of a training."""
    shutil.rmtree(folder, ignore_errors=True)
    run = finetune(
        setting.weights,
        setting.train,
        None,
        folder,
        setting.recipe,
        machine=Machine(devices=1, workers=workers),
        intervals=Intervals(250, 250, LOG_EVERY, progress=False),
    )
    # Of intervals of the same length, the harmonic mean is the speed of the whole.
    return 1 / float(np.mean([1 / speed for speed in logged_speeds(run.folder)]))


def bare_speed(setting: Setting, batches: list[tuple[list[Any], list[dict[str, Any]]]]) -> float:
    """Images a second of the plain loop."""
    chosen = setting.recipe
    detector, _ = faster_rcnn(setting.weights, seed=chosen.seed, **chosen.parts())
    if chosen.norms == "measured":
        measure_norms(detector, [[image.cpu() for image in batches[0][0]]])
    on_device: Detector = detector.to(setting.device, memory_format=torch.channels_last)
    return _bare(on_device, batches, chosen, setting.precision)


def _on(
    device: torch.device, images: list[torch.Tensor], targets: list[dict[str, Any]]
) -> tuple[list[Any], list[dict[str, Any]]]:
    return [i.to(device) for i in images], [
        {name: t[name].to(device) for name in ("boxes", "labels")} for t in targets
    ]


def _bare(
    detector: Detector,
    batches: list[tuple[list[Any], list[dict[str, Any]]]],
    chosen: DetectorRecipe,
    precision: str,
) -> float:
    kind: Any = torch.optim.AdamW if chosen.optimizer == "adamw" else torch.optim.SGD
    optimizer = kind(
        [p for p in detector.parameters() if p.requires_grad], lr=chosen.lr, fused=True
    )
    detector.train()
    began, images = 0.0, 0
    for step, (batch, targets) in enumerate(batches):
        if step == LOG_EVERY:
            wait()
            began, images = time.perf_counter(), 0
        with torch.autocast(
            batch[0].device.type, torch.bfloat16, enabled=precision.startswith("bf16")
        ):
            loss = torch.stack(list(detector(batch, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if chosen.clip_norm:
            torch.nn.utils.clip_grad_norm_(detector.parameters(), chosen.clip_norm)
        optimizer.step()
        images += len(batch)
    wait()
    return images / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
