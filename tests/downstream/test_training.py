"""Training a detector: it learns, resumes, sees the same images however they are shared; and the
verbs around it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
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
from tests.made.trunk import scan_of, trunk
from ubr.downstream import module
from ubr.downstream.cli import VERBS, main
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.detector import starting_weights
from ubr.downstream.evaluation import evaluate, load_detector
from ubr.downstream.module import Batches, result
from ubr.downstream.planting.write import plant
from ubr.downstream.positions import Positions, body_positions
from ubr.downstream.recipes import RECIPES, DetectorRecipe, paper, recipe
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Intervals, Machine, Weights, load

CPU = Machine(accelerator="cpu", workers=0)
QUIET: dict[str, Any] = {"machine": CPU, "intervals": Intervals(250, 250, 1, progress=False)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lesion_world(tmp_path_factory.mktemp("lesions"))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return starting_weights(
        "timm/test_convnext", "random", InputSpec(size_px=32, window_hu=(-200.0, 500.0))
    )


def sets(world: Path, weights: Weights, recipe: DetectorRecipe) -> tuple[DeepLesion, DeepLesion]:
    train = DeepLesion(world, "train", weights.inputs, view=recipe.view, augment=recipe.augment)
    return train, DeepLesion(world, "val", weights.inputs, view=recipe.view)


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


def test_finetune__a_foreign_checkpoint_executes_nothing(
    world: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The names of tensors begin so, too.
    r, folder = tiny_recipe(), Path("detector")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at("between checkpoint and validation", 4, patch)
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    last = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    torch.save({**saved, "payload": Payload(tmp_path / "executed")}, last)
    with pytest.raises(ValueError, match="holds more than numbers and is not opened; remove it"):
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    assert not (tmp_path / "executed").exists()


def test_finetune__a_checkpoint_that_does_not_fit_is_one_line(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    r, folder = tiny_recipe(), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at("between checkpoint and validation", 4, patch)
        finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
    last = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
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
        ({"loops": {"fit_loop": {"state_dict": {}}}}, "fit this run .it is of step 4, its loops"),
        ({"callbacks": {"Best": 3}}, "does not fit this run"),
    ):
        torch.save({**saved, **change}, last)
        with pytest.raises(ValueError, match=f"{reason}.*; remove it to start over") as raised:
            finetune(weights, *sets(world, weights, r), folder, r, **CUTS)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.heavy
def test_train__two_processes_share_a_step(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DDP over gloo through the command line; the first process alone writes.

    Proposals are drawn a process, so one process differs.
    """
    weights_of("timm/test_resnet").save(tmp_path / "w.safetensors")
    command = [
        sys.executable,
        "-m",
        "ubr.downstream.cli",
        "train",
        str(world),
        "--weights",
        str(tmp_path / "w.safetensors"),
        *TINY,
    ]
    command += ["--out", str(tmp_path / "run"), "--devices", "2", "--log-every", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2]
    assert sum("val/recall5" in line for line in lines) == 1
    assert load_detector(tmp_path / "run", "last")
    assert main([*command[3:], "--out", str(tmp_path / "odd"), "--batch", "3"]) == 2
    refusal = "a batch of 3 images cannot be shared by 2 processes alike"
    assert refusal in capsys.readouterr().err


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
    with pytest.raises(ValueError, match=r"holds another run \(other recipe.lr"):
        finetune(
            weights,
            *sets(world, weights, tiny_recipe()),
            tmp_path / "run",
            tiny_recipe(lr=0.02),
            **QUIET,
        )


@pytest.mark.heavy
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
    with pytest.raises(ValueError, match=r"holds another run \(other positions.scorer_sha256\)"):
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
    with pytest.raises(
        ValueError, match="a recipe with position True got positions False; make them"
    ):
        finetune(weights, train, val, tmp_path / "x", r, **QUIET)


def test_train__positions_of_a_scorer(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("scorer", "other")):
        weights_of("timm/test_resnet", seed).save(tmp_path / name)
    argv = [
        "train",
        str(world),
        "--backbone",
        "timm/test_resnet",
        *TINY,
        "--position",
        "true",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*argv, "--scorer", str(tmp_path / "scorer")]) == 0
    images = DeepLesion(world, "val", InputSpec())
    places = body_positions(load(tmp_path / "scorer"), images, progress=False).by_name
    assert list(places) == [k.name for k in images.keys] and len(set(places.values())) == len(
        places
    )
    judge = [
        "evaluate",
        str(tmp_path / "run"),
        str(world),
        "--out",
        str(tmp_path / "e"),
        "--which",
        "last",
        "--workers",
        "0",
    ]
    assert "positions are of scorer" in refused(judge, capsys)
    assert "device 'gpu' cannot be used here; allowed: auto, cpu" in refused(
        [*judge, "--device", "gpu"], capsys
    )
    assert "positions are of scorer" in refused(
        [*judge, "--scorer", str(tmp_path / "other")], capsys
    )
    assert main([*judge, "--scorer", str(tmp_path / "scorer")]) == 0


def test_positions__of_a_scorer_with_neighbours_see_them(world: Path) -> None:
    scorer, images = weights_of("timm/test_resnet"), DeepLesion(world, "val", InputSpec())
    beside = dataclasses.replace(
        scorer, inputs=dataclasses.replace(scorer.inputs, neighbours_mm=2.0)
    )
    alone, together = (body_positions(w, images, progress=False).by_name for w in (scorer, beside))
    assert alone.keys() == together.keys() and all(alone[name] != together[name] for name in alone)


def test_train__a_yaml_file_may_name_the_recipe(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text("recipe: paper\n")
    assert (
        main(
            [
                "train",
                str(world),
                "--out",
                str(tmp_path / "x"),
                "--backbone",
                "vgg16",
                "--config",
                str(tmp_path / "my.yaml"),
                "--dry",
            ]
        )
        == 0
    )
    assert "vgg16 from random, recipe paper, 70000 steps of 2 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--backbone", "timm/resnet19"], "unknown backbone 'timm/resnet19'"),
        (["--start", "nowhere.pth"], "unknown start 'nowhere.pth'"),
        (["--device", "mps"], "--device 'mps' needs the GPU of an Apple machine"),
        (["--devices", "3"], "a batch of 2 images cannot be shared by 3 processes alike"),
        (["--out", "lesions"], "lesions is not empty and holds no run; give a new --out"),
        (["--out", "lesions/DL_info.csv/run"], "cannot be made below"),
        (["--scorer", "lesions/DL_info.csv", "--position", "true"], "DL_info.csv: not a readable"),
    ],
)
def test_train__dry_refuses_what_cannot_run_as_the_run_does(
    more: list[str],
    reason: str,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lesions").symlink_to(world)
    argv = ["train", "lesions", "--out", "new", "--backbone", "timm/test_resnet", *TINY, *more]
    lines = [refused([*argv, *dry], capsys) for dry in (["--dry"], [])]
    assert reason in lines[0] and lines[0] == lines[1]
    assert not (tmp_path / "new").exists()


def test_train__dry_estimates_and_writes_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights_of("timm/test_resnet").save(tmp_path / "scorer")
    argv = ["train", str(world), "--backbone", "timm/test_resnet", *TINY, "--dry"]
    for more in ([], ["--position", "true", "--scorer", str(tmp_path / "scorer")]):
        assert main([*argv, "--out", str(tmp_path / "run"), *more]) == 0
        plan, estimate = capsys.readouterr().out.splitlines()
        assert "2 steps of 2 images; 10 train images of 10 patients" in plan
        assert estimate.startswith("estimated from a few steps: ") and "memory about" in estimate
    assert [path.name for path in tmp_path.iterdir()] == ["scorer"]


def test_finetune__refuses(world: Path, weights: Weights, tmp_path: Path) -> None:
    r = tiny_recipe()
    train, val = sets(world, weights, r)
    plain = DeepLesion(world, "train", weights.inputs, view=r.view)
    with pytest.raises(ValueError, match="10 patients are in both training and validation"):
        finetune(weights, train, plain, tmp_path / "x", r, **QUIET)
    with pytest.raises(
        ValueError,
        match=r"the train images are not made as the recipe.*augment None\); make them with "
        r"inputs=weights.inputs",
    ):
        finetune(weights, plain, val, tmp_path / "x", r, **QUIET)
    with pytest.raises(ValueError, match="the val images are not made as the recipe"):
        finetune(
            weights,
            train,
            DeepLesion(world, "val", InputSpec(), view=r.view),
            tmp_path / "x",
            r,
            **QUIET,
        )
    with pytest.raises(ValueError, match="a batch of 2 images cannot be shared by 3 processes"):
        finetune(
            weights, train, val, tmp_path / "x", r, machine=dataclasses.replace(CPU, devices=3)
        )
    with pytest.raises(ValueError, match="validate_every must be at least 1, got 0"):
        finetune(weights, train, val, tmp_path / "x", r, intervals=Intervals(validate_every=0))
    with pytest.raises(ValueError, match="read from files, got place 'gpu'; use 'auto'"):
        finetune(weights, train, val, tmp_path / "x", r, machine=Machine(place="gpu"))
    assert not (tmp_path / "x").exists()


# ---- the verbs

TINY = [
    "--steps",
    "2",
    "--batch",
    "2",
    "--view.longest-px",
    "96",
    "--accelerator",
    "cpu",
    "--workers",
    "0",
    "--precision",
    "32",
]


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert main(argv) == 2
    lines = [
        line
        for line in capsys.readouterr().err.strip().splitlines()
        if line.startswith("ubr-detect")
    ]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_help__of_every_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0 and verb in capsys.readouterr().out


def test_train__says_where_its_view_is_not_what_the_weights_saw(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = weights_of("timm/test_resnet")
    dataclasses.replace(
        weights, inputs=dataclasses.replace(weights.inputs, neighbours_mm=2.5)
    ).save(tmp_path / "w.safetensors")
    argv = [
        "train",
        str(world),
        "--weights",
        str(tmp_path / "w.safetensors"),
        *TINY,
        "--out",
        str(tmp_path / "dry"),
        "--dry",
    ]
    assert main(argv) == 0
    assert (
        "note: these weights were trained on 3 slices 2.5 mm apart: --view.channels 3 "
        "--view.distance-mm 2.5" in capsys.readouterr().out
    )
    assert (
        main([*argv, "--view.channels", "3", "--view.distance_mm", "2.5"]) == 0
        and "note" not in capsys.readouterr().out
    )


def test_train__from_a_weights_file_and_its_mistakes(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights_of("timm/test_resnet").save(tmp_path / "w.safetensors")
    argv = ["train", str(world), "--weights", str(tmp_path / "w.safetensors"), *TINY]
    assert main([*argv, "--out", str(tmp_path / "dry"), "--dry"]) == 0
    shown = capsys.readouterr().out
    assert (
        "timm/test_resnet from weights of this project, recipe small, 2 steps of 2 images; 10 "
        "train images of 10 patients, 3 val images" in shown
    )
    assert not (tmp_path / "dry").exists()
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "last.pth").exists()
    start = ["train", str(world), "--out", str(tmp_path / "x"), *TINY]
    assert "unknown backbone 'vgg17'; nearest" in refused([*start, "--backbone", "vgg17"], capsys)
    assert "no such weights file" in refused([*start, "--weights", str(tmp_path / "none")], capsys)
    assert "--weights bring their own" in refused(
        [*argv, "--backbone", "vgg16", "--out", str(tmp_path / "x")], capsys
    )
    assert "unknown start 'imagnet'" in refused([*start, "--start", "imagnet"], capsys)
    assert "DL_info.csv" in refused(
        ["train", str(tmp_path), "--out", str(tmp_path / "x"), *TINY], capsys
    )
    assert "takes three channels, got --view.channels 5" in refused(
        [*start, "--view.channels", "5"], capsys
    )
    assert "give both, or neither" in refused([*start, "--position", "true"], capsys)
    assert not (tmp_path / "x").exists()
    assert "holds no best.pth" in refused(
        ["evaluate", str(tmp_path), str(world), "--out", str(tmp_path / "e")], capsys
    )


def test_train__an_image_that_breaks_stops_or_is_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lesion_world(tmp_path / "data", train=4, val=1, test=0)
    (folder / "Images_png" / "000002_01_01" / "010.png").write_bytes(b"\x89PNG broken")
    argv = ["train", str(folder), "--backbone", "timm/test_convnext", *TINY, "--steps", "4"]
    line = refused([*argv, "--out", str(tmp_path / "stop")], capsys)
    assert "000002_01_01/010.png is damaged" in line
    assert main([*argv, "--out", str(tmp_path / "skip"), "--unreadable", "skip"]) == 0
    assert "1 images could not be read, first 000002_01_01/010" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--unreadable", "skip"]])
def test_train__refuses_a_fault_of_the_data_before_its_folder_is_made(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lesion_world(tmp_path / "data", train=4, val=1, test=1)
    black = np.zeros((96, 96), np.uint16)
    Image.fromarray(black).save(folder / "Images_png" / "000003_01_01" / "011.png")
    argv = ["train", str(folder), "--backbone", "timm/test_convnext", *TINY, *words]
    argv += ["--view.channels", "3", "--view.distance-mm", "2"]
    line = refused([*argv, "--out", str(tmp_path / "run")], capsys)
    assert "000003_01_01/011.png: every pixel is 0" in line and not (tmp_path / "run").exists()
    check = ["check", str(folder), "--view.distance-mm", "2"]
    assert "training must not start" in refused(check, capsys)
    assert main([*check, "--view.channels", "1"]) == main([*check, "--recipe", "paper"]) == 0


def test_train__a_run_that_resumes_is_not_checked_again(
    world: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = tiny_recipe(steps=2)
    called = []
    monkeypatch.setattr("ubr.downstream.training.refuse_faults", lambda *_, **__: called.append(1))
    finetune(weights, *sets(world, weights, r), tmp_path / "run", r, **QUIET)
    (tmp_path / "run" / "last.pth").unlink()
    finetune(weights, *sets(world, weights, r), tmp_path / "run", r, **QUIET)
    assert called == [1]


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ("mixer_s32_224", "timm/mixer_s32_224 takes images of one size only"),
        ("swin_tiny_patch4_window7_224", "Input height (128) doesn't match model (224)"),
    ],
)
def test_train__a_trunk_that_does_not_fit_is_refused_before_its_folder_is_made(
    backbone: str, reason: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", str(world), "--backbone", f"timm/{backbone}", *TINY]
    line = refused([*argv, "--pyramid", "0", "--out", str(tmp_path / "run")], capsys)
    assert reason in line and not (tmp_path / "run").exists()


KILLED = """
import os, sys
from pathlib import Path
from ubr.weights.common import disk
with disk.whole(sys.argv[1]) as part:
    part.mkdir()
    (part / "detections.csv").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_evaluate_and_plant__leave_nothing_of_a_killed_one(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    r = tiny_recipe(steps=2)
    finetune(weights, *sets(world, weights, r), tmp_path / "run", r, **QUIET)
    out = tmp_path / "judged"
    for again in (
        lambda: evaluate(tmp_path / "run", world, out, workers=0, pictures=0, progress=False),
        lambda: plant([scan_of(trunk())], tmp_path / "set", per_scan=1, progress=False),
    ):
        subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".judged.")]
        again()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_check__says_whether_training_may_start(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "check",
                str(world),
                "--manifest",
                str(tmp_path / "m.json"),
                "--coco",
                str(tmp_path / "coco"),
            ]
        )
        == 0
    )
    assert "ready to train" in capsys.readouterr().out and json.loads(
        (tmp_path / "m.json").read_text()
    )
    coco = json.loads((tmp_path / "coco" / "val.json").read_text())
    assert len(coco["images"]) == len(coco["annotations"]) == 3
    folder = lesion_world(tmp_path / "data", train=2, val=1, test=0)
    (folder / "Images_png" / "000001_01_01" / "010.png").unlink()
    assert "training must not start" in refused(["check", str(folder)], capsys)


def test_plant__writes_what_check_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not exist" in refused(
        ["plant", str(tmp_path / "none"), "--out", str(tmp_path / "x")], capsys
    )
    assert "no CT series was found" in refused(
        ["plant", str(tmp_path), "--out", str(tmp_path / "x")], capsys
    )
