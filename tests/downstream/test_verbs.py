"""The verbs of ubr-detect: what they say, refuse and leave."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made.lesions import lesion_world, tiny_recipe
from tests.made.networks import weights_of
from tests.made.trunk import scan_of, trunk
from ubr.downstream.cli import VERBS, main
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.evaluation import evaluate, load_detector
from ubr.downstream.planting.write import plant
from ubr.downstream.positions import body_positions
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, Weights, load

from .helpers import QUIET, sets


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
    refusal = "a batch of 3 images cannot be split evenly over 2 processes"
    assert refusal in capsys.readouterr().err


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
    assert "positions come from scorer" in refused(judge, capsys)
    assert "--device 'gpu' is not available; this machine has cpu" in refused(
        [*judge, "--device", "gpu"], capsys
    )
    assert "positions come from scorer" in refused(
        [*judge, "--scorer", str(tmp_path / "other")], capsys
    )
    assert main([*judge, "--scorer", str(tmp_path / "scorer")]) == 0


def test_train__a_yaml_file_may_name_the_recipe(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text("recipe: paper\n")
    argv = ["train", str(world), "--out", str(tmp_path / "x"), "--backbone", "timm/test_resnet"]
    argv += ["--view.longest-px", "96", "--config", str(tmp_path / "my.yaml"), "--dry"]
    assert main(argv) == 0
    planned = "timm/test_resnet from random, recipe paper, 70000 steps of 2 images"
    assert planned in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--backbone", "timm/resnet19"], "unknown backbone 'timm/resnet19'"),
        (["--start", "nowhere.pth"], "unknown start 'nowhere.pth'"),
        (["--device", "mps"], "--device 'mps' is not available; this machine has cpu"),
        (["--devices", "3"], "a batch of 2 images cannot be split evenly over 3 processes"),
        (["--out", "lesions"], "lesions is not empty and holds no run; give a new --out"),
        (
            ["--out", "lesions/DL_info.csv/run"],
            "is not a folder that can be written to; give another",
        ),
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
        "note: these weights were trained on 3 slices 2.5 mm apart; for the same view, give "
        "--view.channels 3 --view.distance-mm 2.5" in capsys.readouterr().out
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
    assert "does not exist" in refused([*start, "--weights", str(tmp_path / "none")], capsys)
    assert "--weights already determine" in refused(
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
    assert "1 images could not be read, the first is 000002_01_01/010" in capsys.readouterr().out


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
    assert "train would refuse to start" in refused(check, capsys)
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
    ("backbone", "pyramid", "reason"),
    [
        ("mixer_s32_224", "0", "timm/mixer_s32_224 takes images of one size only"),
        ("test_maxvit", "64", "timm/test_maxvit takes images of one size only"),
        ("test_vit", "64", "and timm/test_vit has one size; use --pyramid 0"),
    ],
)
def test_train__a_trunk_that_does_not_fit_is_refused_before_its_folder_is_made(
    backbone: str,
    pyramid: str,
    reason: str,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["train", str(world), "--backbone", f"timm/{backbone}", *TINY]
    line = refused([*argv, "--pyramid", pyramid, "--out", str(tmp_path / "run")], capsys)
    assert reason in line and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("backbone", "pyramid"),
    [("test_vit", "0"), ("swin_tiny_patch4_window7_224", "64")],
)
def test_train__a_trunk_made_for_one_size_takes_the_views(
    backbone: str, pyramid: str, world: Path, tmp_path: Path
) -> None:
    argv = ["train", str(world), "--backbone", f"timm/{backbone}", *TINY]
    run = tmp_path / "run"
    assert main([*argv, "--pyramid", pyramid, "--steps", "1", "--out", str(run)]) == 0
    receipt = (run / "receipt.txt").read_text()
    assert "every layer gives the same output" in receipt and load_detector(run, "last")


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
    out, begun = tmp_path / "judged", tmp_path / "set" / "settings.json"
    for killed, again in (
        (out, lambda: evaluate(tmp_path / "run", world, out, workers=0, pictures=0)),
        (begun, lambda: plant([scan_of(trunk())], begun.parent, per_scan=1, progress=False)),
    ):
        subprocess.run([sys.executable, "-c", KILLED, str(killed)], check=False)
        assert list(killed.parent.glob(f".{killed.name}.*"))
        again()
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


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
    assert "train would refuse to start" in refused(["check", str(folder)], capsys)


def test_plant__writes_what_check_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not exist" in refused(
        ["plant", str(tmp_path / "none"), "--out", str(tmp_path / "x")], capsys
    )
    assert "no CT series was found" in refused(
        ["plant", str(tmp_path), "--out", str(tmp_path / "x")], capsys
    )
