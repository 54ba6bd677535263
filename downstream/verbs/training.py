"""The verb that trains a detector: train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights import InputSpec, Weights
    from ubr.weights.common.options import Options

    from ..dataset import DeepLesion
    from ..recipes import DetectorRecipe
    from ..training import Run

FINISHED = "already finished; nothing would be trained"
GEOMETRY = {"size_px", "field", "mm_per_px", "neighbours_mm"}
"""Of the input contract; the geometry of a detector's images is that of its view."""
LAYOUT = {
    "Most used": (
        *("out", "weights", "start", "backbone", "recipe", "steps", "devices"),
        *("config", "dry"),
    ),
    "Start from a file, without --weights": ("start_prefix", "assume_scale"),
    "Data": ("share", "unreadable"),
    "View of a slice": ("view",),
    "Augmentation": ("augment",),
    "Input contract, without --weights": ("inputs",),
    "Detector": (
        *("box_head", "pyramid", "anchors_mm", "proposals", "rois"),
        *("norms", "position", "scorer"),
    ),
    "Optimization": (
        *("batch", "optimizer", "lr", "momentum", "weight_decay", "warmup", "drops"),
        *("clip_norm", "precision", "seed"),
    ),
    "Machine": ("device", "nodes", "workers"),
    "Output": ("validate_every", "checkpoint_every", "log_every"),
}


def train(options: Options, words: Sequence[str]) -> None:
    """A detector from a start."""
    from ubr.weights import Intervals, Machine
    from ubr.weights.common.options import taken

    from ..recipes import DetectorRecipe, recipe

    _offer(options)
    given = options.read_with_recipe(words, recipe, "small")
    chosen, machine = taken(DetectorRecipe, given), taken(Machine, given)
    intervals = taken(Intervals, given)
    _check(given, chosen)
    from ubr.weights.common.devices import pick_device

    pick_device(machine.device)  # raises now, before the plan is shown
    weights = _start(given, chosen)
    sides = _data(given, chosen, weights.inputs)
    planned = _planned(given, chosen, weights, sides)
    from ubr.weights import load
    from ubr.weights.common.trainer import is_first_process

    from ..positions import body_positions
    from ..training import finetune, rehearse  # here, because Lightning takes seconds to import

    scorer = load(given["scorer"]) if given["scorer"] else None
    images, held_out = sides.values()
    if given["dry"]:
        estimate = rehearse(
            weights,
            images,
            held_out,
            given["out"],
            chosen,
            machine=machine,
            intervals=intervals,
            scorer=scorer,
        )
        show(f"{planned}\n{estimate or FINISHED}")
        return
    if is_first_process():
        show(planned)
    positions = body_positions(scorer, images, held_out) if scorer else None
    run = finetune(
        weights,
        images,
        held_out,
        given["out"],
        chosen,
        machine=machine,
        intervals=intervals,
        positions=positions,
    )
    if is_first_process():
        show(_finished(run, sides))


def _offer(options: Options) -> None:
    from ubr.weights import InputSpec, Intervals, Machine
    from ubr.weights.common.options import flat

    from ..recipes import INTERVALS, MACHINE, RECIPES, DetectorRecipe

    options.description = "Train a lesion detector. Repeat the command to resume it."
    options.layout = LAYOUT
    options.add_argument(
        "data",
        metavar="FOLDER",
        help="a folder in DeepLesion's layout: the data set, or what ubr-detect plant wrote",
    )
    options.add_argument("--out", required=True, metavar="FOLDER", help="the run's folder")
    _offer_start(options)
    options.offer_recipe(RECIPES, "small")
    options.add_argument(
        "--unreadable",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about images that cannot be read",
    )
    options.add_argument(
        "--share", type=float, default=1.0, help="share of the training images, drawn by --seed"
    )
    options.add_argument(
        "--dry",
        action="store_true",
        help="print the plan, and estimate time, memory and disk from a few steps; writes nothing",
    )
    options.offer(DetectorRecipe)
    options.offer(InputSpec, GEOMETRY, under="inputs")
    options.offer(Machine, {"place"})  # images are always read from files
    options.offer(Intervals)
    defaults = {f"inputs.{n}": v for n, v in flat(InputSpec()).items() if n not in GEOMETRY}
    defaults |= {
        n: v
        for n, v in {**flat(MACHINE), **flat(INTERVALS)}.items()
        if n in options.flags() and n not in options.called
    }
    options.set_defaults(defaults)


def _offer_start(options: Options) -> None:
    from ubr.weights.common.options import ASSUME_SCALE

    options.add_argument(
        "--weights",
        metavar="FILE",
        help="start from weights that ubr-pretrain fit wrote, or from 'released' (the "
        "bundled weights), with their backbone and input contract",
    )
    options.add_argument(
        "--start",
        metavar="START",
        help="without --weights: random (the default), random:msra, imagenet, imagenet:TAG, "
        "released, or a file",
    )
    options.add_argument(
        "--backbone",
        metavar="NAME",
        help="without --weights: timm/resnet18 by default; vgg16 (the paper's) has one map, so it "
        "needs --pyramid 0",
    )
    options.add_argument(
        "--start_prefix",
        metavar="TEXT",
        help="what precedes the trunk's tensor names in the --start file, e.g. teacher; "
        "for a file that holds several trunks, or one in an unusual place",
    )
    options.add_argument("--assume_scale", action="store_true", help=ASSUME_SCALE)
    options.add_argument(
        "--scorer",
        metavar="FILE",
        help="with --position true: the weights that score the slices, as for --weights",
    )


def _check(given: Mapping[str, Any], chosen: DetectorRecipe) -> None:
    from ubr.weights import InputSpec

    if chosen.position != bool(given["scorer"]):
        raise ValueError(
            f"position is {str(chosen.position).lower()}, but "
            f"{'a' if given['scorer'] else 'no'} scorer is given; give both, or neither"
        )
    start = (
        any(given[name] for name in ("start", "backbone", "start_prefix", "assume_scale"))
        or given["inputs"] != InputSpec()
    )
    if given["weights"] and start:
        raise ValueError(
            "--weights already determine start, backbone and inputs; omit --start, --backbone "
            "and --inputs"
        )


def _start(given: Mapping[str, Any], chosen: DetectorRecipe) -> Weights:
    from ubr.weights import load

    from ..detector import starting_weights

    if given["weights"]:
        return load(given["weights"])
    backbone, start = given["backbone"] or "timm/resnet18", given["start"] or "random"
    opened = {name: given[name] for name in ("start_prefix", "assume_scale")}
    return starting_weights(backbone, start, given["inputs"], chosen.seed, **opened)


def _data(
    given: Mapping[str, Any], chosen: DetectorRecipe, inputs: InputSpec
) -> dict[str, DeepLesion]:
    from ..dataset import DeepLesion

    folder, alike = given["data"], {"view": chosen.view, "unreadable": given["unreadable"]}
    few = {"share": given["share"], "seed": chosen.seed, "augment": chosen.augment}
    return {
        "train": DeepLesion(folder, "train", inputs, **few, **alike),
        "val": DeepLesion(folder, "val", inputs, **alike),
    }


def _planned(
    given: Mapping[str, Any],
    chosen: DetectorRecipe,
    weights: Weights,
    sides: Mapping[str, DeepLesion],
) -> str:
    start = "weights of this project" if given["weights"] else given["start"] or "random"
    counts = ", ".join(
        f"{len(images)} {split} images of {len({k.patient for k in images.keys})} patients"
        for split, images in sides.items()
    )
    plan = (
        f"{weights.backbone} from {start}, recipe {given['recipe']}, {chosen.steps} steps of "
        f"{chosen.batch} images; {counts}"
    )
    scale = weights.provenance.get("start", {}).get("scale") if given["start"] else None
    plan += f"\nnote: the start's scale is {scale}" if scale else ""
    apart, view = weights.inputs.neighbours_mm, chosen.view
    if not apart or (view.channels, view.distance_mm) == (3, apart):
        return plan
    return (
        f"{plan}\nnote: these weights were trained on 3 slices {apart:g} mm apart; for the same "
        f"view, give --view.channels 3 --view.distance-mm {apart:g}"
    )


def _finished(run: Run, sides: Mapping[str, DeepLesion]) -> str:
    quality = ", ".join(f"{name} {value:.4f}" for name, value in run.metrics.items())
    told = f"{run.best} ({quality or 'nothing was validated'})"
    skipped = {name for images in sides.values() for name in images.unreadable_names}
    if not skipped:
        return told
    return f"{told}; {len(skipped)} images could not be read, the first is {min(skipped)}"
