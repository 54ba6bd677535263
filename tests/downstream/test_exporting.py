"""Detectors as ONNX and for torchvision: the same boxes, what stands in the files, what is
refused.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.made.lesions import lesion_world, tiny_recipe
from ubr.downstream import exporting
from ubr.downstream import plain_torchvision as plain
from ubr.downstream.cli import main
from ubr.downstream.dataset import to_image
from ubr.downstream.detector import bare_detector, starting_weights
from ubr.downstream.evaluation import load_detector
from ubr.downstream.exporting import export
from ubr.downstream.slices import View
from ubr.downstream.training import finetune
from ubr.weights import InputSpec, build
from ubr.weights.common.claims import claim
from ubr.weights.receipts import TransferError

from .helpers import QUIET, sets

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

INPUTS = InputSpec(size_px=32, window_hu=(-200.0, 500.0))
FOLDED = dataclasses.replace(INPUTS, channels="folded", mean=(0.0,) * 3, std=(1.0,) * 3)

LOW, HIGH = -200.0, 500.0
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "one map": ("timm/test_convnext", {"view": View(longest_px=96)}),
    "a pyramid of three slices": (
        "timm/test_resnet",
        {"view": View(channels=3, longest_px=96), "pyramid": 32, "norms": "measured"},
    ),
}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone, changes = RUNS[request.param]
    folder = tmp_path_factory.mktemp("detector")
    world = lesion_world(folder / "lesions", train=2, val=1, test=0)
    inputs = InputSpec(size_px=32, window_hu=(LOW, HIGH))
    recipe = tiny_recipe(steps=2, **changes)
    weights = starting_weights(backbone, "random", inputs)
    finetune(weights, *sets(world, weights, recipe), folder / "run", recipe, **QUIET)
    return folder / "run"


any_run = pytest.mark.parametrize("run", [next(iter(RUNS))], indirect=True)
"""For what does not depend on the detector."""


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The detector's ONNX, in a folder that was made for it, and the snippet."""
    path = tmp_path_factory.mktemp("exported") / "new" / "d.onnx"
    return path, export(run, path)


def slices(channels: int, height: int, width: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(height)
    hu = rng.normal(30, 40, (channels, height, width))
    hu[:, 10:30, 12:34] += 400
    return hu.astype(np.float32)


def test_export__finds_what_the_detector_finds_in_hu(run: Path, exported: tuple[Path, str]) -> None:
    path, snippet = exported
    detector, recipe, _ = load_detector(run)
    session = runtime.InferenceSession(path)
    for height, width in ((64, 96), (75, 51)):
        hu = slices(recipe.view.channels, height, width)
        # The window, written out; one slice is shown in all three channels.
        image = np.clip((hu - LOW) / (HIGH - LOW), 0, 1)
        image = np.broadcast_to(image, (3, height, width)).copy()
        with torch.no_grad():
            (found,) = detector([torch.from_numpy(image)])
        boxes, scores = session.run(["boxes", "scores"], {"hu": hu})
        assert len(boxes) == len(found["boxes"]) > 0
        assert np.abs(boxes - found["boxes"].numpy()).max() < 0.01
        assert np.abs(scores - found["scores"].numpy()).max() < 1e-4
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["boxes"].shape[1] == 4


def test_export__says_its_contract_and_nothing_of_the_machine(
    run: Path, exported: tuple[Path, str]
) -> None:
    path, _ = exported
    model = onnx.load(path)
    onnx.checker.check_model(model)
    (about,) = (json.loads(one.value) for one in model.metadata_props if one.key == "ubr")
    _, recipe, inputs = load_detector(run)
    assert InputSpec.from_dict(about["inputs"]) == inputs and View(**about["view"]) == recipe.view
    assert len(about["detector_sha256"]) == 64
    content = path.read_bytes()
    assert str(run).encode() not in content and b"site-packages" not in content
    session = runtime.InferenceSession(path)
    with pytest.raises(Exception, match="hu"):  # a view of other slices
        session.run(None, {"hu": slices(recipe.view.channels + 1, 64, 64)})


@any_run
def test_export__that_finds_something_else_is_refused_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "SCORE", -1.0)
    with pytest.raises(TransferError, match="boxes under onnxruntime differ by"):
        export(run, tmp_path / "d.onnx")
    assert list(tmp_path.iterdir()) == []


@any_run
def test_export__refuses_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    for words, reason in (
        (
            [str(run), "--out", str(there)],
            "there.onnx exists; give another path, or set",
        ),
        ([str(run), "--out", str(tmp_path / "d.pt")], "must end with .onnx"),
        ([str(tmp_path), "--out", str(tmp_path / "d.onnx")], "holds no best.pth"),
    ):
        assert main(["export", *words]) == 2
        assert reason in capsys.readouterr().err
    with claim(tmp_path / "d.onnx"):
        assert main(["export", str(run), "--out", str(tmp_path / "d.onnx")]) == 2
    assert "is being written by process" in capsys.readouterr().err
    assert there.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [there]
    assert main(["export", str(run), "--out", str(there), "--overwrite"]) == 0
    assert "onnxruntime.InferenceSession" in capsys.readouterr().out


@any_run
def test_export__of_a_detector_with_positions_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_detector(run)
    recipe = tiny_recipe(position=True)
    monkeypatch.setattr(
        "ubr.downstream.evaluation.load_detector", lambda *_: (loaded[0], recipe, loaded[2])
    )
    with pytest.raises(ValueError, match="takes positions, which an export cannot supply"):
        export(run, tmp_path / "d.onnx")
    assert list(tmp_path.iterdir()) == []


def test_torchvision__finds_what_the_detector_finds_in_hu(run: Path, tmp_path: Path) -> None:
    snippet = export(run, tmp_path / "new" / "d.pth", to="torchvision")
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"d.pth", "d.py"}
    detector, recipe, _ = load_detector(run)
    lesions = runpy.run_path(str(tmp_path / "new" / "d.py"))
    model = lesions["detector"]()
    assert type(model).__module__.startswith("torchvision.")
    for height, width in ((66, 96), (75, 51)):  # 66 px, padded to 96, would tell a wrong stride
        hu = slices(recipe.view.channels, height, width)
        image = np.clip((hu - LOW) / (HIGH - LOW), 0, 1)
        image = np.broadcast_to(image, (3, height, width)).copy()
        with torch.no_grad():
            (wanted,) = detector([torch.from_numpy(image)])
            (found,) = model([lesions["image"](torch.from_numpy(hu))])
        assert len(found["boxes"]) == len(wanted["boxes"]) > 0
        assert (found["boxes"] - wanted["boxes"]).abs().max() < 0.01
        assert (found["scores"] - wanted["scores"]).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"hu must be \[., H, W\], got"):  # a view of other slices
        lesions["image"](torch.from_numpy(slices(recipe.view.channels + 1, 64, 64)))
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["boxes"].shape[1] == 4
    text = (tmp_path / "new" / "d.py").read_text()
    assert "ubr" not in text and str(run) not in text


OTHERS: dict[str, tuple[dict[str, Any], InputSpec]] = {
    "timm/test_resnet": ({"pyramid": 32}, INPUTS),  # frozen norms
    "timm/test_vit": ({}, INPUTS),  # made for one size of image
    "timm/test_efficientnet": ({"norms": "measured", "box_head": "paper"}, INPUTS),
    "alexnet": ({}, FOLDED),
}
ALL_ALONE = f"""
import sys
for folder in sys.argv[1:]:
    sys.argv = ["", folder + "/d.py", folder + "/given.pt", folder + "/found.pt"]
    exec({plain._ALONE!r})
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """Boxes and scores of other detectors, by the detector and by its files on their own.

    One interpreter runs all files, because each takes seconds to import torch.
    """
    hu, found, folders = torch.from_numpy(slices(1, 75, 51)), {}, {}
    for backbone, (options, inputs) in OTHERS.items():
        torch.manual_seed(0)
        detector = bare_detector(build(backbone, any_size=True), inputs, **options).eval()
        folders[backbone] = folder = tmp_path_factory.mktemp("other")
        plain.write(detector, backbone, inputs, View(longest_px=96), "0" * 64, folder / "d.pth")
        torch.save([hu], folder / "given.pt")
        with torch.no_grad():
            (found[backbone],) = detector([to_image(hu, inputs)])
    words = [sys.executable, "-c", ALL_ALONE, *map(str, folders.values())]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for backbone, folder in folders.items():
        ((boxes, scores),) = torch.load(folder / "found.pt", weights_only=True)
        found[backbone] |= {"boxes alone": boxes, "scores alone": scores}
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("backbone", OTHERS)
def test_torchvision__of_other_trunks_and_heads(
    backbone: str, others: dict[str, dict[str, torch.Tensor]]
) -> None:
    found = others[backbone]
    assert len(found["boxes alone"]) == len(found["boxes"]) > 0
    assert torch.allclose(found["boxes alone"], found["boxes"], atol=0.01)
    assert torch.allclose(found["scores alone"], found["scores"], atol=1e-4)


@any_run
def test_torchvision__that_finds_something_else_or_nothing_is_refused_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(plain, "_image", lambda *_: ["import ubr"])
        with pytest.raises(TransferError, match=r"does not run the detector: .*ubr"):
            export(run, tmp_path / "d.pth", to="torchvision")
    monkeypatch.setattr(plain, "_image", lambda *_: ["return hu.expand(3, -1, -1) / 1000"])
    with pytest.raises(TransferError, match="under plain torchvision"):
        export(run, tmp_path / "d.pth", to="torchvision")
    assert list(tmp_path.iterdir()) == []


@any_run
def test_torchvision__replaces_nobodys_python(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the files find is compared before, in a process that takes seconds.
    monkeypatch.setattr(plain, "found_without_us", lambda _, images: [()] * len(images))
    monkeypatch.setattr(exporting, "_compare", lambda *_: None)
    (tmp_path / "d.py").write_text("mine")
    with pytest.raises(ValueError, match=r"d\.py exists; give another path, or set `overwrite`"):
        export(run, tmp_path / "d.pth", to="torchvision")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("d.py", "mine")]
    with pytest.raises(ValueError, match=r"must end with \.pth"):
        export(run, tmp_path / "d.onnx", to="torchvision")
