"""A training that takes seconds, for the tests of the package and of its verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ubr.downstream.dataset import DeepLesion
from ubr.downstream.recipes import DetectorRecipe
from ubr.weights import Intervals, Machine, Weights

CPU = Machine(device="cpu", workers=0)
QUIET: dict[str, Any] = {"machine": CPU, "intervals": Intervals(250, 250, 1, progress=False)}


def sets(world: Path, weights: Weights, recipe: DetectorRecipe) -> tuple[DeepLesion, DeepLesion]:
    train = DeepLesion(world, "train", weights.inputs, view=recipe.view, augment=recipe.augment)
    return train, DeepLesion(world, "val", weights.inputs, view=recipe.view)
