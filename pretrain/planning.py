"""What a training would do: which series it trains on, which it holds out, and why some are left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .data.store import DAMAGED, SeriesRow, Store
from .recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """What a training would do: its series, and what was left out."""

    recipe: Recipe
    train: tuple[SeriesRow, ...]
    held_out: tuple[SeriesRow, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        slices = sum(row.slices for row in self.train)
        patients, others = (
            len({row.patient for row in self.train}),
            len({row.patient for row in self.held_out}),
        )
        r = self.recipe
        lines = [
            f"train on {len(self.train)} series of {patients} patients ({slices} slices), hold "
            f"out {len(self.held_out)} series of {others}",
            f"{r.backbone} from {r.start} start, {r.inputs.size_px} px, {r.steps} steps of {r.g} "
            f"x {r.m} slices, {r.optimizer} at {r.lr:g}",
        ]
        return "\n".join([*lines, *self.notes])


ADVISED = 100
"""Series that a training from the beginning should have."""


def plan(store: Store, recipe: Recipe, holdout: float | Sequence[str] = 0.1) -> Plan:
    """Split a store's series by patient and set aside those too short for the recipe.

    Args:
        holdout: share of the patients to hold out (at least one where it is above 0), or their
            keys.

    Raises:
        ValueError: too few series are left to train on.
    """
    rows = store.usable()
    patients = list(dict.fromkeys(row.patient for row in rows))
    if isinstance(holdout, (int, float)):
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout must be in 0..1 (a share of the patients), got {holdout}")
        count = min(len(patients) - 1, max(1, round(holdout * len(patients)))) if holdout else 0
        chosen = np.random.default_rng([recipe.seed, 2]).permutation(len(patients))[:count]
        aside = {patients[i] for i in chosen}
    else:
        aside = set(holdout)
        if unknown := aside - set(patients):
            raise ValueError(
                f"{len(unknown)} of the patients to hold out are not in the store "
                f"({sorted(unknown)[0]}); its catalog.parquet lists those that are"
            )
    long_enough = [row for row in rows if row.slices >= recipe.m]
    train = tuple(row for row in long_enough if row.patient not in aside)
    held_out = tuple(row for row in rows if row.patient in aside and row.slices >= 3)
    notes = recipe.without_effect()
    if short := len(rows) - len(long_enough):
        notes.append(
            f"{short} of {len(rows)} series have fewer than m = {recipe.m} slices and are not "
            "trained on"
        )
    if len(train) < ADVISED and recipe.start.startswith(("random", "imagenet")):
        notes.append(
            f"only {len(train)} series for a {recipe.start} start: use {ADVISED} or more, "
            "or start from `released`"
        )
    if damaged := len(store.damaged()):
        notes.append(f"{damaged} series cannot be used: {DAMAGED}")
    if len(train) < recipe.g:
        raise ValueError(
            f"{len(train)} series are left to train on, fewer than g = {recipe.g} per step "
            f"({len(held_out)} held out, {short} too short); "
            f"add scans or lower `g`"
        )
    return Plan(recipe, train, held_out, tuple(notes))
