"""How well a recipe learns real CT without labels: cross-validation by patient.

    python -m benchmarks.learning --data /data/ct --work /scratch/learning \\
        [--recipe default --backbone vgg16 --seed 1 --fold 0]

Every patient is held out once. results/learning.csv gets one row per held-out series: r, the share
of ordered pairs, and the error in mm if a landmark is looked for at the score that it has in
training patients. results/learning_summary.csv gets one row per seed once all folds are there.
Labels (the landmarks of catalog.csv) judge and never train. Folds that have rows are skipped; a
fold that was interrupted resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.cohort import Cohort, ingest_cohort
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.folds import FOLDS, LICENSE, remaining, run_folder, scorer_of
from benchmarks.common.judging import rows_of, summary
from benchmarks.common.rows import append, matching
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.training import fit
from ubr.weights import Intervals, load


def main(argv: Sequence[str] | None = None) -> None:
    """Train fold by fold, judge, append rows."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    cohort = ingest_cohort(options.data, options.work)
    columns = options.columns(cohort)
    for fold, held_out in remaining(cohort, options.fold, columns, "learning"):
        folder = run_folder(options.work, options.recipe, fold)
        found = judged(cohort, options.recipe, held_out, folder)
        append("learning", [{**columns, "fold": fold, **row} for row in found])
        r = np.median([float(str(row["r"])) for row in found])
        print(f"fold {fold}: {len(found)} series, median r {r:.4f}", flush=True)
    same = ("config", "data_sha256")
    rows = matching("learning", columns, same)
    done = {row["fold"] for row in rows}
    if len(done) == FOLDS and not matching("learning_summary", columns, same):
        first = {name: rows[0][name] for name in columns}
        print(append("learning_summary", [{**first, **summary(rows)}]))


def judged(
    cohort: Cohort, recipe: Recipe, held_out: Sequence[str], folder: Path
) -> list[dict[str, object]]:
    """Train without these patients, and return one row per series of theirs."""
    run = fit(
        cohort.store,
        folder,
        recipe,
        holdout=held_out,
        intervals=Intervals(validate_every=max(1, recipe.steps // 4)),
        license=LICENSE,
    )
    return rows_of(scorer_of(load(run.weights)), cohort, held_out)


if __name__ == "__main__":
    main()
