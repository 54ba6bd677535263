"""What single options of a recipe bring: rows in results/ablation.csv, accuracy by two volumes as
in `benchmarks.table1`, and r.

    python -m benchmarks.ablation --data phantom --work /scratch/table1 [--recipe small --seeds 0 1 2 --only "steps in slices"]

Each line changes one option of the recipe. What has a row is skipped; a cut training goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.rows import append
from benchmarks.table1 import Table, about, command_line, going_on, has_row, measured
from ubr.pretrain.augment import Augment
from ubr.pretrain.reading.curve import ordered_share, pearson_r
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.scores.scoring import scores_of


def _augment(**changes: float) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, augment=dataclasses.replace(r.augment, **changes))


def _inputs(**changes: object) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, inputs=dataclasses.replace(r.inputs, **changes))  # type: ignore[arg-type]


def _recipe(**changes: object) -> Callable[[Recipe], Recipe]:
    return lambda r: dataclasses.replace(r, **changes)  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[Recipe], Recipe]] = {
    "none": lambda r: r,
    "the paper's losses": _recipe(order_scale=1.0, distance_weight=1.0, position_weight=0.0),
    "order loss only": _recipe(position_weight=0.0),
    "steps in slices": _recipe(unit="index"),
    "ends seen more often": _recipe(begin="ends"),
    "volumes drawn alike": _recipe(balance="volumes"),
    "no random views": lambda r: dataclasses.replace(r, augment=Augment()),
    "no crops": _augment(crop_area=1.0),
    "mirrored bodies": _augment(flip=0.5),
    "fields of view within a factor of 1.5": _augment(field_of_view=1.5),
    "the whole image, not the body": _inputs(field="image"),
    "pixels of 8 mm": _inputs(mm_per_px=8.0),
    "slices 5 mm above and below as channels": _inputs(neighbours_mm=5.0),
    "the paper's window": _inputs(window_hu=(-175.0, 275.0)),
    "three quarters of the pixels": lambda r: _inputs(size_px=round(0.75 * r.inputs.size_px))(r),
}


def main() -> None:
    """Train what has no row, test, append."""
    options, data, recipes = command_line(__doc__, only=list(CHANGES))
    for recipe in recipes:
        for name, change in CHANGES.items():
            chosen = change(recipe)
            row = about(options, data, chosen) | {"method": name}
            if options.only not in (None, name) or has_row("ablation", row):
                continue
            with going_on(f"seed {chosen.seed}  {name}"):
                row |= judged(Table(data, chosen, options.work))
                append("ablation", [row])
                print(
                    f"seed {chosen.seed}  {name:<40} accuracy {row['accuracy']:.4f}  r "
                    f"{row['r']:.4f}",
                    flush=True,
                )


def judged(table: Table) -> dict[str, object]:
    """Train, and tell what is measured of it."""
    recipe = table.recipe
    regressor = table.ubr(recipe.backbone)
    found = measured(table.by_thresholds(regressor), table.tested)
    curves = [
        (scores_of(regressor, table.grid(series)).astype(np.float64), series.z_mm)
        for series in table.tested
    ]
    r = float(np.median([pearson_r(scores, z_mm) for scores, z_mm in curves]))
    ordered = float(np.median([ordered_share(scores) for scores, _ in curves]))
    return {"backbone": recipe.backbone, **found, "r": round(r, 4), "ordered": round(ordered, 4)}


if __name__ == "__main__":
    main()
