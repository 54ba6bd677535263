"""Going on from weights: their head, their scale, and how far scores moved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made.released import release
from tests.made.toys import toy_recipe, toy_store
from ubr.pretrain.cli import main
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import Store
from ubr.pretrain.parents import onto
from ubr.pretrain.planning import plan
from ubr.pretrain.recipes import Recipe, default
from ubr.pretrain.training import Run, fit
from ubr.weights import InputSpec, Intervals, Machine, Regressor, Weights, load
from ubr.weights.cards import card
from ubr.weights.scorer import score_grid

OPTIONS = {"machine": Machine(device="cpu"), "intervals": Intervals(progress=False)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy_store(tmp_path_factory.mktemp("toy") / "store")


@pytest.fixture(scope="module")
def parent(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parent") / "run"
    recipe = toy_recipe(position_weight=1.0, steps=40)
    return fit(store, out, recipe, holdout=0.3, **OPTIONS).weights  # type: ignore[arg-type]


def go_on(store: Store, parent: Path, out: Path, **changes: object) -> Run:
    recipe = toy_recipe(position_weight=1.0, start=str(parent), **changes)
    return fit(store, out, recipe, holdout=0.3, **OPTIONS)  # type: ignore[arg-type]


def test_norms__keep_the_statistics_that_the_parents_scores_rest_on(
    store: Store, tmp_path: Path
) -> None:
    """Those of batches would move scores even if no number learns."""
    resnet = {"backbone": "timm/test_resnet", "position_weight": 1.0}
    recipe = toy_recipe(steps=10, **resnet)
    run = fit(store, tmp_path / "parent", recipe, holdout=0.3, **OPTIONS)  # type: ignore[arg-type]
    start, (train, _) = str(run.weights), sides(store)
    before = np.concatenate(scores_of(load(start), store, train))
    for new_head, same in ((False, True), (True, False)):
        recipe = toy_recipe(start=start, steps=3, lr=1e-9, new_head=new_head, **resnet)
        out = tmp_path / str(new_head)
        child = load(fit(store, out, recipe, holdout=0.3, **OPTIONS).weights)  # type: ignore[arg-type]
        after = np.concatenate(scores_of(child, store, train))
        assert np.allclose(before, after, atol=1e-5) == same
        means = [name for name in child.trunk if name.endswith("running_mean")]
        kept = [(child.trunk[name] == load(start).trunk[name]).all() for name in means]
        assert means and all(kept) == same


def scores_of(weights: Weights, store: Store, keys: list[str]) -> list[NDArray[np.float64]]:
    regressor = Regressor.from_weights(weights).eval()
    rows = [row for row in store.usable() if row.key in keys]
    return [
        score_grid(regressor, to_grid(store, row, weights.inputs)).astype(np.float64)
        for row in rows
    ]


def sides(store: Store) -> tuple[list[str], list[str]]:
    """Keys of the series that the trainings of this file learn from, and of the others."""
    planned = plan(store, toy_recipe(), 0.3)
    return [row.key for row in planned.train], [row.key for row in planned.held_out]


def test_head__is_the_parents_unless_a_new_one_is_asked_for(
    store: Store, parent: Path, tmp_path: Path
) -> None:
    train, _ = sides(store)
    before = np.concatenate(scores_of(load(parent), store, train))
    for new_head, same in ((False, True), (True, False)):
        run = go_on(store, parent, tmp_path / str(new_head), steps=1, lr=1e-9, new_head=new_head)
        after = np.concatenate(scores_of(load(run.weights), store, train))
        assert np.allclose(before, after, atol=1e-5) == same
        assert (load(run.weights).made().parent is not None) == same


def test_scale__stays_the_parents_though_no_loss_says_so(
    store: Store, parent: Path, tmp_path: Path
) -> None:
    run = go_on(store, parent, tmp_path / "run", steps=40, lr=3e-3)
    older, child = load(parent), load(run.weights)
    train, held_out = sides(store)
    off = [
        now - then
        for now, then in zip(
            scores_of(child, store, train), scores_of(older, store, train), strict=True
        )
    ]
    assert abs(np.median(np.concatenate(off))) < 1e-5 < np.abs(np.concatenate(off)).max()
    pairs = zip(scores_of(child, store, held_out), scores_of(older, store, held_out), strict=True)
    moved = np.abs(np.concatenate([now - then for now, then in pairs]))
    made = child.made().parent
    assert made is not None and made.moved is not None and made.sha256 == older.sha256()
    assert made.moved.score_q50 == pytest.approx(np.median(moved), abs=1e-4)
    assert made.moved.score_q90 == pytest.approx(np.quantile(moved, 0.9), abs=1e-4)
    assert made.moved.series == len(held_out) and made.moved.slices == len(moved)
    slopes = [
        np.polyfit(row.z_mm, scores, 1)[0]
        for row, scores in zip(
            [row for row in store.usable() if row.key in held_out],
            scores_of(older, store, held_out),
            strict=True,
        )
    ]
    expected = made.moved.score_q90 / np.median(slopes)
    assert made.moved.mm_q90 == pytest.approx(expected, rel=0.02, abs=0.1)
    assert f"{made.moved}" in card(child) and f"{made.moved}" in run.notes[-1]


def test_scale__nobody_held_out_is_said(store: Store, parent: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(start=str(parent), steps=2)
    run = fit(store, tmp_path / "run", recipe, holdout=0.0, **OPTIONS)  # type: ignore[arg-type]
    made = load(run.weights).made().parent
    assert made is not None and made.moved is None and "not measured" in card(load(run.weights))


def test_recipe__says_that_a_head_is_kept_and_nothing_else_so_old_digests_hold(
    parent: Path, tmp_path: Path
) -> None:
    assert default().sha256() == (
        "bd81f0a2310fc8163d6805454bec7c64a31024040cee9c80b7a584e8e38cd9e7"
    )
    file = toy_recipe(start=str(parent))
    assert file.described()["new_head"] is False
    renewed = dataclasses.replace(file, new_head=True)
    before = {k: v for k, v in file.described().items() if k != "new_head"}
    assert renewed.described() == before and renewed.sha256() != file.sha256()
    whole = load(parent)
    dataclasses.replace(whole, head={}).save(tmp_path / "trunk.safetensors")
    trunk = toy_recipe(start=str(tmp_path / "trunk.safetensors"))
    assert "new_head" not in trunk.described() and trunk.parent() is None


def test_onto__takes_backbone_and_contract_of_weights_of_this_project(parent: Path) -> None:
    found, weights = onto(default(), str(parent), new_head=True), load(parent)
    assert (found.backbone, found.inputs) == (weights.backbone, weights.inputs)
    renewed = dataclasses.replace(
        default(),
        start=str(parent),
        new_head=True,
        backbone=weights.backbone,
        inputs=weights.inputs,
    )
    assert found == renewed
    kept = onto(default(), str(parent))
    assert kept == dataclasses.replace(renewed, new_head=False, steps=300, lr=3e-5, g=4)
    assert onto(default(), "imagenet") == dataclasses.replace(default(), start="imagenet")


def test_cli__start_released_needs_neither_backbone_nor_contract(
    store: Store,
    parent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release(load(parent), tmp_path / "own", monkeypatch)
    words = ["fit", str(store.path), "--out", str(tmp_path / "run"), "--device", "cpu"]
    few = [
        "--start",
        "released",
        "--steps",
        "2",
        "--g",
        "4",
        "--m",
        "4",
        "--augment.crop-area",
        "0.9",
    ]
    assert main([*words, *few]) == 0
    said = capsys.readouterr().out
    assert "timm/test_convnext from released start, 32 px" in said
    assert "with the head of released-1" in said and "continued from released-1" in said
    made = load(tmp_path / "run").made()
    assert made.parent is not None and made.parent.name == "released-1" and made.name is None
    assert main([*words[:3], str(tmp_path / "new"), *words[4:], *few, "--new-head"]) == 0
    assert "the head of" not in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--recipe", "lite"]])
def test_cli__a_start_in_a_yaml_file_gives_the_same_defaults(
    more: list[str],
    store: Store,
    parent: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def printed(*start: str) -> str:
        with pytest.raises(SystemExit):
            main(["fit", str(store.path), "--out", "run", *more, *start, "--print-config"])
        return capsys.readouterr().out

    (tmp_path / "start.yaml").write_text(f"start: {parent}\n")
    (tmp_path / "new.yaml").write_text(f"start: {parent}\nnew_head: true\n")
    kept = printed("--start", str(parent))
    assert printed("--config", str(tmp_path / "start.yaml")) == kept
    assert "backbone: timm/test_convnext" in kept and "steps: 300" in kept
    renewed = printed("--config", str(tmp_path / "new.yaml"))
    assert renewed == printed("--start", str(parent), "--new-head") and "lr: 3.0e-05" not in renewed


def test_start__of_another_contract_is_measured_on_both(
    store: Store, parent: Path, tmp_path: Path
) -> None:
    inputs = InputSpec(size_px=48, window_hu=(-1000.0, 1000.0))
    run = go_on(store, parent, tmp_path / "run", steps=2, lr=1e-6, inputs=inputs)
    made = load(run.weights).made().parent
    assert made is not None and made.moved is not None and made.moved.score_q90 > 0
    assert isinstance(Recipe().parent(), type(None))
