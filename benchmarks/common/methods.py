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
from benchmarks.common.recipes import with_papers_losses
from benchmarks.common.rows import recorded
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.module import UBR
from ubr.pretrain.reading.classifier import fit_classifier
from ubr.pretrain.reading.parts import classify, thresholds
from ubr.pretrain.recipes import Recipe
from ubr.weights import Regressor
from ubr.weights.common.callbacks import Diverged
from ubr.weights.network import BATCH
from ubr.weights.scorer import score_grid

PAIRS = 20
"""Pairs of volumes that give thresholds; with two labelled volumes, it matters which two."""
TABLE_PAIRS = 5
"""The first of these, which every line of the table with two labelled volumes takes; the pair
ordering is trained anew on each.
"""
DRAWS = 2000
MEASURED = ("accuracy", "low", "high", "patients", "slices")
Found = list[NDArray[np.str_]]
"""For each tested series, the part that each slice is given: `[slices]`, or `[pairs, slices]` where
several pairs of volumes classify them.
"""
Pair = tuple[SeriesRow, SeriesRow]
Correct = list[NDArray[np.bool_]]
"""The same of the labelled slices: whether that is their part."""


@dataclass(frozen=True)
class Method:
    """A line of the table.

    Attributes:
        name: as in the paper.
        backbone: of the network.
        labelled: the number of volumes whose labels it is given.
        run: trains and classifies the tested series.
        pairs: the number of pairs of volumes, if it is given two.
    """

    name: str
    backbone: str
    labelled: int
    run: Callable[[], Found]
    pairs: int | None = None


class Methods:
    """The methods on one split of the data.

    A method sees the labels of the volumes to learn from, `labels`. Those of the tested ones are
    for `correct` alone.

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
        self.labels = {row.key: data.parts[row.key] for row in self.known}
        self.pairs = self._pairs()

    def in_order(self) -> list[Method]:
        """In the paper's order."""
        many, backbone = len(self.known), self.recipe.backbone
        pairs = self.pairs[:TABLE_PAIRS]
        two, n = "two labelled volumes", len(pairs)

        def by_two(regressor: Callable[[], Regressor]) -> Callable[[], Found]:
            return lambda: self.by_thresholds(regressor(), pairs)

        found = [
            Method("supervised", backbone, many, self.supervised),
            Method(
                "pair ordering, many labelled volumes",
                backbone,
                many,
                lambda: self.tuned(self.known, "many"),
            ),
            Method(f"pair ordering, {two}", backbone, 2, lambda: self.tuned_on(pairs), n),
            Method(f"UBR, {two}", backbone, 2, by_two(lambda: self.ubr(backbone)), n),
            Method(
                f"UBR with the paper's losses, {two}", backbone, 2, by_two(self.ubr_of_paper), n
            ),
            Method(f"UBR (AlexNet), {two}", "alexnet", 2, by_two(lambda: self.ubr("alexnet")), n),
            Method("UBR, pooled features, many labelled volumes", backbone, many, self.by_features),
        ]
        if Path(self.recipe.start).is_file():
            print(f"without AlexNet: {Path(self.recipe.start).name} is a start of {backbone}")
            found = [method for method in found if method.backbone == backbone]
        return found

    def ubr(self, backbone: str) -> Regressor:
        """Train UBR without labels, with the losses of the recipe."""
        recipe = dataclasses.replace(self.recipe, backbone=backbone)
        return self._ubr(recipe, f"ubr-{backbone.replace('/', '-')}")

    def ubr_of_paper(self) -> Regressor:
        """Train UBR with the paper's losses; all else is the recipe's."""
        return self._ubr(with_papers_losses(self.recipe), "ubr-papers-losses")

    def supervised(self) -> Found:
        """Train and test the supervised classifier."""
        ranks = [self.data.ranks(row) for row in self.known]
        recipe = dataclasses.replace(self.recipe, g=min(self.recipe.g, len(self.known)))
        module = trained(
            Supervised(recipe, self.data.store, self.known, ranks), self._folder("supervised")
        )
        assert isinstance(module, Supervised)
        found = []
        with torch.inference_mode():
            for row in self.tested:
                batches = torch.split(self.grid(row), BATCH)
                logits = torch.cat([module.logits(batch.to(module.device)) for batch in batches])
                found.append(np.array(PARTS)[logits.argmax(1).cpu().numpy()])
        return found

    def tuned(self, rows: Sequence[SeriesRow], name: str) -> Found:
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

    def tuned_on(self, pairs: Sequence[Pair]) -> Found:
        """Fine-tune the pair ordering on each pair of labelled volumes."""
        found = [self.tuned(pair, f"pair{i}") for i, pair in enumerate(pairs)]
        return [np.concatenate(of_series, axis=0) for of_series in zip(*found, strict=True)]

    def by_thresholds(
        self, regressor: Regressor, given: Sequence[Sequence[SeriesRow]] | None = None
    ) -> Found:
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
                for i, part in self.labels[row.key].items()
            ]
            values = np.array([score for score, _ in slices])
            cuts.append(thresholds(values, [part for _, part in slices], PARTS))
        return [
            np.stack([classify(scores[row.key], cut, PARTS) for cut in cuts]) for row in self.tested
        ]

    def by_features(self) -> Found:
        """Classify by a classifier on UBR's pooled features."""
        regressor = self.ubr(self.recipe.backbone)
        labelled = [list(self.labels[row.key]) for row in self.known]
        features = [
            self._pooled(regressor, row)[slices]
            for row, slices in zip(self.known, labelled, strict=True)
        ]
        parts = [part for row in self.known for part in self.labels[row.key].values()]
        classifier = fit_classifier(np.concatenate(features), parts, PARTS)
        return [classifier.classify(self._pooled(regressor, row), PARTS) for row in self.tested]

    def correct(self, found: Found) -> Correct:
        """Compare with the labels of the tested series."""
        correct = []
        for row, parts in zip(self.tested, found, strict=True):
            truth = self.data.parts[row.key]
            correct.append(parts[..., list(truth)] == np.array(list(truth.values())))
        return correct

    def grid(self, row: SeriesRow) -> torch.Tensor:
        """The slices of a series as the network sees them, in HU."""
        return to_grid(self.data.store, row, self.recipe.inputs)

    def _pairs(self) -> list[Pair]:
        """Pairs of two patients that together show the parts, in a random order."""
        found = [
            (a, b)
            for a, b in combinations(self.known, 2)
            if a.patient != b.patient
            and {*self.labels[a.key].values(), *self.labels[b.key].values()} == set(PARTS)
        ]
        if not found:
            raise SystemExit(
                f"no two of the {len(self.known)} labelled volumes to learn from are of two "
                f"patients and show {', '.join(PARTS)}; add labelled volumes"
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

    def _ubr(self, recipe: Recipe, name: str) -> Regressor:
        module = UBR(recipe, self.data.store, self.train)
        return trained(module, self._folder(name)).regressor

    @torch.inference_mode()
    def _pooled(self, regressor: Regressor, row: SeriesRow) -> NDArray[np.float32]:
        """Features of all slices, `[slices, 512]`."""
        device = next(regressor.parameters()).device
        batches = torch.split(self.grid(row), BATCH)
        return np.concatenate(
            [regressor.pool6(batch.to(device)).cpu().numpy() for batch in batches]
        )


def measured(correct: Correct, tested: Sequence[SeriesRow]) -> dict[str, object]:
    """Accuracy over all tested slices, with a 95 % interval.

    Accuracy is the mean over pairs of labelled volumes, where there are several. The interval is of
    what one pair gives on other patients: each draw takes patients anew, and one of the pairs.
    """
    patients = sorted({row.patient for row in tested})
    pairs = np.atleast_2d(correct[0]).shape[0]
    sums, counts = np.zeros((pairs, len(patients))), np.zeros(len(patients))
    for of_series, row in zip(correct, tested, strict=True):
        by_pair = np.atleast_2d(of_series)
        sums[:, patients.index(row.patient)] += by_pair.sum(1)
        counts[patients.index(row.patient)] += by_pair.shape[1]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(patients), (DRAWS, len(patients)))
    pair = rng.integers(0, pairs, (DRAWS, 1))
    shares = sums[pair, drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975])
    accuracy = float(sums.mean(0).sum() / counts.sum())
    values = (
        round(accuracy, 4),
        round(float(low), 4),
        round(float(high), 4),
        len(patients),
        int(counts.sum()),
    )
    return dict(zip(MEASURED, values, strict=True))


def has_row(name: str, row: Mapping[str, object]) -> bool:
    """Whether results/NAME.csv has a row of this configuration, seed, data, method and pairs."""
    columns = ("config", "seed", "data_sha256", "method", "pairs")
    return recorded(name, row, [column for column in columns if column in row])


@contextlib.contextmanager
def divergence_reported(name: str) -> Iterator[None]:
    """Print a line instead of failing if a training in the block diverges."""
    try:
        yield
    except Diverged as error:
        print(f"{name}: no row, it diverged: {error}", flush=True)
