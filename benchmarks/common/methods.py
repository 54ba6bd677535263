"""The methods of the paper's Table 1 on one split of labelled CT, and their accuracy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common.baselines import FineTuned, PairOrder, Supervised, trained
from benchmarks.common.labelled import Labelled
from benchmarks.common.landmarks import PARTS
from benchmarks.common.rows import recorded
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.module import UBR
from ubr.pretrain.reading.classifier import fit_classifier
from ubr.pretrain.reading.parts import classify, thresholds
from ubr.pretrain.recipes import Recipe
from ubr.weights import Regressor
from ubr.weights.common.callbacks import Diverged
from ubr.weights.scorer import BATCH, score_grid

PAIRS = 20
"""Pairs of volumes that give thresholds; with two labelled volumes, it matters which two."""
TUNED_PAIRS = 2
"""Pairs that the pair ordering is fine-tuned on, since each is a training."""
DRAWS = 2000
MEASURED = ("accuracy", "low", "high", "patients", "slices")
Correct = list[NDArray[np.bool_]]
"""For each tested series, which labelled slices are classified correctly: `[slices]`, or
`[pairs, slices]` where several pairs of volumes classify them.
"""


@dataclass(frozen=True)
class Method:
    """A line of the table.

    Attributes:
        name: as in the paper.
        backbone: of the network.
        labelled: the number of volumes whose labels it is given.
        run: trains and classifies the tested series.
    """

    name: str
    backbone: str
    labelled: int
    run: Callable[[], Correct]


class Methods:
    """The methods on one split of the data.

    Args:
        data: the labelled series.
        recipe: of all trainings; its seed gives the split.
        work: folder for the trainings.
        shortest: the fewest slices that a series to learn from has.
    """

    def __init__(self, data: Labelled, recipe: Recipe, work: Path, shortest: int = 0) -> None:
        self.data, self.work = data, work
        rows, self.tested = data.split(recipe.seed)
        self.train = [row for row in rows if row.slices >= max(recipe.m, shortest)]
        self.recipe = dataclasses.replace(recipe, g=min(recipe.g, len(self.train)))
        self.known = [row for row in self.train if row.key in data.parts]
        self.pairs = self._pairs()

    def in_order(self) -> list[Method]:
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

    def ubr(self, backbone: str) -> Regressor:
        """Train UBR without labels."""
        recipe = dataclasses.replace(self.recipe, backbone=backbone)
        return trained(
            UBR(recipe, self.data.store, self.train),
            self._folder(f"ubr-{backbone.replace('/', '-')}"),
        ).regressor

    def supervised(self) -> Correct:
        """Train and test the supervised classifier."""
        ranks = [self.data.ranks(row) for row in self.known]
        recipe = dataclasses.replace(self.recipe, g=min(self.recipe.g, len(self.known)))
        module = trained(
            Supervised(recipe, self.data.store, self.known, ranks), self._folder("supervised")
        )
        assert isinstance(module, Supervised)
        correct = []
        with torch.inference_mode():
            for row in self.tested:
                batches = torch.split(self.grid(row), BATCH)
                logits = torch.cat([module.logits(batch.to(module.device)) for batch in batches])
                found, truth = logits.argmax(1).cpu().numpy(), self.data.ranks(row)
                correct.append((found == truth)[truth >= 0])
        return correct

    def tuned(self, rows: Sequence[SeriesRow], name: str) -> Correct:
        """Fine-tune the pair ordering of Zhang et al. on labelled volumes, and test it.

        A step has as many slices as one of UBR. The same volumes give the thresholds.
        """
        g = min(self.recipe.g, len(rows))
        m = min(self.recipe.g * self.recipe.m // g, *(row.slices for row in rows))
        recipe = dataclasses.replace(
            self.recipe, g=g, m=m, steps=self.recipe.steps // 2, lr=self.recipe.lr / 4
        )
        module = FineTuned(recipe, self.data.store, rows, [self.data.ranks(row) for row in rows])
        regressor = trained(module, self._folder(f"tuned-{name}"), self._pair_order()).regressor
        return self.by_thresholds(regressor, [rows])

    def tuned_on_pairs(self) -> Correct:
        """Fine-tune the pair ordering on some pairs of labelled volumes, and test each."""
        found = [self.tuned(pair, f"pair{i}") for i, pair in enumerate(self.pairs[:TUNED_PAIRS])]
        return [np.concatenate(of_series, axis=0) for of_series in zip(*found, strict=True)]

    def by_thresholds(
        self, regressor: Regressor, given: Sequence[Sequence[SeriesRow]] | None = None
    ) -> Correct:
        """Classify by two thresholds on scores.

        Args:
            regressor: gives the scores.
            given: sets of volumes, each of which gives thresholds; else the pairs do.
        """
        scores = {
            row.key: score_grid(regressor, self.grid(row)).astype(np.float64)
            for row in [*self.known, *self.tested]
        }
        cuts = []
        for volumes in given or self.pairs:
            slices = [
                (scores[row.key][i], part)
                for row in volumes
                for i, part in self.data.parts[row.key].items()
            ]
            values = np.array([score for score, _ in slices])
            cuts.append(thresholds(values, [part for _, part in slices], PARTS))
        correct = []
        for row in self.tested:
            parts = self.data.parts[row.key]
            values, truth = scores[row.key][list(parts)], np.array(list(parts.values()))
            correct.append(np.stack([classify(values, cut, PARTS) == truth for cut in cuts]))
        return correct

    def by_features(self) -> Correct:
        """Classify by a classifier on UBR's pooled features."""
        regressor = self.ubr(self.recipe.backbone)
        classifier = fit_classifier(*self._pooled(regressor, self.known), PARTS)
        correct = []
        for row in self.tested:
            features, parts = self._pooled(regressor, [row])
            correct.append(classifier.classify(features, PARTS) == np.array(parts))
        return correct

    def grid(self, row: SeriesRow) -> torch.Tensor:
        """The slices of a series as the network sees them, in HU."""
        return to_grid(self.data.store, row, self.recipe.inputs)

    def _pairs(self) -> list[tuple[SeriesRow, SeriesRow]]:
        found = [
            pair
            for pair in combinations(self.known, 2)
            if set().union(*(self.data.parts[row.key].values() for row in pair)) == set(PARTS)
        ]
        if not found:
            raise SystemExit(
                f"no two of the {len(self.known)} labelled volumes to learn from show "
                f"{', '.join(PARTS)}; add labelled volumes"
            )
        order = np.random.default_rng([self.recipe.seed, 6]).permutation(len(found))
        return [found[i] for i in order[:PAIRS]]

    def _folder(self, name: str) -> Path:
        """The folder of a training of this recipe on these series."""
        return self.work / f"{self.recipe.sha256()[:12]}-{self.data.digest(self.train)[:6]}-{name}"

    def _pair_order(self) -> dict[str, torch.Tensor]:
        """Pre-train the pair ordering of Zhang et al. with as many slices a step as UBR."""
        pairs = self.recipe.g * self.recipe.m // 2
        recipe = dataclasses.replace(self.recipe, g=min(len(self.train), pairs), m=2)
        module = PairOrder(recipe, self.data.store, self.train)
        return trained(module, self._folder("pairs")).regressor.state_dict()

    @torch.inference_mode()
    def _pooled(
        self, regressor: Regressor, rows: Sequence[SeriesRow]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Features and parts of the labelled slices."""
        features: list[NDArray[np.float32]] = []
        parts: list[str] = []
        device = next(regressor.parameters()).device
        for row in rows:
            grid = self.grid(row)[list(self.data.parts[row.key])]
            features += [
                regressor.pool6(batch.to(device)).cpu().numpy()
                for batch in torch.split(grid, BATCH)
            ]
            parts += self.data.parts[row.key].values()
        return np.concatenate(features), parts


def measured(correct: Correct, tested: Sequence[SeriesRow]) -> dict[str, object]:
    """Accuracy over all tested slices, with a 95 % interval from drawing patients anew."""
    patients = sorted({row.patient for row in tested})
    sums, counts = np.zeros(len(patients)), np.zeros(len(patients))
    for of_series, row in zip(correct, tested, strict=True):
        # Of each slice: by how many pairs of volumes it is classified correctly.
        shares = np.atleast_2d(of_series).mean(0)
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


def has_row(name: str, row: Mapping[str, object]) -> bool:
    """Whether results/NAME.csv has a row of this configuration, seed, data and method."""
    columns = ("config", "seed", "data_sha256", "method")
    return recorded(name, row, [column for column in columns if column in row])


@contextlib.contextmanager
def divergence_reported(name: str) -> Iterator[None]:
    """Print a line instead of failing if a training in the block diverges."""
    try:
        yield
    except Diverged as error:
        print(f"{name}: no row, it diverged: {error}", flush=True)
