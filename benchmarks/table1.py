"""The paper's Table 1, body parts told from slices: rows in results/table1.csv, slices' scores by
part (Fig. 3a) in results/histogram.csv.

    python -m benchmarks.table1 --data phantom --work /scratch/table1 [--recipe small|default|paper --steps N --seeds 0 1 2]

Every method learns from the same patients and is tested on the others' labelled slices. `many` are
all labelled volumes to learn from, `two` are pairs of them that show the three parts: accuracy is
the mean over pairs. The interval is of the patients (bootstrap). Methods that have rows are
skipped; a cut training goes on. A method that diverges gets a row without an accuracy.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.baselines import FineTuned, PairOrder, Supervised, trained
from benchmarks.labelled import Labelled, labelled
from benchmarks.learning import PARTS
from benchmarks.rows import append, provenance, recorded
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.module import UBR
from ubr.pretrain.reading.classifier import fit_classifier
from ubr.pretrain.reading.regions import classify, thresholds
from ubr.pretrain.recipes import Recipe, default, paper
from ubr.pretrain.scores.scoring import BATCH, scores_of
from ubr.pretrain.uses.demo import MILD
from ubr.weights import Regressor
from ubr.weights.common.callbacks import Diverged

PAIRS = 20
"""Pairs of volumes that thresholds are calibrated on; with two labelled volumes, which two matters.
"""
TUNED_PAIRS = 2
"""Pairs that the pair ordering is fine-tuned on, since each is a training."""
DRAWS = 2000
MEASURED = ("accuracy", "low", "high", "patients", "slices")
BINS = np.linspace(-20, 20, 81)
Right = list[NDArray[np.bool_]]
"""Of each tested series, whether its labelled slices are told right; several lines where several
pairs tell them.
"""


def small() -> Recipe:
    """What two cores train in three minutes: the default recipe at 48 px with mild views."""
    chosen = dataclasses.replace(default(), steps=600, augment=MILD)
    return dataclasses.replace(chosen, inputs=dataclasses.replace(chosen.inputs, size_px=48))


RECIPES: dict[str, Callable[[], Recipe]] = {"small": small, "default": default, "paper": paper}


def main() -> None:
    """Train what has no rows, test, append."""
    options, data, recipes = command_line(__doc__)
    for recipe in recipes:
        row = about(options, data, recipe)
        table = Table(data, recipe, options.work)
        for method in table.methods():
            if has_row("table1", row | {"method": method.name}):
                continue
            began = time.monotonic()
            try:
                found = measured(method.run(), table.tested)
                said = f"{found['accuracy']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
            except Diverged as error:
                found = dict.fromkeys(MEASURED, "")
                said = f"diverged: {error}"
            more = {"backbone": method.backbone, "method": method.name, "labelled": method.labelled}
            append(
                "table1",
                [{**row, **more, **found, "minutes": round((time.monotonic() - began) / 60, 1)}],
            )
            print(f"seed {recipe.seed}  {method.name:<45} {said}", flush=True)
        if not has_row("histogram", row):
            with going_on("histogram"):
                append("histogram", [{**row, **counted} for counted in table.histogram()])


@contextlib.contextmanager
def going_on(name: str) -> Iterator[None]:
    """Where a training in it diverges, says in a line that there is no row, and goes on behind it."""
    try:
        yield
    except Diverged as error:
        print(f"{name}: no row, it diverged: {error}", flush=True)


def command_line(
    text: str | None, only: Sequence[str] = ()
) -> tuple[argparse.Namespace, Labelled, list[Recipe]]:
    """The options of the programs on labelled CT, the data, and the recipe with each seed.

    only: names that --only takes.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="phantom", help="phantom, or a folder with labelled CT series"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for scans, store and trainings"
    )
    parser.add_argument("--recipe", default="small", choices=list(RECIPES))
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument(
        "--start", default="random", help="of the trunks: random, imagenet or a file"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    if only:
        parser.add_argument("--only", choices=only, help="one of these")
    options = parser.parse_args()
    try:
        data = labelled(options.data, options.work)
        chosen = RECIPES[options.recipe]()
        chosen = dataclasses.replace(
            chosen,
            start=options.start,
            steps=chosen.steps if options.steps is None else options.steps,
        )
        recipes = [dataclasses.replace(chosen, seed=seed) for seed in options.seeds]
    except ValueError as error:
        raise SystemExit(str(error)) from None
    return options, data, recipes


def about(options: argparse.Namespace, data: Labelled, recipe: Recipe) -> dict[str, object]:
    """The columns that rows of these programs begin with.

    The configuration's digest leaves the seed out, which has its own column.
    """
    return {
        **provenance(dataclasses.replace(recipe, seed=0).sha256(), recipe.seed),
        "data": options.data if options.data == "phantom" else Path(options.data).resolve().name,
        "data_sha256": data.digest(data.store.usable())[:12],
        "recipe": options.recipe
        if options.steps is None
        else f"{options.recipe}, {options.steps} steps",
        "start": options.start if not Path(options.start).is_file() else "file",
    }


def has_row(name: str, row: Mapping[str, object]) -> bool:
    """Whether results/NAME.csv has a row of this configuration, seed, data and method."""
    return recorded(
        name,
        row,
        [column for column in ("config", "seed", "data_sha256", "method") if column in row],
    )


@dataclasses.dataclass(frozen=True)
class Method:
    """A line of the table.

    labelled: how many volumes' labels it is given. run: trains and tells of each tested series what
    is right.
    """

    name: str
    backbone: str
    labelled: int
    run: Callable[[], Right]


class Table:
    """The methods on one split of the data."""

    def __init__(self, data: Labelled, recipe: Recipe, work: Path, shortest: int = 0) -> None:
        self.data, self.work = data, work
        rows, self.tested = data.split(recipe.seed)
        self.train = [row for row in rows if row.slices >= max(recipe.m, shortest)]
        self.recipe = dataclasses.replace(recipe, g=min(recipe.g, len(self.train)))
        self.known = [row for row in self.train if row.key in data.parts]
        self.pairs = self._pairs()

    def methods(self) -> list[Method]:
        """In the paper's order."""
        many, backbone = len(self.known), self.recipe.backbone
        found = [
            Method("supervised", backbone, many, self.supervised),
            Method(
                "pair ordering, many labelled volumes",
                backbone,
                many,
                lambda: self.tuned(self.known, "many"),
            ),
            Method("pair ordering, two labelled volumes", backbone, 2, self.tuned_on_pairs),
            Method(
                "UBR, two labelled volumes",
                backbone,
                2,
                lambda: self.by_thresholds(self.ubr(backbone)),
            ),
            Method(
                "UBR (AlexNet), two labelled volumes",
                "alexnet",
                2,
                lambda: self.by_thresholds(self.ubr("alexnet")),
            ),
            Method("UBR, pooled features, many labelled volumes", backbone, many, self.by_features),
        ]
        if Path(self.recipe.start).is_file():
            print(f"without AlexNet: {Path(self.recipe.start).name} is a start of {backbone}")
            found = [method for method in found if method.backbone == backbone]
        return found

    def _pairs(self) -> list[tuple[SeriesRow, SeriesRow]]:
        found = [
            p
            for p in combinations(self.known, 2)
            if set().union(*(self.data.parts[row.key].values() for row in p)) == set(PARTS)
        ]
        if not found:
            raise SystemExit(
                f"no two of the {len(self.known)} labelled volumes to learn from show "
                f"{', '.join(PARTS)}; add labelled volumes"
            )
        order = np.random.default_rng([self.recipe.seed, 6]).permutation(len(found))
        return [found[i] for i in order[:PAIRS]]

    def folder(self, name: str) -> Path:
        """Of a training: of this recipe on these series."""
        return self.work / f"{self.recipe.sha256()[:12]}-{self.data.digest(self.train)[:6]}-{name}"

    def ubr(self, backbone: str) -> Regressor:
        """Trained without labels."""
        recipe = dataclasses.replace(self.recipe, backbone=backbone)
        return trained(
            UBR(recipe, self.data.store, self.train),
            self.folder(f"ubr-{backbone.replace('/', '-')}"),
        ).regressor

    def supervised(self) -> Right:
        ranks = [self.data.ranks(row) for row in self.known]
        recipe = dataclasses.replace(self.recipe, g=min(self.recipe.g, len(self.known)))
        module = trained(
            Supervised(recipe, self.data.store, self.known, ranks), self.folder("supervised")
        )
        assert isinstance(module, Supervised)
        right = []
        with torch.inference_mode():
            for row in self.tested:
                parts = torch.split(self.grid(row), BATCH)
                told = (
                    torch.cat([module.logits(part.to(module.device)) for part in parts])
                    .argmax(1)
                    .cpu()
                    .numpy()
                )
                truth = self.data.ranks(row)
                right.append((told == truth)[truth >= 0])
        return right

    def pair_order(self) -> dict[str, torch.Tensor]:
        """Zhang et al.'s pre-training: pairs of slices, as many slices a step."""
        recipe = dataclasses.replace(
            self.recipe, g=min(len(self.train), self.recipe.g * self.recipe.m // 2), m=2
        )
        return trained(
            PairOrder(recipe, self.data.store, self.train), self.folder("pairs")
        ).regressor.state_dict()

    def tuned(self, rows: Sequence[SeriesRow], name: str) -> Right:
        """Zhang et al.'s fine-tuning on labelled volumes, as many slices a step, and thresholds
        from the same volumes.
        """
        g = min(self.recipe.g, len(rows))
        m = min(self.recipe.g * self.recipe.m // g, *(row.slices for row in rows))
        recipe = dataclasses.replace(
            self.recipe, g=g, m=m, steps=self.recipe.steps // 2, lr=self.recipe.lr / 4
        )
        module = FineTuned(recipe, self.data.store, rows, [self.data.ranks(row) for row in rows])
        regressor = trained(module, self.folder(f"tuned-{name}"), self.pair_order()).regressor
        return self.by_thresholds(regressor, [rows])

    def tuned_on_pairs(self) -> Right:
        found = [self.tuned(pair, f"pair{i}") for i, pair in enumerate(self.pairs[:TUNED_PAIRS])]
        return [np.concatenate(of_series, axis=0) for of_series in zip(*found, strict=True)]

    def by_thresholds(
        self, regressor: Regressor, given: Sequence[Sequence[SeriesRow]] | None = None
    ) -> Right:
        """Parts by two thresholds on scores, calibrated on each set of volumes that is given;
        without any, on the pairs.
        """
        scores = {
            row.key: scores_of(regressor, self.grid(row)).astype(np.float64)
            for row in [*self.known, *self.tested]
        }
        cuts = []
        for volumes in given or self.pairs:
            told = [
                (scores[row.key][i], part)
                for row in volumes
                for i, part in self.data.parts[row.key].items()
            ]
            cuts.append(
                thresholds(
                    np.array([score for score, _ in told]), [part for _, part in told], PARTS
                )
            )
        right = []
        for row in self.tested:
            index, parts = (
                list(self.data.parts[row.key]),
                np.array(list(self.data.parts[row.key].values())),
            )
            right.append(
                np.stack([classify(scores[row.key][index], cut, PARTS) == parts for cut in cuts])
            )
        return right

    def by_features(self) -> Right:
        regressor = self.ubr(self.recipe.backbone)
        classifier = fit_classifier(*self.pooled(regressor, self.known), PARTS)
        right = []
        for row in self.tested:
            features, parts = self.pooled(regressor, [row])
            right.append(classifier.classify(features, PARTS) == np.array(parts))
        return right

    @torch.inference_mode()
    def pooled(
        self, regressor: Regressor, rows: Sequence[SeriesRow]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Features and parts of the labelled slices."""
        features, parts = [], []
        device = next(regressor.parameters()).device
        for row in rows:
            grid = self.grid(row)[list(self.data.parts[row.key])]
            features += [
                regressor.pool6(part.to(device)).cpu().numpy() for part in torch.split(grid, BATCH)
            ]
            parts += self.data.parts[row.key].values()
        return np.concatenate(features), parts

    def histogram(self) -> list[dict[str, object]]:
        """How many labelled slices of each part score in each bin (Fig. 3a)."""
        regressor = self.ubr(self.recipe.backbone)
        found: dict[str, list[float]] = {part: [] for part in PARTS}
        for row in self.tested:
            scores = scores_of(regressor, self.grid(row))
            for index, part in self.data.parts[row.key].items():
                found[part].append(float(scores[index]))
        rows = []
        for part in PARTS:
            counts, _ = np.histogram(np.clip(found[part], BINS[0], BINS[-1]), BINS)
            rows += [
                {"part": part, "from": BINS[i], "to": BINS[i + 1], "slices": int(n)}
                for i, n in enumerate(counts)
                if n
            ]
        return rows

    def grid(self, row: SeriesRow) -> torch.Tensor:
        return to_grid(self.data.store, row, self.recipe.inputs)


def measured(right: Right, tested: Sequence[SeriesRow]) -> dict[str, object]:
    """Accuracy over all tested slices, with a 95 % interval by drawing patients."""
    patients = sorted({row.patient for row in tested})
    sums, counts = np.zeros(len(patients)), np.zeros(len(patients))
    for one, row in zip(right, tested, strict=True):
        shares = np.atleast_2d(one).mean(
            0
        )  # of a slice, by how many pairs of volumes it is told right
        sums[patients.index(row.patient)] += shares.sum()
        counts[patients.index(row.patient)] += len(shares)
    drawn = np.random.default_rng(0).integers(0, len(patients), (DRAWS, len(patients)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    accuracy = float(sums.sum() / counts.sum())
    values = (
        round(accuracy, 4),
        round(float(low), 4),
        round(float(high), 4),
        len(patients),
        int(counts.sum()),
    )
    return dict(zip(MEASURED, values, strict=True))


if __name__ == "__main__":
    main()
