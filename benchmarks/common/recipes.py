"""Recipes of the programs on labelled CT."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ubr.pretrain.recipes import Recipe, default, lite, paper
from ubr.pretrain.uses.demo import MILD


def quick() -> Recipe:
    """What two cores train in three minutes: the default recipe at 48 px with mild views."""
    chosen = dataclasses.replace(default(), steps=600, augment=MILD)
    return dataclasses.replace(chosen, inputs=dataclasses.replace(chosen.inputs, size_px=48))


def with_papers_losses(recipe: Recipe) -> Recipe:
    """The same with the order and the distance loss of the paper, 1:1, and no other."""
    return dataclasses.replace(recipe, order_scale=1.0, distance_weight=1.0, position_weight=0.0)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "quick": quick,
    "default": default,
    "lite": lite,
    "paper": paper,
}
