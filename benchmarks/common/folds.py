"""How a cohort is divided by patient, and the network that was trained without each part.

A recipe is chosen on the patients for development, and reported on the folds of all the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.rows import recorded
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.planning import plan
from ubr.pretrain.recipes import Recipe
from ubr.weights import Regressor, Weights, load
from ubr.weights.common.devices import to_device

DEVELOPMENT = "development"
PARTS = (DEVELOPMENT, "0", "1", "2")
"""The patients for development, and the folds."""
FOLDS = PARTS[1:]
LICENSE = "none: for the benchmark only"
"""Of the weights that a fold trains."""


def held_out_patients(cohort: Cohort) -> dict[str, list[str]]:
    """The patients of each part, which a training for that part does not see.

    Patients who show iliac crest or femoral head, other patients with a trunk, and patients with
    heads only are dealt out separately, each in an order that follows from the content of the
    store. Computed patients belong to no part.
    """
    kinds: dict[str, int] = {}
    for series in cohort.store.usable():
        if not cohort.is_computed(series):
            kind = _kind(cohort, series)
            kinds[series.patient] = min(kind, kinds.get(series.patient, kind))
    rng = np.random.default_rng(0)
    dealt: dict[str, list[str]] = {part: [] for part in PARTS}
    for kind in range(3):
        patients = [patient for patient, found in kinds.items() if found == kind]
        for i, which in enumerate(rng.permutation(len(patients))):
            dealt[PARTS[i % len(PARTS)]].append(patients[which])
    return dealt


def _kind(cohort: Cohort, series: SeriesRow) -> int:
    if is_head(cohort.names[series.key]):
        return 2
    return 0 if {"iliac_crest", "femoral_head"} & set(cohort.marks(series)) else 1


def remaining(
    cohort: Cohort, only: str | None, columns: Mapping[str, object], name: str
) -> list[tuple[str, list[str]]]:
    """The folds that are asked for and have no rows yet, with the patients that they hold out.

    Args:
        only: the one part that is asked for, or all folds.
        columns: of the rows; the configuration and the data are compared.
        name: of results/NAME.csv.
    """
    same = ("config", "data_sha256", "fold")
    held_out = held_out_patients(cohort)
    return [
        (fold, held_out[fold])
        for fold in ([only] if only else FOLDS)
        if not recorded(name, {**columns, "fold": fold}, same)
    ]


def untrained(cohort: Cohort, held_out: Sequence[str]) -> list[str]:
    """All patients whom the training of a fold does not see."""
    return [*held_out, *sorted(cohort.only_judging - set(held_out))]


def run_folder(work: Path, recipe: Recipe, fold: str) -> Path:
    """The run of a fold."""
    return work / f"{recipe.sha256()[:12]}-fold{fold}"


def trained_regressor(
    folder: Path, cohort: Cohort, recipe: Recipe, held_out: Sequence[str]
) -> Regressor:
    """The network that the run of a fold trained.

    Exits if the run has no weights, or was trained on other series than the fold has today.
    """
    file = folder / "weights.safetensors"
    if not file.is_file():
        raise SystemExit(
            f"{folder} holds no weights; run benchmarks.learning with these options first"
        )
    weights = load(file)
    planned = plan(cohort.store, recipe, untrained(cohort, held_out))
    wanted = cohort.store.fingerprint(row.key for row in planned.train)
    if weights.provenance["data"]["fingerprint"] != wanted:
        raise SystemExit(
            f"{file} was trained on other series than those of {cohort.name} today; give another "
            "--work and train anew"
        )
    return scorer_of(weights)


def scorer_of(weights: Weights) -> Regressor:
    """A regressor ready to score, on a GPU if there is one."""
    regressor = Regressor.from_weights(weights).eval()
    to_device(regressor, "auto")
    return regressor
