"""A lesion detector on planted lesions in real CT, from one start.

    python -m benchmarks.lesions --data /data/ct/torso --work /scratch/lesions \\
        [--weights runs/first/weights.safetensors] [--seed 1]

Rows go to results/lesions.csv. --data takes `phantom`, a folder of NIfTI scans or a store, in which
lesions are planted, or a folder in DeepLesion's layout. Patients of the test split are seen neither
in training nor when the best step is chosen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.planted import add_lesion_options, lesion_folder, seeded
from benchmarks.common.rows import append
from ubr.downstream import starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.evaluation import evaluate
from ubr.downstream.recipes import RECIPES
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Intervals, Machine, Weights, load

KINDS = ("abdomen", "mediastinum", "liver", "lung", "kidney")
"""DeepLesion's types that planted lesions have; the first two are nodes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, judge, append a row."""
    options = parse(argv)
    data, columns = lesion_folder(
        options.data, options.work, options.per_scan, options.studies, options.split
    )
    recipe = seeded(options.recipe, options.steps, options.seed)
    weights = start_of(options)
    train = DeepLesion(data, "train", weights.inputs, view=recipe.view, augment=recipe.augment)
    val = DeepLesion(data, "val", weights.inputs, view=recipe.view)
    folder = options.work / f"{options.recipe}-{weights.sha256()[:8]}-{recipe.sha256()[:8]}"
    began, is_new = time.monotonic(), not folder.exists()
    run = finetune(
        weights,
        train,
        val,
        folder,
        recipe,
        machine=Machine(devices=1, workers=1),
        intervals=Intervals(recipe.steps, checkpoint_every=250),
    )
    minutes = round((time.monotonic() - began) / 60, 1)
    judged = evaluate(run.folder, data, folder / f"test-{time.strftime('%H%M%S')}", split="test")
    row = {
        **provenance(recipe.sha256(), recipe.seed),
        **columns,
        "recipe": options.recipe,
        "backbone": weights.backbone,
        "start": start_name(options),
        "window_hu": "{:g} {:g}".format(*weights.inputs.window_hu),
        "steps": recipe.steps,
        "train_images": len(train),
        **measured(judged.report),
        "minutes": minutes if is_new else "",  # of a run that resumed, only a part is known
    }
    print(judged)
    print(f"row in {append('lesions', [row])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    add_lesion_options(parser)
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--weights", type=Path, help="start from a weights file")
    parser.add_argument(
        "--start", default="random", help="else from random, random:msra, imagenet or a file"
    )
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar="HU",
        default=InputSpec().window_hu,
        help="of a start without weights",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def start_of(options: argparse.Namespace) -> Weights:
    """The weights that the detector starts from."""
    if options.weights:
        return load(options.weights)
    inputs = InputSpec(window_hu=tuple(options.window))
    weights: Weights = starting_weights(options.backbone, options.start, inputs, options.seed)
    return weights


def start_name(options: argparse.Namespace) -> str:
    """What the column `start` calls the start."""
    if options.weights:
        return "ubr"
    return "file" if Path(options.start).is_file() else str(options.start)


def measured(report: Mapping[str, Any]) -> dict[str, object]:
    """The columns of a row that an evaluation gives."""
    recall, by_type = report["recall"], report["recall_by_type"]
    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    return {
        "test_images": report["images"],
        "test_patients": report["patients"],
        "test_lesions": report["lesions"],
        **{f"recall5{name}": _rounded(recall[key]) for name, key in ends},
        **{f"recall5_{kind}": _rounded(by_type[kind]["value"]) for kind in KINDS},
        "ap50": _rounded(report["ap50"]["value"]),
        **{f"sensitivity_{p['fp_per_image']:g}": _rounded(p["value"]) for p in report["froc"]},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
