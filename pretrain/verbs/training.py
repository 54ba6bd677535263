"""The verb that trains: fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options

    from ..training import Plan, Run

LAYOUT = {
    "Most used": (
        *("out", "recipe", "backbone", "start", "steps", "holdout", "devices"),
        *("config", "dry", "json"),
    ),
    "Data": ("g", "m", "unit", "begin", "balance"),
    "Input contract, which travels with the weights": ("inputs",),
    "Augmentation": ("augment",),
    "Method": ("head_std", "order_scale", "distance_weight", "position_weight", "mean_losses"),
    "Optimization": (
        *("optimizer", "lr", "momentum", "weight_decay", "bias_lr_factor", "schedule", "drops"),
        *("clip_norm", "seed"),
    ),
    "Machine": ("accelerator", "nodes", "workers", "place", "precision"),
    "Output": ("validate_every", "checkpoint_every", "log_every", "license"),
}


def fit(options: Options, words: Sequence[str]) -> None:
    """A regressor from a store."""
    from ubr.weights.common.runs import is_first_process

    from ..data.store import Store
    from ..recipes import Recipe, recipe
    from ..training import fit, plan

    _offer(options)
    given = options.read_with_recipe(words, recipe, "default")
    dry, as_json, store = given.pop("dry"), given.pop("json"), Store.open(given.pop("store"))
    if as_json and not dry:
        raise ValueError("`json` describes a plan; add --dry")
    del given["recipe"]
    chosen = Recipe(**{field: given.pop(field) for field in Recipe.__dataclass_fields__})
    speaks = is_first_process()
    if speaks:
        planned = plan(store, chosen, given["holdout"])
        show(_described(planned) if as_json else str(planned))
    if dry:
        return
    run = fit(store, recipe=chosen, **given)
    if speaks:
        show(_finished(run))


def _offer(options: Options) -> None:
    from ..recipes import RECIPES, Recipe
    from ..training import fit

    options.description = (
        "Train a body-part regressor on a store, without labels. Repeat the command to resume it."
    )
    options.layout = LAYOUT
    options.add_argument("store", metavar="STORE", help="a store that ingest made")
    options.add_argument("--out", required=True, metavar="FOLDER", help="the run's folder")
    options.add_argument(
        "--recipe",
        default="default",
        metavar="NAME",
        help=f"complete configuration that the other options change: {', '.join(RECIPES)}",
    )
    options.offer_config()
    options.add_argument(
        "--dry", action="store_true", help="print what would be trained on what, and stop"
    )
    options.offer_json("the plan of --dry")
    options.offer(Recipe)
    options.offer(fit, {"store", "out", "recipe", "callbacks"})


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
    told = f"{run.weights} (held out: {quality or 'nothing was'}); described in {card}"
    return "\n".join([told, *run.notes])
