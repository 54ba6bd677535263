"""Rebuild the weights that come with the package: weights, regions, card, scores to test by.

    python -m benchmarks.release --data /data/ct --work /scratch/learning \\
        --recipe lite --start FILE --computed 48 --axis position --version 1 [--dry-run]

Trained on the rows of catalog.csv whose terms let weights be given away. The three outer folds'
networks, from which the errors of the regions come, are those of `benchmarks.learning --licensed`
with the same options in the same --work; what is missing is trained. Writes released-VERSION with
four endings into --out: .safetensors, .regions.json, .md, and .scores.csv (scores of some slices of
computed scans, which a test compares).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.common.cohort import Cohort
from benchmarks.common.cohort_options import CohortOptions, cohort_options, cohort_parser
from benchmarks.common.folds import (
    FOLDS,
    LICENSE,
    held_out_patients,
    run_folder,
    scorer_of,
    untrained,
)
from benchmarks.common.released_card import released_card
from benchmarks.common.released_regions import Fold, regions_by, usable_label
from benchmarks.common.rows import matching
from ubr.pretrain.phantom import make
from ubr.pretrain.planning import plan
from ubr.pretrain.reading.context import Axis
from ubr.pretrain.training import fit
from ubr.weights import Intervals, Regressor, Weights, load
from ubr.weights.common import disk
from ubr.weights.released import CARD, FOLDER, REGIONS, SCORES, WEIGHTS
from ubr.weights.scorer import score_slices

MOST_BYTES = 15_000_000
SEEDS = range(10)
"""Of the recipe, whose rows the card shows where they are there."""
COMPUTED = (20_000, 20_001, 20_002)
"""Seeds of computed scans for the scores; no training has them."""
SLICES = 8


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, make the regions, write the files."""
    given = _parser().parse_args(argv)
    given.licensed = True
    options = cohort_options(given)
    out: Path = given.out
    name = f"released-{given.version}"
    if (out / f"{name}{WEIGHTS}").exists():
        raise SystemExit(f"{name} is there already; give another --version or --out")
    cohort = options.cohort()
    parts = {"all": [], **{fold: held_out_patients(cohort)[fold] for fold in FOLDS}}
    if given.dry_run:
        _tell(options, cohort, parts)
        return
    runs = {part: _trained(options, cohort, part, parts[part], given.license) for part in parts}
    weights = dataclasses.replace(
        runs["all"], provenance={**runs["all"].provenance, "name": name}, license=given.license
    )
    folds = [Fold(scorer_of(runs[fold]), parts[fold]) for fold in FOLDS]
    final = scorer_of(weights)
    made = regions_by(weights, final, folds, cohort, given.axis)
    trained = plan(cohort.store, options.recipe, untrained(cohort, [])).train
    labelled = [row for row in cohort.store.usable() if usable_label(cohort, row)]
    judged = _judged(options, cohort)
    text = released_card(name, weights, cohort, trained, labelled, made, judged)
    out.mkdir(parents=True, exist_ok=True)
    made.regions.save(out / f"{name}{REGIONS}")
    disk.write_text(out / f"{name}{CARD}", text)
    disk.write_text(out / f"{name}{SCORES}", expected_scores(final.cpu()))
    weights.save(out / f"{name}{WEIGHTS}")
    size = (out / f"{name}{WEIGHTS}").stat().st_size
    print(f"{name}: {size / 1e6:.1f} MB; parts correct {made.accuracy:.4f}", flush=True)
    if size > MOST_BYTES:
        raise SystemExit(f"it is larger than {MOST_BYTES / 1e6:g} MB; do not commit it")


def _parser() -> argparse.ArgumentParser:
    parser = cohort_parser(__doc__)
    parser.add_argument("--version", type=int, default=1, help="of the released weights")
    parser.add_argument(
        "--axis",
        choices=get_args(Axis),
        default="position",
        help="what the regions are read by: scores, or positions from all slices of a series",
    )
    parser.add_argument("--license", default="Apache-2.0", help="of the weights")
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="folder of the files; in the package by default"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be trained, and on what"
    )
    return parser


def _tell(options: CohortOptions, cohort: Cohort, parts: dict[str, list[str]]) -> None:
    """What there is, and what would be trained."""
    for part, held_out in parts.items():
        planned = plan(cohort.store, options.recipe, untrained(cohort, held_out))
        done = (run_folder(options.runs, options.recipe, part) / "weights.safetensors").is_file()
        real = [row for row in planned.train if not cohort.is_computed(row)]
        print(
            f"{part}: {'is there' if done else 'would be trained'}, {len(real)} real series of "
            f"{len({row.patient for row in real})} patients and "
            f"{len(planned.train) - len(real)} computed"
        )
    labelled = sum(usable_label(cohort, row) for row in cohort.store.usable())
    seeds = [row["seed"] for row in _judged(options, cohort)]
    print(
        f"{labelled} labelled series for the regions; rows of seeds: {', '.join(seeds) or 'none'}"
    )


def _trained(
    options: CohortOptions, cohort: Cohort, part: str, held_out: Sequence[str], license: str
) -> Weights:
    """The weights of a part, trained where they are not there yet."""
    recipe = options.recipe
    run = fit(
        cohort.store,
        run_folder(options.runs, recipe, part),
        recipe,
        holdout=untrained(cohort, held_out),
        intervals=Intervals(validate_every=max(1, recipe.steps // 4)),
        license=license if part == "all" else LICENSE,
    )
    return load(run.weights)


def _judged(options: CohortOptions, cohort: Cohort) -> list[dict[str, str]]:
    """The rows of the folds, one per seed."""
    columns = {**cohort.columns(), "patients": "folds"}
    found = []
    for seed in SEEDS:
        config = dataclasses.replace(options.recipe, seed=seed).sha256()[:12]
        same = ("config", "data_sha256", "patients")
        found += matching("learning_summary", {**columns, "config": config}, same)
    return found


def expected_scores(regressor: Regressor) -> str:
    """Scores of some slices of computed scans, as CSV with the columns seed, slice, score."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seed", "slice", "score"])
    for seed in COMPUTED:
        volume = make(seed).volume
        scores = score_slices(regressor, volume.hu, volume.spacing_mm, volume.z_mm)
        for at in np.linspace(0, len(scores) - 1, SLICES).round().astype(int).tolist():
            writer.writerow([seed, at, f"{scores[at]:.4f}"])
    return text.getvalue()


if __name__ == "__main__":
    main()
