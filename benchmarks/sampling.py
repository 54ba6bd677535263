"""Slices a volume against accuracy, with and without the distance loss (the paper, Fig. 3b): rows
in results/sampling.csv.

    python -m benchmarks.sampling --data phantom --work /scratch/table1 [--recipe small|paper --start random --seeds 0 1 2]

g x m stays what it is in the recipe (96 in the paper) as far as there are volumes, the losses are
the paper's, and accuracy is measured as in `benchmarks.table1`, by thresholds from two labelled
volumes. With m = 2 there is no distance loss. What has a row is skipped; a cut training goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from benchmarks.rows import append
from benchmarks.table1 import Table, about, command_line, going_on, has_row, measured
from ubr.pretrain.recipes import Recipe

SLICES = (2, 4, 6, 8, 12, 16, 24)


def main() -> None:
    """Train what has no row, test, append."""
    options, data, recipes = command_line(__doc__)
    for recipe in recipes:
        for chosen in variants(recipe):
            row = about(options, data, chosen)
            if has_row("sampling", row):
                continue
            table = Table(
                data, chosen, options.work, shortest=max(SLICES)
            )  # the same volumes for every m
            name = f"seed {chosen.seed}  m {chosen.m:>2}  distance {chosen.distance_weight:g}"
            with going_on(name):
                found = measured(table.by_thresholds(table.ubr(chosen.backbone)), table.tested)
                row |= {
                    "backbone": chosen.backbone,
                    "m": chosen.m,
                    "g": table.recipe.g,
                    "distance": chosen.distance_weight,
                    **found,
                }
                append("sampling", [row])
                print(f"{name}  {row['accuracy']:.4f}", flush=True)


def variants(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe with the paper's losses, for every m."""
    total = recipe.g * recipe.m
    for m in SLICES:
        for distance in (0.0, 1.0) if m > 2 else (0.0,):
            yield dataclasses.replace(
                recipe,
                m=m,
                g=total // m,
                order_scale=1.0,
                distance_weight=distance,
                position_weight=0.0,
                unit="index",
                balance="volumes",
            )


if __name__ == "__main__":
    main()
