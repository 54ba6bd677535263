"""Images a second of a detector's training against a bare loop over the same torchvision model, in
one process: rows in results/detector_throughput.csv.

    python -m benchmarks.detector_throughput --data /scratch/lesions/planted --work /scratch/throughput [--backbone vgg16 --recipe paper]

The yardstick is forward, backward, the recipe's clipping and optimizer step of the same detector on
the same batches, which lie ready in memory. Bare and whole are measured in turn, and the ratio is
taken within each pair, because machines drift.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import append, provenance
from ubr.downstream import starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.detector import Detector, faster_rcnn, measure_norms
from ubr.downstream.module import Batches
from ubr.downstream.recipes import RECIPES, DetectorRecipe, recipe
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Intervals, Machine
from ubr.weights.common.optimizer import pick_precision


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder in DeepLesion's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=48, help="a measurement")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()

    chosen = dataclasses.replace(recipe(options.recipe), steps=options.steps)
    weights = starting_weights(options.backbone, "random", InputSpec())
    train = DeepLesion(
        options.data, "train", weights.inputs, view=chosen.view, augment=chosen.augment
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = pick_precision(
        chosen.precision, options.backbone, "gpu" if device.type == "cuda" else "cpu"
    )
    batches = Batches(train, chosen.batch, chosen.seed)
    ready = [_on(device, *batches[step]) for step in range(chosen.steps)]
    pairs = []
    for pair in range(options.pairs):
        detector, _ = faster_rcnn(weights, seed=chosen.seed, **chosen.parts())
        if chosen.norms == "measured":
            measure_norms(detector, [[i.cpu() for i in ready[0][0]]])
        bare = _bare(
            detector.to(device, memory_format=torch.channels_last), ready, chosen, precision
        )
        shutil.rmtree(options.work / "run", ignore_errors=True)
        run = finetune(
            weights,
            train,
            None,
            options.work / "run",
            chosen,
            machine=Machine(devices=1, workers=options.workers),
            intervals=Intervals(250, 250, log_every=8, progress=False),
        )
        lines = [
            json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()
        ]
        # Of intervals of the same length the harmonic mean is the whole's speed. The first has the
        # start in it.
        whole = 1 / float(np.mean([1 / line["images_per_s"] for line in lines[1:]]))
        pairs.append((bare, whole))
        print(f"pair {pair}: {whole:.2f} of {bare:.2f} images/s")
    ratio = np.array([whole / bare for bare, whole in pairs])
    row = {
        **provenance(chosen.sha256(), chosen.seed),
        "recipe": options.recipe,
        "backbone": options.backbone,
        "precision": precision,
        "workers": options.workers,
        "pairs": options.pairs,
        "bare_images_per_s": round(float(np.median([bare for bare, _ in pairs])), 2),
        "images_per_s": round(float(np.median([whole for _, whole in pairs])), 2),
        "ratio_median": round(float(np.median(ratio)), 3),
        "ratio_min": round(float(ratio.min()), 3),
        "ratio_max": round(float(ratio.max()), 3),
    }
    print(f"median ratio {np.median(ratio):.3f} ({ratio.min():.3f}..{ratio.max():.3f})")
    print(f"row in {append('detector_throughput', [row])}")


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
    """Images a second of the plain loop, its first eight steps left out as in the whole."""
    kind: Any = torch.optim.AdamW if chosen.optimizer == "adamw" else torch.optim.SGD
    optimizer = kind(
        [p for p in detector.parameters() if p.requires_grad], lr=chosen.lr, fused=True
    )
    detector.train()
    began, images = 0.0, 0
    for step, (batch, targets) in enumerate(batches):
        if step == 8:
            _wait()
            began, images = time.perf_counter(), 0
        with torch.autocast(
            batch[0].device.type, torch.bfloat16, enabled=precision.startswith("bf16")
        ):
            loss = torch.stack(list(detector(batch, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        if chosen.clip_norm:
            torch.nn.utils.clip_grad_norm_(detector.parameters(), chosen.clip_norm)
        optimizer.step()
        images += len(batch)
    _wait()
    return images / (time.perf_counter() - began)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
