"""Options of the programs on labelled CT."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.commandline import new_parser
from benchmarks.common.labelled import Labelled, read_labelled
from benchmarks.common.machine import provenance
from benchmarks.common.recipe_names import name_in_rows
from benchmarks.common.recipes import RECIPES
from ubr.pretrain.recipes import Recipe


@dataclass(frozen=True)
class LabelledOptions:
    """Options of the programs on labelled CT.

    Attributes:
        data_name: "phantom", or the name of the folder.
        data: the labelled series.
        work: folder for scans, store and trainings.
        recipe_name: what rows call the recipe.
        start_name: what rows call the start of the trunk.
        recipes: the recipe with each seed.
        only: what --only chooses, if the program has that option.
    """

    data_name: str
    data: Labelled
    work: Path
    recipe_name: str
    start_name: str
    recipes: Sequence[Recipe]
    only: str | None

    def columns(self, recipe: Recipe) -> dict[str, object]:
        """The columns that rows begin with.

        The digest of the configuration leaves out the seed, which has its own column.
        """
        return {
            **provenance(dataclasses.replace(recipe, seed=0).sha256(), recipe.seed),
            "data": self.data_name,
            "data_sha256": self.data.digest(self.data.store.usable())[:12],
            "recipe": self.recipe_name,
            "start": self.start_name,
        }


def labelled_parser(about: str | None, only: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the programs on labelled CT.

    Args:
        about: the program's docstring.
        only: names that --only takes; without any there is no such option.
    """
    parser = new_parser(about)
    parser.add_argument(
        "--data", default="phantom", help="phantom, or a folder with labelled CT series"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for scans, store and trainings"
    )
    parser.add_argument("--recipe", default="quick", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--start", default="random", help="of the trunks: random, imagenet or a file"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    if only:
        parser.add_argument("--only", choices=only, help="one of these")
    return parser


def labelled_options(given: argparse.Namespace) -> LabelledOptions:
    """The options that were parsed by `labelled_parser`, and the data, which are ingested.

    Exits if a folder has no labels or the options make no recipe.
    """
    try:
        data = read_labelled(given.data, given.work)
        recipe = dataclasses.replace(RECIPES[given.recipe](), start=given.start)
        if given.steps is not None:
            recipe = dataclasses.replace(recipe, steps=given.steps)
        by_seed = [dataclasses.replace(recipe, seed=seed) for seed in given.seeds]
    except ValueError as error:
        raise SystemExit(str(error)) from None
    length = "" if given.steps is None else f", {given.steps} steps"
    return LabelledOptions(
        data_name=given.data if given.data == "phantom" else Path(given.data).resolve().name,
        data=data,
        work=given.work,
        recipe_name=name_in_rows(given.recipe) + length,
        start_name="file" if Path(given.start).is_file() else given.start,
        recipes=by_seed,
        only=getattr(given, "only", None),
    )
