"""detectron2 itself, where it is installed:

its checkpointer loads the export, and the receipt is complete.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made.networks import BACKBONES, kept
from ubr.weights import TransferError, Weights, export, load_into, start, verify
from ubr.weights.inputs import reference_slice

pytest.importorskip(
    "detectron2",
    reason="detectron2 is not installed (source only): skipped its own checkpointer; its names "
    "are checked against a stored list",
)
pytestmark = pytest.mark.heavy


def built(folder: Path, weights: Weights, **model: Any) -> tuple[Any, Any]:
    """detectron2's model by the exported fragment, and its configuration.

    model: other values under MODEL.
    """
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    from ubr.downstream import d2

    d2.register(weights.backbone)
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "x.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    for name, value in model.items():
        part, _, key = name.partition("__")
        if key:
            cfg.MODEL[part][key] = value
        else:
            cfg.MODEL[part] = value
    return build_model(cfg), cfg


def seen_by(model: Any, weights: Weights, hu: torch.Tensor) -> torch.Tensor:
    """The deepest map of the trunk for a slice that is given as detectron2's mapper gives it."""
    seen = []
    trunk = getattr(model.backbone, "bottom_up", model.backbone)
    hook = trunk.register_forward_hook(
        lambda module, args, output: seen.append(list(output.values())[-1])
    )
    image = weights.inputs.to_image(hu)[0] * weights.inputs.pixel_scale
    with torch.no_grad():
        model.eval()([{"image": image, "height": image.shape[1], "width": image.shape[2]}])
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_checkpointer__loads_every_tensor_and_the_features_are_the_trunks(
    name: str, tmp_path: Path
) -> None:
    from detectron2.checkpoint import DetectionCheckpointer

    weights = kept(name)
    export(weights, tmp_path / "x.pkl", to="detectron2")
    model, _ = built(tmp_path, weights)
    with pytest.raises(TransferError, match=r"not hold these weights: .* with different values"):
        verify(model, weights)
    DetectionCheckpointer(model).load(str(tmp_path / "x.pkl"))
    receipt = verify(model, weights)
    assert receipt.prefix == ("backbone.bottom_up." if "resnet" in name else "backbone.body.")
    with (tmp_path / "x.pkl").open("rb") as file:
        assert set(receipt.loaded) == set(pickle.load(file)["model"])
    hu = reference_slice(weights.inputs)
    found = seen_by(model, weights, hu)
    with torch.no_grad():
        expected = weights.build()(weights.inputs.to_input(hu))
        random = start(name, seed=9).eval()(weights.inputs.to_input(hu))
    found = found[..., : expected.shape[2], : expected.shape[3]]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert (random - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("name", ["timm/resnet50", "vgg16"])
def test_load_into__a_detectron2_model_without_a_file(name: str, tmp_path: Path) -> None:
    weights = kept(name)
    export(weights, tmp_path / "x.pkl", to="detectron2")
    model, _ = built(tmp_path, weights)
    assert not load_into(model, weights).faults()
    state = model.state_dict()
    victim = next(n for n in state if n.startswith("backbone.b") and state[n].ndim == 4)
    state[victim][0, 0, 0, 0] += 1e-6
    with pytest.raises(TransferError, match="1 with different values"):
        verify(model, weights)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            {"PIXEL_MEAN": [103.53, 116.28, 123.675]},
            "intensity scales differ: the detector has PIXEL_MEAN",
        ),
        ({"PIXEL_STD": [1.0, 1.0, 1.0]}, "intensity scales differ"),
        (
            {"RESNETS__STRIDE_IN_1X1": True},
            "features differ: the output of backbone.bottom_up.res3.0.conv1.norm",
        ),
        ({"RESNETS__DEPTH": 101}, r"nothing was loaded: \d+ missing \(backbone.bottom_up.res4"),
    ],
)
def test_load_into__a_detectron2_model_that_is_set_otherwise(
    model: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    weights = kept("timm/resnet50")
    export(weights, tmp_path / "x.pkl", to="detectron2")
    detector, _ = built(tmp_path, weights, **model)
    with pytest.raises(TransferError, match=reason):
        load_into(detector, weights)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", ["timm/resnet18", "vgg16"])
def test_snippet__as_printed(name: str, fold: bool, tmp_path: Path) -> None:
    snippet = export(kept(name), tmp_path / "x.pkl", to="detectron2", fold=fold)
    alone = (
        "\nimport sys; assert not any(m.startswith('ubr') for m in sys.modules)"
        if name != "vgg16"
        else ""
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", snippet + alone],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("depth", [18, 50])
def test_stored_names__are_those_of_the_installed_one(depth: int, tmp_path: Path) -> None:
    weights = kept(f"timm/resnet{depth}")
    export(weights, tmp_path / "x.pkl", to="detectron2")
    model, _ = built(tmp_path, weights)
    lines = (Path(__file__).parent / f"detectron2_resnet{depth}.txt").read_text().splitlines()
    stored = {line.split()[0]: tuple(int(v) for v in line.split()[1:]) for line in lines}
    own = {
        n: tuple(t.shape)
        for n, t in model.state_dict().items()
        if n.startswith("backbone.bottom_up.")
    }
    assert own == stored
