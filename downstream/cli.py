"""`ubr-detect`:

verbs -> functions, nothing else. Options and help come from the functions' signatures and
docstrings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ubr.weights.common import commandline
from ubr.weights.common.commandline import Verb, add_options, arguments, flat, with_recipe


def _parser(name: str, description: str) -> Any:
    return commandline.parser(f"ubr-detect {name}", description)


def _check(argv: list[str]) -> None:
    from .preflight import check

    parser = _parser(
        "check",
        "Look a folder in DeepLesion's layout over before training. Exit status 2 where training "
        "must not start.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="with DL_info.csv and Images_png")
    parser.add_argument(
        "--manifest", default=None, help="also write the report as JSON to this file"
    )
    parser.add_argument(
        "--splits",
        nargs="*",
        default=None,
        help="whose images are read; all that the table has where none are given",
    )
    add_options(parser, check, {"folder", "splits"})
    options = arguments(parser.parse_args(argv))
    manifest = options.pop("manifest")
    report = check(**options)
    print(report.table())
    if manifest is not None:
        Path(manifest).write_text(json.dumps(report.manifest, indent=1) + "\n")
    if not report.ok:
        raise ValueError(
            f"{len(report.faults)} kinds of faults, training must not start; they are listed above"
        )


def _plant(argv: list[str]) -> None:
    from .planting.scans import find_scans
    from .planting.write import plant

    parser = _parser(
        "plant", "Plant known lesions in CT volumes and write them in DeepLesion's layout."
    )
    parser.add_argument(
        "source",
        metavar="STORE_OR_FOLDER",
        help="a store made by ubr-pretrain ingest, or a file or folder that it takes",
    )
    parser.add_argument(
        "--patients",
        default=None,
        help="table with the columns file, patient; catalog.csv beside the files if there is one",
    )
    add_options(parser, plant, {"scans"})
    options = arguments(parser.parse_args(argv))
    source, patients = options.pop("source"), options.pop("patients")
    print(plant(find_scans(source, patients), **options))


def _train(argv: list[str]) -> None:
    from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

    from ubr.weights import InputSpec, load
    from ubr.weights.common.runs import is_first_process

    from .dataset import DeepLesion
    from .detector import starting_weights
    from .positions import body_positions
    from .recipes import RECIPES, DetectorRecipe, recipe
    from .training import finetune

    parser = _parser(
        "train", "Train a lesion detector from a start. Run again, it goes on where it was."
    )
    parser.add_argument(
        "data",
        metavar="FOLDER",
        help="in DeepLesion's layout: the data set, or what ubr-detect plant wrote",
    )
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument(
        "--weights",
        default=None,
        help="start: a weights file of ubr-pretrain fit; its backbone and intensity are taken",
    )
    parser.add_argument(
        "--start",
        default=None,
        help="without --weights: random (as by default), random:msra, imagenet, or a file",
    )
    parser.add_argument(
        "--backbone",
        default=None,
        help="without --weights, timm/resnet18; vgg16 (the paper's) has one map: --pyramid 0",
    )
    parser.add_argument(
        "--scorer",
        default=None,
        help="with --position true: weights of ubr-pretrain fit that score the slices",
    )
    parser.add_argument(
        "--recipe",
        default="small",
        help=f"complete configuration that the options below change: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file with any of these options"
    )
    parser.add_argument(
        "--unreadable",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about images that cannot be read",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of the training images, drawn by --seed (default: 1, all)",
    )
    parser.add_argument(
        "--dry", action="store_true", help="say what would be trained on what, and stop"
    )
    parser.add_class_arguments(DetectorRecipe, fail_untyped=True)
    parser.add_class_arguments(InputSpec, "inputs", fail_untyped=True)
    add_options(parser, finetune, {"weights", "train", "val", "out", "recipe", "positions"})
    parser.set_defaults({f"inputs.{n}": v for n, v in flat(InputSpec()).items()})
    options = with_recipe(parser, argv, recipe, "small")
    chosen = DetectorRecipe(
        **{field: options[field] for field in DetectorRecipe.__dataclass_fields__}
    )
    if chosen.position != bool(options.scorer):
        raise ValueError(
            f"--position {str(chosen.position).lower()} with --scorer {options.scorer}: give "
            "both, or neither"
        )
    if options.weights and (options.start or options.backbone or options.inputs != InputSpec()):
        raise ValueError(
            "--weights bring their own start, backbone and inputs; leave out --start, --backbone "
            "and --inputs"
        )
    source = options.start or "random"
    if options.weights:
        weights = load(options.weights)
    else:
        weights = starting_weights(
            options.backbone or "timm/resnet18", source, options.inputs, chosen.seed
        )
    alike: dict[str, Any] = {"view": chosen.view, "unreadable": options.unreadable}
    few = {"share": options.share, "seed": chosen.seed}
    data = {
        "train": DeepLesion(
            options.data, "train", weights.inputs, augment=chosen.augment, **few, **alike
        ),
        "val": DeepLesion(options.data, "val", weights.inputs, **alike),
    }
    start = "weights of this project" if options.weights else source
    counts = ", ".join(
        f"{len(images)} {split} images of {len({k.patient for k in images.keys})} patients"
        for split, images in data.items()
    )
    if is_first_process():
        print(
            f"{weights.backbone} from {start}, recipe {options.recipe}, {chosen.steps} steps of "
            f"{chosen.batch} images; {counts}",
            flush=True,
        )
        apart, view = weights.inputs.neighbours_mm, chosen.view
        if apart and (view.channels, view.distance_mm) != (3, apart):
            print(
                f"note: these weights were trained on 3 slices {apart:g} mm apart: "
                f"--view.channels 3 --view.distance_mm {apart:g}"
            )
    if options.dry:
        return
    rest = {
        n: options[n]
        for n in (
            "accelerator",
            "devices",
            "nodes",
            "workers",
            "validate_every",
            "checkpoint_every",
            "log_every",
        )
    }
    positions = body_positions(load(options.scorer), *data.values()) if options.scorer else None
    run = finetune(
        weights, data["train"], data["val"], options.out, chosen, positions=positions, **rest
    )
    if is_first_process():
        quality = (
            ", ".join(f"{name} {value:.4f}" for name, value in run.metrics.items())
            or "nothing was validated"
        )
        skipped = {name for images in data.values() for name in images.unreadable_names}
        print(
            f"{run.best} ({quality})"
            + (
                f"; {len(skipped)} images could not be read, first {min(skipped)}"
                if skipped
                else ""
            )
        )


def _evaluate(argv: list[str]) -> None:
    from .evaluation import evaluate

    parser = _parser(
        "evaluate",
        "Judge a trained detector: recall, FROC, AP with intervals by patients, and pictures.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder of ubr-detect train")
    parser.add_argument("data", metavar="FOLDER", help="in DeepLesion's layout")
    add_options(parser, evaluate, {"run", "data"})
    options = arguments(parser.parse_args(argv))
    print(
        evaluate(
            Path(options.pop("run")), Path(options.pop("data")), Path(options.pop("out")), **options
        )
    )


VERBS = {
    "check": Verb(_check, "look a folder in DeepLesion's layout over before training"),
    "plant": Verb(_plant, "plant known lesions in CT volumes, in DeepLesion's layout"),
    "train": Verb(
        _train, "train a Faster R-CNN from random, UBR or ImageNet weights", resumes=True
    ),
    "evaluate": Verb(_evaluate, "judge a trained detector, with intervals and pictures"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status."""
    return commandline.main(
        "ubr-detect",
        "Lesion detection on DeepLesion and its like, from transferred weights.",
        VERBS,
        argv,
    )


if __name__ == "__main__":  # how DDP starts its other processes
    sys.exit(main())
