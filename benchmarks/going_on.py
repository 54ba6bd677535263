"""Continuing from weights: does it lower quality on patients whom the parent did not see?

    python -m benchmarks.going_on --data /data/ct --work /scratch/learning \\
        [--recipe lite --start FILE --computed 48 --fold 0] [--scans 5 20 all] \\
        [--further-steps N --further-lr RATE --further-g G] [--new-head]

A parent is the network of a fold of `benchmarks.learning`, with the same options and --work; all
folds by default. It continues with its head on the scans of 5 or 20 patients of its own training,
drawn by the seed, or on all of it. So nothing new is learned, and what is lost shows: most patients
have heads only. results/going_on.csv gets a row for each parent (scans 0) and each child: quality
on the fold's patients, whom neither saw, and how far scores of those not trained on moved.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.cohort import Cohort
from benchmarks.common.cohort_options import CohortOptions, cohort_options, cohort_parser
from benchmarks.common.folds import (
    FOLDS,
    LICENSE,
    held_out_patients,
    run_folder,
    scorer_of,
    trained_regressor,
    untrained,
)
from benchmarks.common.judging import rows_of, summary
from benchmarks.common.rows import append, recorded
from ubr.pretrain.parents import FURTHER, onto
from ubr.pretrain.planning import plan
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.training import fit
from ubr.weights import load

FIGURES = (
    *("trunk_series", "trunk_r_median", "long_trunk_r_median", "long_trunk_r_lowest"),
    *("long_trunk_r_below_0.99", "head_r_median", "landmarks"),
    *("bone_mm_q50", "bone_mm_q90", "soft_mm_q50", "soft_mm_q90", "part_accuracy"),
    *("bone_mm_q50_context", "bone_mm_q90_context", "soft_mm_q50_context", "soft_mm_q90_context"),
    "part_accuracy_context",
)
"""Of `judging.summary`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Let each fold's network go on, judge parent and children, append rows."""
    given = _parser().parse_args(argv)
    options = cohort_options(given)
    cohort = options.cohort()
    for fold in [options.fold] if options.fold else FOLDS:
        held_out = held_out_patients(cohort)[fold]
        folder = run_folder(options.runs, options.recipe, fold)
        parent = trained_regressor(folder, cohort, options.recipe, held_out)
        start = folder / "weights.safetensors"
        further = _further(options.recipe, start, given)
        columns = {
            **options.columns(cohort),
            "fold": fold,
            "parent": load(start).sha256()[:12],
            "further": further.sha256()[:12],
            **{name: getattr(further, name) for name in ("g", "new_head")},
            **{f"further_{name}": getattr(further, name) for name in ("steps", "lr")},
        }
        before = {**columns, "scans": 0, "patients": 0, "moved_mm_q50": "", "moved_mm_q90": ""}
        if not _is_there(before):
            append("going_on", [{**before, **_quality(rows_of(parent, cohort, held_out))}])
        for scans in given.scans:
            _go_on(options, cohort, fold, held_out, further, scans, columns)


def _parser() -> argparse.ArgumentParser:
    parser = cohort_parser(__doc__)
    parser.add_argument(
        "--scans", nargs="+", type=_scans, default=[5, 20, 0], help="how many patients, or all"
    )
    of, steps, lr, g = "of the children", FURTHER["steps"], FURTHER["lr"], FURTHER["g"]
    parser.add_argument("--further-steps", type=int, default=steps, help=of)
    parser.add_argument("--further-lr", type=float, default=lr, help=of)
    parser.add_argument("--further-g", type=int, default=g, help=f"volumes a step {of}")
    parser.add_argument("--new-head", action="store_true", help="do not keep the parent's head")
    return parser


def _scans(text: str) -> int:
    return 0 if text == "all" else int(text)


def _further(recipe: Recipe, start: Path, given: argparse.Namespace) -> Recipe:
    """The recipe of the children."""
    return dataclasses.replace(
        onto(recipe, str(start), given.new_head),
        steps=given.further_steps,
        lr=given.further_lr,
        g=given.further_g,
    )


def _go_on(
    options: CohortOptions,
    cohort: Cohort,
    fold: str,
    held_out: Sequence[str],
    further: Recipe,
    scans: int,
    columns: dict[str, object],
) -> None:
    """Train a child on so many series, judge it, append its row."""
    aside = untrained(cohort, held_out)
    known = [row for row in plan(cohort.store, further, aside).train]
    own = [row.patient for row in known if not cohort.is_computed(row)]
    patients = list(dict.fromkeys(own if scans else [row.patient for row in known]))
    order = np.random.default_rng(further.seed).permutation(len(patients))
    chosen = {patients[i] for i in order[: scans or None]}
    row = {**columns, "scans": scans or "all", "patients": len(chosen)}
    if _is_there(row):
        return
    others = sorted({one.patient for one in cohort.store.usable()} - chosen)
    run = fit(
        cohort.store,
        options.runs / f"{further.sha256()[:12]}-fold{fold}-scans{scans or 'all'}",
        further,
        holdout=others,
        license=LICENSE,
    )
    child = load(run.weights)
    found = rows_of(scorer_of(child), cohort, held_out)
    parent = child.made().parent
    moved: Any = parent.moved if parent else None
    mm = {f"moved_mm_{q}": getattr(moved, f"mm_{q}", "") for q in ("q50", "q90")}
    append("going_on", [{**row, **mm, **_quality(found)}])
    print(f"fold {fold}, {scans or 'all'} scans: {mm}", flush=True)


def _is_there(row: dict[str, object]) -> bool:
    return recorded("going_on", row, ("config", "data_sha256", "fold", "further", "scans"))


def _quality(rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """What is kept of the summary of these series."""
    found = summary([{name: str(value) for name, value in row.items()} for row in rows])
    return {name: found[name] for name in FIGURES}


if __name__ == "__main__":
    main()
