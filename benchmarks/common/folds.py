"""Cross-validation by patient: the folds of a cohort, and the network that each fold trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.rows import recorded
from ubr.pretrain.planning import plan
from ubr.pretrain.recipes import Recipe
from ubr.weights import Regressor, Weights, load
from ubr.weights.common.devices import to_device

FOLDS = 5
LICENSE = "none: for the benchmark only"
"""Of the weights that a fold trains."""


def held_out_patients(cohort: Cohort) -> list[list[str]]:
    """The patients that each fold holds out.

    Patients with a trunk and patients with heads only are dealt out separately, each in an order
    that follows from the content of the store.
    """
    has_trunk: dict[str, bool] = {}
    for series in cohort.store.usable():
        is_trunk = not is_head(cohort.names[series.key])
        has_trunk[series.patient] = has_trunk.get(series.patient, False) or is_trunk
    rng = np.random.default_rng(0)
    dealt: list[list[str]] = [[] for _ in range(FOLDS)]
    for kind in (True, False):
        patients = [patient for patient, trunk in has_trunk.items() if trunk == kind]
        for i, which in enumerate(rng.permutation(len(patients))):
            dealt[i % FOLDS].append(patients[which])
    return dealt


def remaining(
    cohort: Cohort, only: int | None, columns: Mapping[str, object], name: str
) -> list[tuple[int, list[str]]]:
    """The folds that are asked for and have no rows yet, with the patients that they hold out.

    Args:
        only: the one fold that is asked for, or all.
        columns: of the rows; the configuration and the data are compared.
        name: of results/NAME.csv.
    """
    same = ("config", "data_sha256", "fold")
    return [
        (fold, patients)
        for fold, patients in enumerate(held_out_patients(cohort))
        if only in (None, fold) and not recorded(name, {**columns, "fold": fold}, same)
    ]


def run_folder(work: Path, recipe: Recipe, fold: int) -> Path:
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
    wanted = cohort.store.fingerprint(row.key for row in plan(cohort.store, recipe, held_out).train)
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
