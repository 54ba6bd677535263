"""Options of the programs that cross-validate a recipe on a cohort of real CT."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.cohort import Cohort, cohort_name, ingest_cohort, selection_name
from benchmarks.common.commandline import new_parser
from benchmarks.common.folds import PARTS
from benchmarks.common.machine import provenance
from ubr.pretrain import recipes
from ubr.pretrain.recipes import Recipe
from ubr.weights import build


@dataclass(frozen=True)
class CohortOptions:
    """Options of the programs that cross-validate a recipe on a cohort.

    Attributes:
        data: folder with a catalog.csv.
        work: folder for the store and the runs of this data.
        recipe_name: what the recipe was before options changed it.
        recipe: with all changes and the seed.
        fold: the only part that is asked for, or all folds.
        computed: computed scans to train on, beside the real ones.
        licensed, at_most: which real scans are not trained on (`cohort.ingest_cohort`).
    """

    data: Path
    work: Path
    recipe_name: str
    recipe: Recipe
    fold: str | None
    computed: int
    licensed: bool
    at_most: str

    def cohort(self) -> Cohort:
        """Ingest it into the folder of this data."""
        return ingest_cohort(
            self.data, self.work, self.computed, licensed=self.licensed, at_most=self.at_most
        )

    @property
    def runs(self) -> Path:
        """The folder of the runs that are trained on the same scans."""
        name = selection_name(self.licensed, self.at_most).removeprefix(", ")
        return self.work / name.replace(", ", "-").replace(" ", "-")

    def columns(self, cohort: Cohort) -> dict[str, object]:
        """The columns that rows begin with.

        They say where the rows come from, on which data, and what distinguishes recipes at a
        glance; the digest of the configuration covers the rest.
        """
        recipe = self.recipe
        return {
            **provenance(recipe.sha256(), recipe.seed),
            **cohort.columns(),
            "recipe": self.recipe_name,
            "backbone": recipe.backbone,
            "start": Path(recipe.start).name,
            "steps": recipe.steps,
            "optimiser": recipe.optimizer,
            "lr": recipe.lr,
            "size_px": recipe.inputs.size_px,
        }


def cohort_parser(about: str | None, required: bool = True) -> argparse.ArgumentParser:
    """The parser of the programs that cross-validate a recipe on a cohort.

    Args:
        about: the program's docstring.
        required: whether the program needs a cohort.
    """
    parser = new_parser(about)
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        help="folder with CT series and a catalog.csv with landmarks",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=required,
        help="folder for stores and runs; each data set has a folder of its own in it",
    )
    other = "instead of the recipe's"
    parser.add_argument("--recipe", default="default", choices=list(recipes.RECIPES))
    parser.add_argument("--backbone", help=other)
    parser.add_argument("--steps", type=int, help=other)
    parser.add_argument("--optimiser", choices=("adamw", "sgd"), help=other)
    parser.add_argument("--lr", type=float, help=other)
    parser.add_argument("--weight-decay", type=float, help=other)
    parser.add_argument("--start", help=other)
    parser.add_argument("--size-px", type=int, help=other)
    parser.add_argument("--stretch", type=float, help=other)
    parser.add_argument("--crop-area", type=float, help=other)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--computed", type=int, default=0, help="computed scans to train on, beside the real ones"
    )
    parser.add_argument(
        "--licensed",
        action="store_true",
        help="train only on scans whose terms let the weights be given away",
    )
    parser.add_argument(
        "--at-most",
        default="",
        metavar="COLLECTION=N",
        help="train on so many patients of a collection only; 0 leaves it out",
    )
    parser.add_argument("--fold", choices=PARTS, help="only this part; all folds by default")
    return parser


def cohort_options(given: argparse.Namespace) -> CohortOptions:
    """The options that were parsed by `cohort_parser`. Exits if they make no recipe."""
    changes = {
        "backbone": given.backbone,
        "steps": given.steps,
        "optimiser": given.optimiser,
        "lr": given.lr,
        "weight_decay": given.weight_decay,
        "start": given.start,
        "stretch": given.stretch,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    try:
        recipe = dataclasses.replace(recipes.recipe(given.recipe), seed=given.seed, **changes)
        if given.crop_area is not None:
            augment = dataclasses.replace(recipe.augment, crop_area=given.crop_area)
            recipe = dataclasses.replace(recipe, augment=augment)
        if given.size_px is not None:
            inputs = dataclasses.replace(recipe.inputs, size_px=given.size_px)
            recipe = dataclasses.replace(recipe, inputs=inputs)
        build(recipe.backbone)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    work = given.work / cohort_name(given.data, given.computed)
    return CohortOptions(
        given.data,
        work,
        given.recipe,
        recipe,
        given.fold,
        given.computed,
        given.licensed,
        given.at_most,
    )
