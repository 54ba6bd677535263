"""No method knows what it is tested on.

The tested patients' labels differ from the others' by three slices at each border, so a method that
has seen them does better here than it can without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from benchmarks import coverage, learning
from benchmarks.common import judging, methods
from benchmarks.common.baselines import FineTuned, PairOrder, Supervised
from benchmarks.common.judging import MarkedCurve, rows_of
from benchmarks.common.labelled import Labelled
from benchmarks.common.landmarks import PARTS
from benchmarks.common.methods import TABLE_PAIRS, Methods, measured
from tests.made.toys import toy_recipe, toy_store
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.module import Batch, Steps
from ubr.pretrain.sampler import SliceSampler

SLICES, LATER = 30, 3
HONEST = (SLICES - 2 * LATER) / SLICES
"""Accuracy by the borders of the others."""


def parts(first: int, second: int) -> dict[int, str]:
    """Of a volume whose abdomen and pelvis begin at these slices."""
    return {i: PARTS[(i >= first) + (i >= second)] for i in range(SLICES)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy_store(tmp_path_factory.mktemp("store") / "store", slices=SLICES)


@pytest.fixture
def made(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Methods:
    """Twelve labelled volumes. Of every slice the network tells its index, and its series."""
    rows = store.usable()
    alike = Labelled(store, {row.key: parts(10, 20) for row in rows})
    tested = {row.key for row in alike.split(3)[1]}
    later = parts(10 + LATER, 20 + LATER)
    data = Labelled(store, {**alike.parts, **dict.fromkeys(tested, later)})
    number = {row.key: i for i, row in enumerate(rows)}

    def grid(_: Methods, row: SeriesRow) -> torch.Tensor:
        return torch.arange(SLICES) + SLICES * (1.0 + number[row.key])

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(torch.zeros(1))

        def pool6(self, grid: torch.Tensor) -> torch.Tensor:
            """The slice's index, and which slice of which series it is."""
            index = torch.nn.functional.one_hot(grid.long() % SLICES, 512)
            return (index + torch.nn.functional.one_hot(grid.long(), 512)).float()

    monkeypatch.setattr(Methods, "grid", grid)
    monkeypatch.setattr(methods, "score_grid", lambda _, grid: grid.numpy() % SLICES)
    monkeypatch.setattr(Methods, "_ubr", lambda *_: Network())
    return Methods(data, toy_recipe(), tmp_path)


def accuracy(made: Methods, found: methods.Found) -> object:
    return measured(made.correct(found), made.tested)["accuracy"]


@pytest.mark.parametrize("name", ["UBR", "UBR with the paper's losses", "UBR (AlexNet)"])
def test_thresholds__are_not_those_of_the_tested_volumes(made: Methods, name: str) -> None:
    (method,) = (m for m in made.in_order() if m.name == f"{name}, two labelled volumes")
    assert accuracy(made, method.run()) == HONEST
    assert accuracy(made, made.by_thresholds(made.ubr(""))) == HONEST


def test_features__are_learned_from_other_volumes_than_the_tested(made: Methods) -> None:
    assert made.in_order()[-1].name.startswith("UBR, pooled features")
    assert accuracy(made, made.in_order()[-1].run()) == HONEST


def test_labels__of_the_tested_volumes_no_method_has(made: Methods) -> None:
    assert made.tested and not {row.key for row in made.tested} & made.labels.keys()


def test_trainings__of_every_method_are_on_other_patients(
    made: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that methods with two labelled volumes are given the same two."""
    monkeypatch.undo()
    seen: list[Any] = []
    monkeypatch.setattr(methods, "trained", lambda module, *_: seen.append(module) or module)
    for method in Methods(made.data, toy_recipe(), made.work).in_order():
        if method.backbone != "alexnet":  # too large for slices of this size
            assert 0 <= float(str(accuracy(made, method.run()))) <= 1
    assert {type(module) for module in seen} >= {Supervised, PairOrder, FineTuned}
    tested = {row.patient for row in made.tested}
    for module in seen:
        assert not tested & {row.patient for row in [*module.train_rows, *module.held_out]}
    tuned = [[row.key for row in m.train_rows] for m in seen if isinstance(m, FineTuned)]
    pairs = [[row.key for row in pair] for pair in made.pairs[:TABLE_PAIRS]]
    assert [keys for keys in tuned if len(keys) == 2] == pairs


def test_pairs__are_of_two_patients(store: Store, tmp_path: Path) -> None:
    """Two series of one patient show one body twice: as good as one labelled volume."""
    two = Labelled(store, {row.key: parts(10, 20) for row in store.usable()})
    other = Methods(two, toy_recipe(), tmp_path)
    assert len(other.pairs) == 20 and all(a.patient != b.patient for a, b in other.pairs)
    first, second = other.known[:2]
    shown = {first.key: {0: "chest", 5: "abdomen"}, second.key: {0: "pelvis"}}
    pair = methods.dataclasses.replace(second, patient=first.patient)
    of_one = SimpleNamespace(known=[first, pair], labels=shown, recipe=toy_recipe())
    with pytest.raises(SystemExit, match="of two patients and show chest, abdomen, pelvis"):
        Methods._pairs(of_one)  # type: ignore[arg-type]
    of_two = SimpleNamespace(known=[first, second], labels=shown, recipe=toy_recipe())
    assert len(Methods._pairs(of_two)) == 1  # type: ignore[arg-type]
    curves = [
        MarkedCurve(row, row.z_mm / 50, {"liver_dome": 10, "iliac_crest": 20})
        for row in (first, pair, second)
    ]
    assert judging.part_accuracies(curves[:2], curves) == [None] * 3
    assert judging.part_accuracies([curves[0], curves[2]], curves)[0] is not None


def pair_loss(store: Store, order: torch.nn.Module, step: int) -> float:
    """Loss of the pair ordering whose features are the positions of slices."""
    recipe = toy_recipe(g=8, m=2)
    module = PairOrder(recipe, store, store.usable())
    volumes = [row.z_mm for row in store.usable()]
    offsets = np.arange(len(volumes)) * SLICES
    bank = SimpleNamespace(place="gpu", offsets=offsets)
    batch = Steps(SliceSampler(volumes, g=8, m=2, seed=3), bank)[step]  # type: ignore[arg-type]
    module.order = order  # type: ignore[assignment]

    def views(batch: Batch) -> torch.Tensor:
        return batch.z_mm

    module.views = views  # type: ignore[method-assign]
    module.regressor.pool6 = lambda z_mm: z_mm[:, None].expand(-1, 512)  # type: ignore[method-assign]
    return float(module.training_step(batch, 0).detach()) / recipe.g


def linear(first: float, second: float, offset: float) -> torch.nn.Linear:
    """Of the two positions."""
    order = torch.nn.Linear(1024, 1)
    torch.nn.init.zeros_(order.weight)
    order.weight.data[0, 0], order.weight.data[0, 512] = first, second
    torch.nn.init.constant_(order.bias, offset)
    return order


def test_pair_ordering__only_who_compares_the_slices_knows_the_target(store: Store) -> None:
    for step in range(4):
        assert pair_loss(store, linear(9, -9, 0), step) < 0.01, "the first is lower"
        assert pair_loss(store, linear(-9, 9, 0), step) > 5
    for always in (-9.0, 9.0):
        losses = [pair_loss(store, linear(0, 0, always), step) for step in range(4)]
        assert np.mean(losses) > 2, "no constant answer does"


def marked(store: Store, held_out: set[str]) -> Any:
    """A cohort whose held-out series have their liver dome 60 mm below where it scores."""

    class Cohort:
        names: Mapping[str, str] = {row.key: f"torso/{row.key}" for row in store.usable()}
        only_judging = frozenset({store.usable()[-1].patient})

        def __init__(self) -> None:
            self.store = store

        def marks(self, row: SeriesRow) -> dict[str, int]:
            return {"liver_dome": 10, "iliac_crest": 20}

        def labels(self, row: SeriesRow) -> dict[str, str]:
            return {}

    def scored(_: object, cohort: Cohort, row: SeriesRow) -> MarkedCurve:
        off = 100.0 if row.patient in held_out else 0.0
        return MarkedCurve(row, row.z_mm - row.z_mm[10] + off, cohort.marks(row))

    return Cohort(), scored


def test_known__holds_no_series_of_a_held_out_patient(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = {row.patient for row in store.usable()[:4]}
    cohort, scored = marked(store, held_out)
    monkeypatch.setattr(judging, "curve_of", scored)
    monkeypatch.setattr(coverage, "curve_of", scored)
    rows = rows_of(cast("Any", None), cohort, sorted(held_out))
    assert len(rows) == 4
    for row, series in zip(rows, store.usable()[:4], strict=True):
        # The others score 0 there; its first slice is the nearest to that.
        assert row["liver_dome_error_mm"] == pytest.approx(series.z_mm[10], abs=0.01)
        assert row["liver_dome_score"] == 100
        assert row["part_accuracy"] == pytest.approx(1 / 3, abs=0.01)
    known, unseen, _ = coverage.marked_volumes(cast("Any", None), cohort, sorted(held_out))
    assert [curve.scores[10] for curve, _ in known["liver_dome"]] == [0] * 8
    assert [curve.scores[10] for curve, _ in unseen["liver_dome"]] == [100] * 4


def test_fold__is_trained_without_the_patients_that_judge_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = [row.patient for row in store.usable()[:4]]
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        learning, "fit", lambda *_, **more: asked.update(more) or SimpleNamespace(weights="")
    )
    monkeypatch.setattr(learning, "load", lambda _: None)
    monkeypatch.setattr(learning, "scorer_of", lambda _: None)
    monkeypatch.setattr(learning, "rows_of", lambda _, __, patients: [{"of": patients}])
    cohort, _ = marked(store, set(held_out))
    judged = learning.judged(cohort, toy_recipe(), held_out, tmp_path / "fold")
    assert asked["holdout"] == [*held_out, *cohort.only_judging]
    assert judged == [{"of": held_out}]
