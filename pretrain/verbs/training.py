"""The verb that trains: fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options

    from ..planning import Plan
    from ..training import Run

FINISHED = "already finished; nothing would be trained"
LAYOUT = {
    "Most used": (
        *("out", "recipe", "backbone", "start", "new_head", "steps", "holdout", "devices"),
        *("config", "dry", "json"),
    ),
    "Start from a file": ("start_prefix", "assume_scale"),
    "Data": ("g", "m", "unit", "begin", "balance"),
    "Input contract, which travels with the weights": ("inputs",),
    "Augmentation": ("augment",),
    "Method": (
        "head_std",
        "order_scale",
        "distance_weight",
        "position_weight",
        "stretch",
        "mean_losses",
    ),
    "Optimization": (
        *("optimizer", "lr", "momentum", "weight_decay", "bias_lr_factor", "schedule", "drops"),
        *("clip_norm", "seed"),
    ),
    "Machine": ("device", "nodes", "workers", "place", "precision"),
    "Output": ("validate_every", "checkpoint_every", "log_every", "license"),
}


def fit(options: Options, words: Sequence[str]) -> None:
    """A regressor from a store."""
    from ubr.weights import Intervals, Machine
    from ubr.weights.common.options import taken

    from ..data.store import Store
    from ..parents import onto
    from ..planning import plan
    from ..recipes import Recipe, recipe

    _offer(options)
    given = options.read_with_recipe(
        words,
        recipe,
        "default",
        lambda chosen, given: onto(chosen, given.start, given.new_head),
    )
    if given["json"] and not given["dry"]:
        raise ValueError("`json` prints the plan of `dry`; give both")
    chosen, holdout = taken(Recipe, given), given["holdout"]
    machine, intervals = taken(Machine, given), taken(Intervals, given)
    store = Store.open(given["store"])
    from ubr.weights.common.devices import pick_device  # imports torch, as a start does

    pick_device(machine.device)
    begun = chosen.backbone_at_start().origin  # both raise now, before a run folder is made
    planned = plan(store, chosen, holdout)
    from ubr.weights.common.trainer import is_first_process

    from ..training import fit, rehearse  # here, because Lightning takes seconds to import

    if given["dry"]:
        estimate = rehearse(store, given["out"], planned, machine=machine, intervals=intervals)
        if given["json"]:
            shown = {"start": begun, "estimate": estimate and estimate.described()}
            show({**_described(planned), **shown})
        else:
            show(f"{_told(planned, begun)}\n{estimate or FINISHED}")
        return

    if is_first_process():
        show(_told(planned, begun))
    run = fit(
        store,
        given["out"],
        chosen,
        holdout=holdout,
        machine=machine,
        intervals=intervals,
        license=given["license"],
    )
    if is_first_process():
        show(_finished(run))


def _offer(options: Options) -> None:
    from ubr.weights import Intervals, Machine
    from ubr.weights.common.options import ASSUME_SCALE

    from ..planning import plan
    from ..recipes import RECIPES, Recipe

    options.description = (
        "Train a body-part regressor on a store, without labels. Repeat the command to resume it."
    )
    options.layout = LAYOUT
    options.add_argument("store", metavar="STORE", help="a store that ingest made")
    options.add_argument("--out", required=True, metavar="FOLDER", help="the run's folder")
    options.offer_recipe(RECIPES, "default")
    options.add_argument(
        "--dry",
        action="store_true",
        help="print the plan, and estimate time, memory and disk from a few steps; writes nothing",
    )
    options.offer_json("the plan of --dry")
    options.add_argument(
        "--new_head",
        action="store_true",
        help="start with a new head if --start is weights of this project; otherwise their head "
        "is kept, and the defaults are 300 steps of 4 volumes at a rate of 3e-5",
    )
    options.add_argument("--assume_scale", action="store_true", help=ASSUME_SCALE)
    options.offer(Recipe, {"new_head", "assume_scale"})
    options.offer(plan, {"store", "recipe"})
    options.offer(Machine)
    options.offer(Intervals)
    options.add_argument(
        "--license",
        default="unstated",
        metavar="TEXT",
        help="license of the weights, written into them",
    )


def _told(planned: Plan, begun: Mapping[str, Any]) -> str:
    """The plan, and what there is to know of its start."""
    note = f"\nnote: the start's scale is {begun['scale']}" if "scale" in begun else ""
    if planned.recipe.keeps_head():
        note = f"\nwith the head of {begun.get('name') or begun['sha256'][:12]}"
    return f"{planned}{note}"


def _described(planned: Plan) -> Mapping[str, Any]:
    """What the text of a plan says, as plain values, and the whole recipe."""
    sides = {"train": planned.train, "held_out": planned.held_out}
    counts = {
        side: {
            "series": len(rows),
            "patients": len({row.patient for row in rows}),
            "slices": sum(row.slices for row in rows),
        }
        for side, rows in sides.items()
    }
    return {**counts, "recipe": planned.recipe.described(), "notes": planned.notes}


def _finished(run: Run) -> str:
    quality = ", ".join(f"{name} {value:.4f}" for name, value in run.metrics.items())
    card = run.folder / "card.md"
    told = f"{run.weights} (held out: {quality or 'none'}); described in {card}"
    return "\n".join([told, *run.notes])
