"""Transfers are complete and give the same features, or they raise:

in every library's models, in detectors, and under sabotage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.rpn import AnchorGenerator

from tests.made.networks import BACKBONES, kept
from ubr.weights import (
    InputSpec,
    Regressor,
    TransferError,
    Weights,
    build,
    load_into,
    start,
    verify,
)
from ubr.weights.common.zeroed import Zeroed
from ubr.weights.inputs import reference_slice
from ubr.weights.layouts import layouts_of
from ubr.weights.receipts import copy_into

PAIRS = [(n, lib) for n in BACKBONES for lib in layouts_of(n, ["x"]) if lib != "detectron2"]
"""Networks and the libraries that have a model of it; detectron2's are in test_detectron2.py."""


@lru_cache(maxsize=2)
def consumer(name: str, library: str) -> nn.Module:
    """The library's own model of a network."""
    model = layouts_of(name, ["x"])[library].model
    with Zeroed():  # it is about to be filled
        return (
            getattr(torchvision.models, model)()
            if library == "torchvision"
            else timm.create_model(model)
        )


def the_map(name: str, library: str, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The feature map as a consumer of that library would take it."""
    if library == "timm":
        maps = model.forward_intermediates(x, output_fmt="NCHW", intermediates_only=True)  # type: ignore[operator]
        return maps[-2 if name in ("vgg16", "vgg16_bn") else -1]  # type: ignore[no-any-return]
    if hasattr(model, "features"):
        ends_before_last = name in (
            "vgg16",
            "vgg16_bn",
            "alexnet",
            "timm/efficientnet_b0",
        )  # a pool; the 1280 filters of the classifier
        return model.features[: -1 if ends_before_last else None](x)  # type: ignore[index, no-any-return, operator]
    if hasattr(model, "trunk_output"):
        return model.trunk_output(model.stem(x))  # type: ignore[no-any-return, operator]
    return nn.Sequential(*list(model.children())[:-2])(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_load_into__the_librarys_own_model_gives_the_pretraining_trunks_map(
    name: str, library: str
) -> None:
    weights, model = kept(name), consumer(name, library).eval()
    receipt = load_into(model, weights)
    assert len(receipt.loaded) == len(weights.trunk) and not receipt.faults()
    assert receipt.feature_difference is not None and receipt.feature_difference < 1e-5
    assert receipt.left and not set(receipt.left) & set(receipt.loaded)
    x = torch.randn(
        2,
        3,
        weights.inputs.size_px,
        weights.inputs.size_px,
        generator=torch.Generator().manual_seed(3),
    )
    with torch.no_grad():
        ours, theirs = weights.build()(x), the_map(name, library, model, x)
        random = start(name, seed=9).eval()(x)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * float(ours.abs().max()))
    assert (random - ours).abs().max() > 1e-2 * ours.abs().max()


def _altered(module: nn.Module, name: str) -> None:
    getattr(module, name).data.view(-1)[5] += 1e-6


def _renamed(module: nn.Module, name: str) -> None:
    parameter = getattr(module, name)
    delattr(module, name)
    module.register_parameter("kernel", parameter)


def _dropped(module: nn.Module, name: str) -> None:
    delattr(module, name)


def _at_random(module: nn.Module, name: str) -> None:
    nn.init.normal_(getattr(module, name), std=0.01)


def _cast(module: nn.Module, name: str) -> None:
    setattr(module, name, nn.Parameter(getattr(module, name).data.half()))


def _transposed(module: nn.Module, name: str) -> None:
    setattr(module, name, nn.Parameter(getattr(module, name).data.transpose(0, 1).contiguous()))


def _rounded(module: nn.Module, name: str) -> None:
    getattr(module, name).data.copy_(getattr(module, name).data.bfloat16().float())


SABOTAGE: dict[str, tuple[Callable[[nn.Module, str], None], str]] = {
    "altered": (_altered, "1 with different values"),
    "frozen at random": (_at_random, "1 with different values"),
    "transposed": (_transposed, "1 (with different values|of another shape)"),
    "rounded on the way": (_rounded, "1 with different values"),
    "cast": (_cast, "1 of another dtype"),
    "dropped": (_dropped, "1 unexpected"),
    "renamed": (_renamed, "1 missing .*kernel.* 1 unexpected"),
}


@pytest.mark.parametrize(("name", "library"), PAIRS)
def test_verify__catches_every_sabotage_of_one_tensor(name: str, library: str) -> None:
    weights, model = kept(name), consumer(name, library)
    receipt = load_into(model, weights)
    parameters = dict(model.named_parameters())
    full = max(
        (n for n in receipt.loaded if n in parameters and parameters[n].ndim > 1),
        key=lambda n: parameters[n].numel(),
    )
    path, _, tensor = full.rpartition(".")
    module, right = model.get_submodule(path), parameters[full].data.clone()
    for how, (sabotage, reason) in SABOTAGE.items():
        sabotage(module, tensor)
        with pytest.raises(TransferError, match=reason) as caught:
            verify(model, weights)
        assert caught.value.receipt is not None and caught.value.receipt.faults(), how
        module._parameters.pop("kernel", None)
        module.register_parameter(tensor, nn.Parameter(right.clone()))
    verify(model, weights)


SCALES: list[dict[str, Any]] = [
    {"window_hu": (-1000.0, 1000.0)},
    {"mean": (123.7, 116.3, 103.5), "std": (1.0, 1.0, 1.0)},
    {"mean": (0.406, 0.456, 0.485)},
    {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    {"channels": "folded"},
]


@pytest.mark.parametrize(
    ("name", "change"),
    [(n, SCALES[i % len(SCALES)]) for i, n in enumerate([*BACKBONES, *["timm/test_resnet"] * 5])],
)
def test_start__catches_a_wrong_intensity_scale(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    weights = kept(name)
    weights.save(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="trained with window_hu, channels, mean, std"):
        start(
            name,
            str(tmp_path / "w.safetensors"),
            inputs=dataclasses.replace(weights.inputs, **change),
        )


class Trunk(nn.Module):
    """A backbone of this project as torchvision's detectors want it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        net = build(name)
        self.body, self.out_channels, self._features = net.body, net.channels, net.features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._features(self.body, x)


def faster_rcnn(backbone: nn.Module, inputs: InputSpec, **changes: object) -> FasterRCNN:
    options = {
        "image_mean": list(inputs.mean),
        "image_std": list(inputs.std),
        "min_size": inputs.size_px,
        "max_size": inputs.size_px,
    }
    anchors = AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))
    pool = torchvision.ops.MultiScaleRoIAlign(["0"], 3, 2)
    head = nn.Sequential(nn.Flatten(), nn.Linear(backbone.out_channels * 9, 8))  # type: ignore[operator]
    predictor = torchvision.models.detection.faster_rcnn.FastRCNNPredictor(8, 2)
    parts = {
        "rpn_anchor_generator": anchors,
        "box_roi_pool": pool,
        "box_head": head,
        "box_predictor": predictor,
    }
    return FasterRCNN(backbone, **{**options, **parts, **changes})  # type: ignore[arg-type]


def seen_by(detector: FasterRCNN, weights: Weights, hu: torch.Tensor) -> torch.Tensor:
    """The map that a detector's backbone makes of a slice that is given as its user gives it."""
    seen = []
    hook = detector.backbone.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        detector.eval()([weights.inputs.to_image(hu)[0]])
    hook.remove()
    return seen[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", BACKBONES)
def test_faster_rcnn__detector_trunk_equals_pretraining_trunk(name: str) -> None:
    """From the image that the user gives, through the detector's own transform, to the map."""
    weights = kept(name)
    detector = faster_rcnn(Trunk(name), weights.inputs)
    receipt = load_into(detector, weights)
    assert receipt.prefix == "backbone.body." and {n.split(".")[0] for n in receipt.left} == {
        "rpn",
        "roi_heads",
    }
    hu = reference_slice(weights.inputs)
    found = seen_by(detector, weights, hu)
    with torch.no_grad():
        expected = weights.build()(weights.inputs.to_input(hu))
    torch.testing.assert_close(
        found[..., : expected.shape[2], : expected.shape[3]], expected, rtol=1e-4, atol=1e-4
    )


def test_faster_rcnn__as_torchvisions_own_documentation_builds_it() -> None:
    weights = kept("vgg16")
    backbone = torchvision.models.vgg16().features
    backbone.out_channels = 512
    receipt = load_into(faster_rcnn(backbone, weights.inputs), weights)
    assert (
        receipt.prefix == "backbone."
        and "backbone.28.weight" in receipt.loaded
        and receipt.layout == "torchvision"
    )
    assert "14 left" not in str(
        receipt
    ) and "26 tensors loaded at 'backbone.', torchvision names" in str(receipt)


def test_faster_rcnn__with_frozen_norms_and_an_fpn() -> None:
    """torchvision's factory freezes norms, which have no counters then; a random ResNet's frozen
    norms must be filled all the same.
    """
    weights = dataclasses.replace(kept("timm/resnet50"), inputs=InputSpec(size_px=64))
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=torchvision.ops.FrozenBatchNorm2d
    )
    detector = FasterRCNN(backbone, 2)
    receipt = load_into(detector, weights)
    assert receipt.prefix == "backbone.body." and len(receipt.loaded) == sum(
        "num_batches" not in n for n in weights.trunk
    )
    assert any(n.startswith("backbone.fpn.") for n in receipt.left)


@pytest.mark.parametrize("name", BACKBONES)
def test_faster_rcnn__that_normalises_otherwise_is_refused_and_left_as_it_was(name: str) -> None:
    weights = kept(name)
    detector = faster_rcnn(Trunk(name), weights.inputs)
    before = {n: t.clone() for n, t in detector.state_dict().items()}
    for mean, std in (
        ([0.406, 0.456, 0.485], [0.229, 0.224, 0.225]),
        ([0.485, 0.456, 0.406], [1.0] * 3),
        ([0.5] * 3, [0.5] * 3),
    ):
        detector.transform.image_mean, detector.transform.image_std = mean, std
        with pytest.raises(
            TransferError,
            match=r"intensity scales differ: the detector has image_mean .* these weights need "
            r"image_mean \[0.485",
        ):
            load_into(detector, weights)
        assert all(torch.equal(t, before[n]) for n, t in detector.state_dict().items())


def test_faster_rcnn__that_leaves_normalising_to_its_user_is_taken() -> None:
    weights = kept("timm/resnet18")
    detector = faster_rcnn(
        Trunk("timm/resnet18"), weights.inputs, image_mean=[0.0] * 3, image_std=[1.0] * 3
    )
    assert not load_into(detector, weights).faults()


class Changed(nn.Module):
    """A network of the same tensors that computes something else."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body = timm.create_model("resnet18", num_classes=0)
        if how == "epsilon":
            for module in self.body.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = 1e-3
        elif how == "stride":
            self.body.layer3[0].conv1.stride = (1, 1)
            self.body.layer3[0].downsample[0].stride = (1, 1)
        elif how == "activation":
            self.body.layer2[0].act1 = nn.GELU()
        elif how == "padding":
            self.body.conv1.padding_mode = "reflect"
            self.body.conv1._reversed_padding_repeated_twice = [3, 3, 3, 3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body.forward_features(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", ["epsilon", "stride", "activation", "padding"])
def test_load_into__the_same_tensors_in_a_network_that_computes_otherwise(how: str) -> None:
    model = Changed(how)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(TransferError, match="features differ: "):
        load_into(model, kept("timm/resnet18"))
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_load_into__a_map_without_its_last_activation() -> None:
    layers = torchvision.models.vgg16().features[:29]  # conv5_3, but not its ReLU
    with pytest.raises(TransferError, match="features differ: the output of the map is off"):
        load_into(layers, kept("vgg16"))


def test_load_into__a_larger_or_another_network() -> None:
    with pytest.raises(
        TransferError,
        match=r"nothing was loaded: \d+ missing \(layer1.0.bn3.bias, .*of another shape",
    ):
        load_into(torchvision.models.resnet50(), kept("timm/resnet18"))
    with pytest.raises(TransferError, match=r"nothing was loaded: 8 missing \(features.28.bias"):
        load_into(torchvision.models.vgg19(), dataclasses.replace(kept("vgg16"), trunk=_as_vgg19()))
    with pytest.raises(
        TransferError, match=r"the model has no tensor of alexnet under any known prefix"
    ):
        load_into(timm.create_model("test_vit"), kept("alexnet"))
    with pytest.raises(TransferError, match=r"the model has no tensor of vgg16 under 'encoder.'"):
        load_into(torchvision.models.vgg16(), kept("vgg16"), prefix="encoder.")


def _as_vgg19() -> dict[str, torch.Tensor]:
    return {
        n: t
        for n, t in torchvision.models.vgg19().features.state_dict(prefix="features.").items()
        if int(n.split(".")[1]) < 28
    }


def test_load_into__modes_and_hooks_are_put_back() -> None:
    model = timm.create_model("resnet18")
    model.train()
    model.bn1.eval()
    load_into(model, kept("timm/resnet18"))
    assert model.training and model.layer1.training and not model.bn1.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["vgg16", "timm/resnet18", "timm/test_convnext"])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("dropped", "1 missing"),
        ("renamed", "1 missing .* 1 unexpected"),
        ("added", "1 unexpected"),
        ("reshaped", "1 of another shape"),
        ("cast", "1 of another dtype"),
    ],
)
def test_copy_into__all_or_nothing(name: str, how: str, reason: str) -> None:
    target, source = build(name).body, dict(kept(name).trunk)
    before = {n: t.clone() for n, t in target.state_dict().items()}
    with pytest.raises(TransferError, match=f"nothing was loaded: .*{reason}"):
        copy_into(target, _changed(source, how))
    assert all(torch.equal(t, before[n]) for n, t in target.state_dict().items())
    receipt = copy_into(target, source)
    assert set(receipt.loaded) == set(source) and receipt.left == ()


def _changed(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    name = next(n for n, t in tensors.items() if t.ndim == 4)
    t = dict(tensors)
    if how == "dropped":
        del t[name]
    elif how == "renamed":
        t["module." + name] = t.pop(name)
    elif how == "added":
        t["rpn.weight"] = torch.zeros(1)
    elif how == "reshaped":
        t[name] = t[name][:-1]
    elif how == "cast":
        t[name] = t[name].half()
    return t


@pytest.mark.parametrize("name", BACKBONES)
def test_trunk__holds_no_tensor_that_its_map_does_not_depend_on(name: str) -> None:
    """What the loss cannot reach is not handed over as trained."""
    weights = kept(name)
    net = weights.build()
    x = torch.randn(
        1,
        3,
        weights.inputs.size_px,
        weights.inputs.size_px,
        generator=torch.Generator().manual_seed(0),
    )
    net(x).square().mean().backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None]


def test_reference_slice__shows_all_of_the_window_and_air() -> None:
    hu = reference_slice(InputSpec(size_px=64, window_hu=(0.0, 80.0)))
    assert hu.shape == (1, 64, 64) and hu.min() == -1024 and hu.max() > 80
    inside = hu[(hu > 0) & (hu < 80)]
    assert len(inside) > 800 and len(inside.unique()) > 60


def test_regressor__trunk_only_weights_cannot_score() -> None:
    w = kept("timm/resnet18")
    with pytest.raises(ValueError, match="without the head that scores"):
        Regressor.from_weights(dataclasses.replace(w, head={}))
