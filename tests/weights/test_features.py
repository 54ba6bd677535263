"""A trunk is proven where it is: inside wrappers, beside another detector, behind the libraries'
feature extractors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from tests.made.networks import kept
from tests.weights.test_transfer import Trunk, faster_rcnn
from ubr.weights import TransferError, Weights, export, load_into, verify

NAME = "timm/resnet18"
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def detector(**changes: object) -> nn.Module:
    return faster_rcnn(Trunk(NAME), kept(NAME).inputs, **changes)


class Lightning(L.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Two(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second


def compiled_inside(model: Any) -> nn.Module:
    model.backbone = torch.compile(model.backbone)
    return model  # type: ignore[no-any-return]


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "DDP": nn.parallel.DistributedDataParallel,
    "torch.compile": torch.compile,  # type: ignore[dict-item]
    "backbone compiled": compiled_inside,
    "compiled in place": compiled_in_place,
    "LightningModule": Lightning,
    "LightningModule of a compiled one": lambda model: Lightning(torch.compile(model)),  # type: ignore[arg-type]
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("how", WRAPPERS)
def test_load_into__a_wrapped_detector_is_judged_by_its_own_scale(how: str) -> None:
    weights, wrap = kept(NAME), WRAPPERS[how]
    model = wrap(detector())
    receipt = load_into(model, weights)
    state = model.state_dict()
    for name, tensor in weights.trunk.items():
        assert torch.equal(state[receipt.prefix + name], tensor)
    assert verify(model, weights, receipt.prefix).feature_difference == receipt.feature_difference
    wrong = wrap(detector(**HALF))
    before = {n: t.clone() for n, t in wrong.state_dict().items()}
    with pytest.raises(TransferError, match=r"the detector has image_mean \[0.5, 0.5, 0.5\]"):
        load_into(wrong, weights)
    assert all(torch.equal(t, before[n]) for n, t in wrong.state_dict().items())


def test_load_into__one_of_two_detectors_is_named_and_judged_alone() -> None:
    weights, both = kept(NAME), Two(detector(), detector(**HALF))
    with pytest.raises(
        TransferError,
        match=r"holds 2 trunks of timm/resnet18, at 'first.backbone.body.' and "
        r"'second.backbone.body.'; give one of them as `prefix`",
    ):
        load_into(both, weights)
    other = both.second.backbone.body.conv1.weight.clone()  # type: ignore[union-attr, operator]
    assert load_into(both, weights, "first.backbone.body.").prefix == "first.backbone.body."
    assert torch.equal(both.second.backbone.body.conv1.weight, other)  # type: ignore[union-attr, arg-type]
    with pytest.raises(TransferError, match="intensity scales differ"):
        load_into(both, weights, "second.backbone.body")
    assert not torch.equal(other, weights.trunk["conv1.weight"])


def test_load_into__a_module_that_is_registered_twice_is_one_trunk() -> None:
    model = timm.create_model("resnet18")
    assert load_into(Two(model, model), kept(NAME)).prefix == "first."


def test_load_into__a_network_that_computes_otherwise_inside_a_wrapper() -> None:
    model = timm.create_model("resnet18")
    model.layer2[0].act1 = nn.GELU()
    for wrapped in (Lightning(model), nn.DataParallel(model)):
        with pytest.raises(TransferError, match="features differ: "):
            load_into(wrapped, kept(NAME))


EXTRACTED = [
    "vgg16",
    "timm/resnet18",
    "timm/convnext_tiny",
    "timm/efficientnet_b0",
    "timm/densenet121",
    "timm/swin_tiny_patch4_window7_224",
    "timm/vit_tiny_patch16_224",
]


@pytest.mark.parametrize("name", EXTRACTED)
def test_load_into__timms_features_only_gives_the_pretraining_trunks_map(name: str) -> None:
    weights = kept(name)
    model = timm.create_model(name.removeprefix("timm/"), features_only=True).eval()
    receipt = load_into(model, weights)
    assert len(receipt.loaded) == len(weights.trunk)
    size = weights.inputs.size_px
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours, theirs = weights.build()(x), model(x)
    maps = [m.permute(0, 3, 1, 2) if "swin" in name else m for m in theirs]
    alike = [m for m in maps if m.shape == ours.shape]
    close = 1e-5 * float(ours.abs().max())
    assert any(torch.allclose(one, ours, rtol=1e-4, atol=close) for one in alike)


def test_load_into__features_only_that_computes_otherwise_or_is_cut() -> None:
    weights = kept("timm/convnext_tiny")
    model = timm.create_model("convnext_tiny", features_only=True)
    model.stages_2.blocks[4].norm.eps = 1e-2
    with pytest.raises(TransferError, match=r"features differ: .* stages_2.blocks.4 is off"):
        load_into(model, weights)
    cut = timm.create_model("convnext_tiny", features_only=True, out_indices=(0, 1, 2))
    with pytest.raises(TransferError, match=r"incomplete transfer.* unexpected \(stages_3."):
        load_into(cut, weights)


@pytest.mark.parametrize("how", ["features_only", "the snippet's classifier"])
@pytest.mark.parametrize("name", ["vgg16", "timm/resnet18", "timm/test_convnext"])
def test_verify__what_the_snippet_of_a_timm_export_advises(
    name: str, how: str, tmp_path: Any
) -> None:
    weights: Weights = kept(name)
    export(weights, tmp_path / "t", to="timm")
    options: dict[str, Any] = {"features_only": True} if how == "features_only" else {}
    model = timm.create_model(f"local-dir:{tmp_path / 't'}", pretrained=True, **options)
    assert not verify(model, weights).faults()


@pytest.mark.parametrize(
    ("name", "model", "node"),
    [
        ("timm/convnext_tiny", "convnext_tiny", "features.7"),
        ("timm/resnet50", "resnet50", "layer4"),
        ("vgg16", "vgg16", "features.29"),
        ("timm/efficientnet_b0", "efficientnet_b0", "features.7"),
    ],
)
def test_load_into__a_traced_extractor_of_torchvision(name: str, model: str, node: str) -> None:
    weights = kept(name)
    whole = getattr(torchvision.models, model)()
    traced = create_feature_extractor(whole, {node: "map"})
    assert not load_into(traced, weights).faults()
    size = weights.inputs.size_px
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours, theirs = weights.build()(x), traced.eval()(x)["map"]
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * float(ours.abs().max()))


def test_load_into__a_traced_extractor_without_the_last_activation() -> None:
    traced = create_feature_extractor(torchvision.models.vgg16(), {"features.28": "map"})
    with pytest.raises(TransferError, match="features differ: the output of the map is off"):
        load_into(traced, kept("vgg16"))


class ResNetEncoder(torchvision.models.ResNet):
    """As segmentation_models_pytorch makes it: torchvision's, without classifier, with all maps."""

    def __init__(self) -> None:
        super().__init__(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2])
        del self.fc, self.avgpool

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        maps = [x, self.relu(self.bn1(self.conv1(x)))]
        y = self.maxpool(maps[-1])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            y = layer(y)
            maps.append(y)
        return maps


class TimmEncoder(nn.Module):
    """As segmentation_models_pytorch's `tu-` encoders: timm's features_only as `model`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(name, features_only=True)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, *self.model(x)]


class Unet(nn.Module):
    """An encoder with what follows it; its forward is not the trunk's."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.segmentation_head = encoder, nn.Conv2d(512, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.segmentation_head(self.encoder(x)[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "make", "prefix"),
    [
        ("timm/resnet18", ResNetEncoder, "encoder."),
        ("timm/resnet18", lambda: TimmEncoder("resnet18"), "encoder.model."),
        ("timm/convnext_tiny", lambda: TimmEncoder("convnext_tiny"), "encoder.model."),
        ("timm/efficientnet_b0", lambda: TimmEncoder("efficientnet_b0"), "encoder.model."),
    ],
)
def test_load_into__encoders_of_segmentation_models(
    name: str, make: Callable[[], nn.Module], prefix: str
) -> None:
    receipt = load_into(Unet(make()), kept(name))
    assert receipt.prefix == prefix and "segmentation_head.weight" in receipt.left
    assert len(receipt.loaded) == len(kept(name).trunk)
