"""Recipes of the programs on labelled CT."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ubr.pretrain.recipes import Recipe, default, paper
from ubr.pretrain.uses.demo import MILD


def quick() -> Recipe:
    """What two cores train in three minutes: the default recipe at 48 px with mild views."""
    chosen = dataclasses.replace(default(), steps=600, augment=MILD)
    return dataclasses.replace(chosen, inputs=dataclasses.replace(chosen.inputs, size_px=48))


RECIPES: dict[str, Callable[[], Recipe]] = {"quick": quick, "default": default, "paper": paper}
