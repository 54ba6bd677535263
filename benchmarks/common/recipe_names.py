"""What rows call the recipes of the programs on labelled CT."""

from __future__ import annotations

NAMES_IN_ROWS = {"quick": "small"}
"""Names in the column `recipe` where they differ: `quick` was called small when rows were made."""


def name_in_rows(recipe: str) -> str:
    """What the column `recipe` calls a recipe of the command line."""
    return NAMES_IN_ROWS.get(recipe, recipe)


def name_on_command_line(recipe: str) -> str:
    """What the command line calls a recipe of the column `recipe`."""
    return {in_rows: name for name, in_rows in NAMES_IN_ROWS.items()}.get(recipe, recipe)
