"""How well a recipe learns real CT without labels, on patients whom its training did not see.

    python -m benchmarks.learning --data /data/ct --work /scratch/learning \\
        [--recipe lite --start FILE --computed 48 --seed 1 --fold development]

`--fold development` judges on the patients for development: recipes are chosen there. Every other
patient is held out by one of three folds, which are run by default: what is reported comes from
them. results/learning.csv gets one row per held-out series: r, the share of ordered pairs, and the
error in mm if a landmark is looked for at the score that it has in training patients, or at the
position that all slices together give (`context`). results/learning_summary.csv gets one row for
development, and one per seed once all folds are there.
Labels (the landmarks of catalog.csv) judge and never train. Folds that have rows are skipped; a
fold that was interrupted resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.cohort import Cohort
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.folds import (
    DEVELOPMENT,
    FOLDS,
    LICENSE,
    remaining,
    run_folder,
    scorer_of,
    untrained,
)
from benchmarks.common.judging import landmark_table, rows_of, summary
from benchmarks.common.rows import append, matching
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.training import fit
from ubr.weights import Intervals, load


def main(argv: Sequence[str] | None = None) -> None:
    """Train fold by fold, judge, append rows."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    cohort = options.cohort()
    columns = options.columns(cohort)
    for fold, held_out in remaining(cohort, options.fold, columns, "learning"):
        folder = run_folder(options.runs, options.recipe, fold)
        found = judged(cohort, options.recipe, held_out, folder)
        append("learning", [{**columns, "fold": fold, **row} for row in found])
        r = np.median([float(str(row["r"])) for row in found])
        print(f"fold {fold}: {len(found)} series, median r {r:.4f}", flush=True)
        print(landmark_table(found), flush=True)
    rows = matching("learning", columns, ("config", "data_sha256"))
    for parts in ((DEVELOPMENT,), FOLDS):
        chosen = [row for row in rows if row["fold"] in parts]
        which = {"patients": DEVELOPMENT if parts == (DEVELOPMENT,) else "folds"}
        same = ("config", "data_sha256", "patients")
        if {row["fold"] for row in chosen} == set(parts) and not matching(
            "learning_summary", columns | which, same
        ):
            print(append("learning_summary", [{**columns, **summary(chosen), **which}]))


def judged(
    cohort: Cohort, recipe: Recipe, held_out: Sequence[str], folder: Path
) -> list[dict[str, object]]:
    """Train without these patients, and return one row per series of theirs."""
    run = fit(
        cohort.store,
        folder,
        recipe,
        holdout=untrained(cohort, held_out),
        intervals=Intervals(validate_every=max(1, recipe.steps // 4)),
        license=LICENSE,
    )
    return rows_of(scorer_of(load(run.weights)), cohort, held_out)


if __name__ == "__main__":
    main()
