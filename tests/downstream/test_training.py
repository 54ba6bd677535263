"""Training a detector: it learns, resumes, and sees the same images however they are shared."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.made.cuts import Cut, Payload, contents, cut_at
from tests.made.lesions import lesion_world, tiny_recipe
from tests.made.networks import weights_of
from ubr.downstream import module
from ubr.downstream.cli import main
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.detector import starting_weights
from ubr.downstream.evaluation import load_detector
from ubr.downstream.module import Batches, result
from ubr.downstream.positions import Positions, body_positions
from ubr.downstream.recipes import RECIPES, DetectorRecipe, paper, recipe
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Intervals, Machine, Weights

from .helpers import CPU, QUIET, sets


def test_recipes__paper_is_the_papers_schedule() -> None:
    r = paper()
    assert (r.lr, r.steps, r.box_head) == (0.002, 70_000, "paper")
    assert [
        r.rate(s) for s in (0, 19_999, 20_000, 39_999, 40_000, 54_999, 55_000)
    ] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001])
    shorter = dataclasses.replace(r, steps=700)
    assert [shorter.rate(s) for s in (199, 200, 550)] == pytest.approx([1, 0.1, 0.001])
    assert len({make().sha256() for make in RECIPES.values()}) == len(RECIPES)
    with pytest.raises(ValueError, match="unknown recipe 'papper'; allowed: paper, small"):
        recipe("papper")
    with pytest.raises(ValueError, match="batch must be in"):
        tiny_recipe(batch=0)
    with pytest.raises(ValueError, match="drops must be shares above 0 and below 1"):
        tiny_recipe(drops=(2800,))


def test_batches__every_epoch_shows_every_image_once_and_ranks_share_a_step(
    world: Path, weights: Weights
) -> None:
    data, _ = sets(world, weights, tiny_recipe())
    whole = Batches(data, batch=4, seed=7)
    seen = [
        member for step in range(5) for member in whole.members(step)
    ]  # 20 images: two epochs of 10
    assert [sorted(i for i, e in seen if e == epoch) for epoch in (0, 1)] == [list(range(10))] * 2
    assert [i for i, e in seen if e == 0] != [i for i, e in seen if e == 1]
    parts = [Batches(data, 4, 7, rank, 2) for rank in (0, 1)]
    for step in range(3):
        images, _ = whole[step]
        shared = [parts[rank][step][0] for rank in (0, 1)]
        assert all(torch.equal(images[i], shared[i % 2][i // 2]) for i in range(4))


def test_finetune__cut_and_run_again_is_the_unbroken_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = starting_weights(
        "timm/test_resnet", "random", InputSpec(size_px=32)
    )  # has BatchNorm, whose statistics must stay
    r = tiny_recipe(norms="measured")
    options = {"machine": CPU, "intervals": Intervals(3, 2, 1, progress=False)}
    whole = finetune(weights, *sets(world, weights, r), tmp_path / "whole", r, **options)
    step = module.LesionDetection.training_step

    def cut(self: Any, batch: Any, index: int) -> torch.Tensor:
        if self.trainer.global_step == 5:
            raise RuntimeError("power cut")
        return step(self, batch, index)

    monkeypatch.setattr(module.LesionDetection, "training_step", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(weights, *sets(world, weights, r), tmp_path / "cut", r, **options)
    assert not (tmp_path / "cut" / "last.pth").exists()
    monkeypatch.setattr(module.LesionDetection, "training_step", step)
    resumed = finetune(weights, *sets(world, weights, r), tmp_path / "cut", r, **options)
    a, b = (torch.load(run.last, weights_only=True)["model"] for run in (whole, resumed))
    assert set(a) == set(b) and all(torch.equal(a[n], b[n]) for n in a)
    lines = [(run.folder / "metrics.jsonl").read_text().splitlines() for run in (whole, resumed)]
    steps = [[(x["step"], x.get("train/loss")) for x in map(json.loads, part)] for part in lines]
    assert steps[0] == steps[1]
    again = finetune(
        weights, *sets(world, weights, r), tmp_path / "cut", r, **options
    )  # finished: nothing happens
    assert again.metrics == resumed.metrics


CUTS: dict[str, Any] = {"machine": CPU, "intervals": Intervals(4, 3, 1, progress=False)}


@pytest.fixture(scope="module")
def unbroken(
    world: Path, weights: Weights, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run of 6 steps holds: validated at 4 and 6, saved at 3, 4 and 6."""
    r, folder = tiny_recipe(), tmp_path_factory.mktemp("unbroken") / "run"
    finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    return contents(folder)


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("before the checkpoint", 4),
        ("between checkpoint and validation", 4),
        ("before the best is kept", 4),
        ("before the validation is noted", 4),
        ("after the validation", 4),
        ("after the last checkpoint", 6),
        ("before the best is kept", 6),
        ("before the validation is noted", 6),
        ("before the detector", 6),
    ],
)
def test_finetune__cut_at_any_moment_leaves_the_files_of_the_unbroken_run(
    moment: str,
    step: int,
    world: Path,
    weights: Weights,
    unbroken: dict[str, Any],
    tmp_path: Path,
) -> None:
    r, folder = tiny_recipe(), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at(moment, step, patch)
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    found = contents(folder)
    assert [x["step"] for x in found["metrics.jsonl"] if "val/recall5" in x] == [4, 6]
    assert found.keys() == unbroken.keys() and "best.pth" in found
    assert [name for name in found if found[name] != unbroken[name]] == []


def cut_after_a_checkpoint(
    world: Path, weights: Weights, r: DetectorRecipe, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """A run that was cut after step 4: its last checkpoint, and what it holds."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at("between checkpoint and validation", 4, patch)
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    last = folder / "checkpoints" / "last.ckpt"
    return last, torch.load(last, weights_only=True)


def test_finetune__a_foreign_checkpoint_executes_nothing(
    world: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The names of tensors begin so, too.
    r, folder = tiny_recipe(), Path("detector")
    last, saved = cut_after_a_checkpoint(world, weights, r, folder)
    torch.save({**saved, "payload": Payload(tmp_path / "executed")}, last)
    with pytest.raises(ValueError, match="holds more than numbers, so it is not opened; remove it"):
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    assert not (tmp_path / "executed").exists()


def test_finetune__a_checkpoint_that_does_not_fit_is_one_line(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    r, folder = tiny_recipe(), tmp_path / "run"
    last, saved = cut_after_a_checkpoint(world, weights, r, folder)
    (optimizer,) = saved["optimizer_states"]
    state = dict(list(saved["state_dict"].items())[1:])
    for change, reason in (
        ({"state_dict": state}, "does not fit this run .*Missing key"),
        ({"state_dict": 5}, "last.ckpt: state_dict must be a table, got 5"),
        ({"global_step": "many"}, "last.ckpt: global_step must be a valid integer"),
        ({"optimizer_states": []}, "optimizer_states list should have at least 1 item"),
        ({"optimizer_states": [{**optimizer, "param_groups": [{}]}]}, "does not fit this run"),
        ({"optimizer_states": [{"state": 5}]}, "optimizer_states.0.state must be a table, got 5"),
        ({"lr_schedulers": []}, "lr_schedulers list should have at least 1 item"),
        ({"loops": {}}, "loops.fit_loop is missing"),
        ({"loops": {"fit_loop": {"state_dict": {}}}}, "fit this run .its step is 4, but its loops"),
        ({"callbacks": {"Best": 3}}, "does not fit this run"),
    ):
        torch.save({**saved, **change}, last)
        with pytest.raises(ValueError, match=f"{reason}.*; remove it to start over") as raised:
            finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


def test_finetune__folder_says_what_it_is_and_holds_no_path(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    run = finetune(
        weights, *sets(world, weights, tiny_recipe()), tmp_path / "run", tiny_recipe(), **QUIET
    )
    text = (run.folder / "config.yaml").read_text()
    config = yaml.safe_load(text)
    assert (
        config["start"]["weights_sha256"] == weights.sha256()
        and config["data"]["train_images"] == 10
    )
    assert "tensors loaded at 'backbone.body.'" in (run.folder / "receipt.txt").read_text()
    about = json.loads(torch.load(run.last, weights_only=True)["about"])
    assert about["step"] == 6 and set(about["versions"]) >= {"torch", "torchvision"}
    assert str(world) not in text and str(tmp_path) not in text
    assert str(tmp_path).encode() not in (run.folder / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match=r"holds another run \(different recipe.lr"):
        finetune(
            weights,
            *sets(world, weights, tiny_recipe()),
            tmp_path / "run",
            tiny_recipe(lr=0.02),
            **QUIET,
        )


@pytest.fixture
def flushed() -> Iterator[None]:
    """Denormal numbers are 0. The gradients of a detector that is sure of its few, easy images are
    denormal, and a CPU takes twenty times as long for them.
    """
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.heavy
@pytest.mark.usefixtures("flushed")
def test_finetune__learns_and_is_judged_the_same_from_its_files(
    weights: Weights, tmp_path: Path
) -> None:
    weights = starting_weights("timm/resnet10t", "random", weights.inputs)
    # Enough images and steps that every lesion is found. With ten images and two per step, recall
    # jumped between 2/3 and 1, and the order of sums, which depends on the processor and the number
    # of threads, decided where it ended.
    world = lesion_world(tmp_path / "lesions", train=24)
    changes = {"optimizer": "adamw", "lr": 2e-3, "warmup": 15, "drops": (0.5, 0.8), "pyramid": 64}
    r = tiny_recipe(steps=60, batch=4, norms="measured", **changes)
    train, val = sets(world, weights, r)
    run = finetune(
        weights,
        train,
        val,
        tmp_path / "run",
        r,
        machine=CPU,
        intervals=Intervals(60, 250, 5, progress=False),
    )
    assert run.metrics["recall5"] == 1.0, run.metrics
    losses = [
        x["train/loss"]
        for x in map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
        if "train/loss" in x
    ]
    assert min(losses[-3:]) < 0.6 * losses[0]
    detector, found, inputs = load_detector(run.folder, "last")
    assert found == r and inputs == weights.inputs
    image, target = val[0]
    with torch.no_grad():
        best = result(target, detector([image])[0])
    truth = np.array(target["key"].boxes[0].edges)
    assert np.abs(best.predicted[best.order[0]] - truth).max() < 6
    out = tmp_path / "judged"
    assert (
        main(
            [
                "evaluate",
                str(run.folder),
                str(world),
                "--out",
                str(out),
                "--workers",
                "0",
                "--pictures",
                "2",
                "--which",
                "last",
            ]
        )
        == 0
    )
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == report["lesions"] == 3 and report["recall"]["value"] >= 2 / 3
    with (out / "detections.csv").open() as file:
        assert {r["image"] for r in csv.DictReader(file)} == {
            f"0000{i}_01_01/010" for i in (28, 29, 30)
        }
    assert (
        len(list(out.glob("0*.png"))) == 2 and np.asarray(Image.open(out / "froc.png")).std() > 10
    )


def test_finetune__position_is_given_to_each_image(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    r = tiny_recipe(position=True, steps=2)
    train, val = sets(world, weights, r)
    places = {k.name: float(i) for i, k in enumerate([*train.keys, *val.keys])}
    finetune(
        weights, train, val, tmp_path / "run", r, positions=Positions(places, "a scorer"), **QUIET
    )
    with pytest.raises(
        ValueError, match=r"holds another run \(different positions.scorer_sha256\)"
    ):
        finetune(
            weights,
            train,
            val,
            tmp_path / "run",
            r,
            positions=Positions(places, "another"),
            **QUIET,
        )
    with pytest.raises(ValueError, match="1 of 13 images have no position, the first is"):
        finetune(
            weights,
            train,
            val,
            tmp_path / "x",
            r,
            positions=Positions(dict(list(places.items())[1:]), "a scorer"),
            **QUIET,
        )
    with pytest.raises(ValueError, match="has position True, but positions are missing; make them"):
        finetune(weights, train, val, tmp_path / "x", r, **QUIET)


def test_positions__of_a_scorer_with_neighbours_see_them(world: Path) -> None:
    scorer, images = weights_of("timm/test_resnet"), DeepLesion(world, "val", InputSpec())
    beside = dataclasses.replace(
        scorer, inputs=dataclasses.replace(scorer.inputs, neighbours_mm=2.0)
    )
    alone, together = (body_positions(w, images, progress=False).by_name for w in (scorer, beside))
    assert alone.keys() == together.keys() and all(alone[name] != together[name] for name in alone)


def test_finetune__refuses(world: Path, weights: Weights, tmp_path: Path) -> None:
    r = tiny_recipe()
    train, val = sets(world, weights, r)
    plain = DeepLesion(world, "train", weights.inputs, view=r.view)
    with pytest.raises(ValueError, match="10 patients are in both training and validation"):
        finetune(weights, train, plain, tmp_path / "x", r, **QUIET)
    with pytest.raises(
        ValueError,
        match=r"the train images were not made as recipe.*augment None\); make them with "
        r"inputs=weights.inputs",
    ):
        finetune(weights, plain, val, tmp_path / "x", r, **QUIET)
    with pytest.raises(ValueError, match="the val images were not made as recipe"):
        finetune(
            weights,
            train,
            DeepLesion(world, "val", InputSpec(), view=r.view),
            tmp_path / "x",
            r,
            **QUIET,
        )
    with pytest.raises(ValueError, match="a batch of 2 images cannot be split evenly over 3"):
        finetune(
            weights, train, val, tmp_path / "x", r, machine=dataclasses.replace(CPU, devices=3)
        )
    with pytest.raises(ValueError, match="validate_every must be at least 1, got 0"):
        finetune(weights, train, val, tmp_path / "x", r, intervals=Intervals(validate_every=0))
    with pytest.raises(ValueError, match="read from files, got place 'gpu'; use 'auto'"):
        finetune(weights, train, val, tmp_path / "x", r, machine=Machine(place="gpu"))
    assert not (tmp_path / "x").exists()
