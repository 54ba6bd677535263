"""Recipes of the programs on labelled CT, and how their rows call them."""

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
NAMES_IN_ROWS = {"quick": "small"}
"""Names in the column `recipe` where they differ: `quick` was called small when rows were made."""


def name_in_rows(recipe: str) -> str:
    """What the column `recipe` calls a recipe of the command line."""
    return NAMES_IN_ROWS.get(recipe, recipe)


def name_on_command_line(recipe: str) -> str:
    """What the command line calls a recipe of the column `recipe`."""
    return {in_rows: name for name, in_rows in NAMES_IN_ROWS.items()}.get(recipe, recipe)
