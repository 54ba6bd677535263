"""Slices per volume against accuracy, with and without the distance loss (the paper, Fig. 3b).

    python -m benchmarks.sampling --data phantom --work /scratch/table1 \\
        [--recipe quick|lite|paper --start random --seeds 0 1 2 --m 4 16]

Rows go to results/sampling.csv. g x m stays what it is in the recipe (96 in the paper) as far as
there are volumes, and the losses are the paper's. Accuracy is measured as in `benchmarks.table1`,
by thresholds from two labelled volumes. With m = 2 there is no distance loss. What has a row is
skipped; a training that was interrupted resumes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from benchmarks.common.labelled_options import labelled_options, labelled_parser
from benchmarks.common.methods import Methods, divergence_reported, has_row, measured
from benchmarks.common.recipes import with_papers_losses
from benchmarks.common.rows import append
from ubr.pretrain.recipes import Recipe

SLICES = (2, 4, 6, 8, 12, 16, 24)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what has no row, test, append."""
    parser = labelled_parser(__doc__)
    parser.add_argument(
        "--m", type=int, nargs="+", choices=SLICES, default=SLICES, help="slices per volume"
    )
    given = parser.parse_args(argv)
    options = labelled_options(given)
    for chosen in (variant for recipe in options.recipes for variant in variants(recipe, given.m)):
        row = options.columns(chosen)
        if has_row("sampling", row):
            continue
        # The same volumes for every m.
        methods = Methods(options.data, chosen, options.work, shortest=max(SLICES))
        name = f"seed {chosen.seed}  m {chosen.m:>2}  distance {chosen.distance_weight:g}"
        with divergence_reported(name):
            correct = methods.correct(methods.by_thresholds(methods.ubr(chosen.backbone)))
            row |= {
                "backbone": chosen.backbone,
                "m": chosen.m,
                "g": methods.recipe.g,
                "distance": chosen.distance_weight,
                **measured(correct, methods.tested),
            }
            append("sampling", [row])
            print(f"{name}  {row['accuracy']:.4f}", flush=True)


def variants(recipe: Recipe, slices: Sequence[int]) -> Iterator[Recipe]:
    """The recipe with the paper's losses, for each of these m."""
    total = recipe.g * recipe.m
    for m in slices:
        for distance in (0.0, 1.0) if m > 2 else (0.0,):
            yield dataclasses.replace(
                with_papers_losses(recipe),
                m=m,
                g=total // m,
                distance_weight=distance,
                unit="index",
                balance="volumes",
            )


if __name__ == "__main__":
    main()
