"""What each option of a recipe contributes: accuracy by two volumes as in Table 1, and r.

    python -m benchmarks.ablation --data phantom --work /scratch/table1 \\
        [--recipe quick --seeds 0 1 2 --only "steps in slices"]

Rows go to results/ablation.csv. Each row changes one option of the recipe. What has a row is
skipped; a training that was interrupted resumes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.common.labelled_options import labelled_options, labelled_parser
from benchmarks.common.methods import Methods, divergence_reported, has_row, measured
from benchmarks.common.recipes import with_papers_losses
from benchmarks.common.rows import append
from ubr.pretrain.augment import Augment
from ubr.pretrain.reading.curve import ordered_share, pearson_r
from ubr.pretrain.recipes import Recipe
from ubr.weights.scorer import score_grid

Change = Callable[[Recipe], Recipe]


def _augment(**changes: Any) -> Change:
    return lambda r: dataclasses.replace(r, augment=dataclasses.replace(r.augment, **changes))


def _inputs(**changes: Any) -> Change:
    return lambda r: dataclasses.replace(r, inputs=dataclasses.replace(r.inputs, **changes))


def _recipe(**changes: Any) -> Change:
    return lambda r: dataclasses.replace(r, **changes)


CHANGES: dict[str, Change] = {
    "none": lambda r: r,
    "the paper's losses": with_papers_losses,
    "order loss only": _recipe(position_weight=0.0),
    "steps in slices": _recipe(unit="index"),
    "ends seen more often": _recipe(begin="ends"),
    "volumes drawn alike": _recipe(balance="volumes"),
    "no random views": _recipe(augment=Augment()),
    "no crops": _augment(crop_area=1.0),
    "mirrored bodies": _augment(flip=0.5),
    "fields of view within a factor of 1.5": _augment(field_of_view=1.5),
    "the whole image, not the body": _inputs(field="image"),
    "pixels of 8 mm": _inputs(mm_per_px=8.0),
    "slices 5 mm above and below as channels": _inputs(neighbours_mm=5.0),
    "the paper's window": _inputs(window_hu=(-175.0, 275.0)),
    "three quarters of the pixels": lambda r: _inputs(size_px=round(0.75 * r.inputs.size_px))(r),
}
"""By the value of the column `method`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train what has no row, test, append."""
    parser = labelled_parser(__doc__, only=list(CHANGES))
    options = labelled_options(parser.parse_args(argv))
    for recipe in options.recipes:
        for name, change in CHANGES.items():
            chosen = change(recipe)
            row = options.columns(chosen) | {"method": name}
            if options.only not in (None, name) or has_row("ablation", row):
                continue
            with divergence_reported(f"seed {chosen.seed}  {name}"):
                row |= judged(Methods(options.data, chosen, options.work))
                append("ablation", [row])
                print(
                    f"seed {chosen.seed}  {name:<40} accuracy {row['accuracy']:.4f}  "
                    f"r {row['r']:.4f}",
                    flush=True,
                )


def judged(methods: Methods) -> dict[str, object]:
    """Train, and measure accuracy, r and the share of ordered pairs."""
    recipe = methods.recipe
    regressor = methods.ubr(recipe.backbone)
    found = measured(methods.correct(methods.by_thresholds(regressor)), methods.tested)
    curves = [
        (score_grid(regressor, methods.grid(series)).astype(np.float64), series.z_mm)
        for series in methods.tested
    ]
    r = float(np.median([pearson_r(scores, z_mm) for scores, z_mm in curves]))
    ordered = float(np.median([ordered_share(scores) for scores, _ in curves]))
    return {"backbone": recipe.backbone, **found, "r": round(r, 4), "ordered": round(ordered, 4)}


if __name__ == "__main__":
    main()
