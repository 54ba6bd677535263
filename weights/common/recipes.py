"""What the recipes of pretraining and of detectors have in common: optimization, its checks, and
schedules of the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from .checks import check_choices, check_ranges

Optimizer = Literal["sgd", "adamw"]
Precision = Literal["auto", "32", "bf16"]

_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 10**8),
    "lr": (1e-9, 10),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 1),
    "seed": (0, 2**31 - 1),
}


class TrainingRecipe(Protocol):
    """What the training core reads of a recipe."""

    @property
    def steps(self) -> int: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def lr(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def drops(self) -> tuple[float, ...]: ...
    @property
    def clip_norm(self) -> float | None: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def seed(self) -> int: ...

    def rate(self, step: int) -> float:
        """The learning rate at a step, relative to `lr`."""
        ...


def check_recipe(recipe: TrainingRecipe, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check a recipe's choices, what `TrainingRecipe` names, and further ranges of its own.

    Raises:
        ValueError: the first value that is not allowed.
    """
    check_choices(recipe)
    check_ranges(recipe, {**ranges, **_RANGES})
    if not all(0 < drop < 1 for drop in recipe.drops):
        raise ValueError(f"drops must be shares above 0 and below 1, got {recipe.drops}")
    check_positive("clip_norm", recipe.clip_norm)


def check_positive(name: str, value: float | None) -> None:
    """Check an optional value that must be above 0.

    Raises:
        ValueError: it is not above 0.
    """
    if value is not None and not value > 0:
        raise ValueError(f"{name} must be above 0 or null, got {value}")


def stepwise_rate(step: int, steps: int, drops: Sequence[float]) -> float:
    """A rate that is divided by 10 after each of these fractions of the run."""
    return float(0.1 ** sum(step >= round(drop * steps) for drop in drops))


def cosine_rate(step: int, steps: int, *, warm: float = 0.05, last: float = 0.01) -> float:
    """A rate that rises linearly over the share `warm` of the steps, then falls as a half cosine
    from 1 to `last`.
    """
    rising = max(1, round(warm * steps))
    if step < rising:
        return (step + 1) / rising
    done = min(1, (step - rising) / max(1, steps - rising))
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2
