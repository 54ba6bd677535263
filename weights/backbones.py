"""Backbones: convolutional trunks with their library's own tensor names, and the size of their map.

UBR puts its head on VGG-16's conv5_3, and a VGG Faster R-CNN cuts at the same layer. Pretraining
and detector therefore share one module: one backbone, two heads. Pools that are not needed are
replaced by identities rather than deleted, so that the names keep their indices. timm models are
pruned by `prune_intermediate_layers`, because `features_only` renames tensors. Layers after the
feature map are removed, so untrained parameters are never exported.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torchvision import models


class Backbone(nn.Module):
    """A trunk: `[N, 3, H, W]` -> `[N, channels, H/stride, W/stride]`.

    Args:
        name: the argument of `build`.
        body: the library's module, whose `state_dict` has its own names (not a patient's body).
        features: (body, input) -> the map.
        channels: of the map.
        stride: of the map.

    Its attribute `origin` says where its weights came from, in plain values for the provenance;
    `ubr.weights.start` fills it.
    """

    def __init__(
        self,
        name: str,
        body: nn.Module,
        features: Callable[[nn.Module, Tensor], Tensor],
        channels: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.name, self.body, self.channels, self.stride = name, body, channels, stride
        self.origin: dict[str, Any] = {}
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.body, x)


class _Torchvision(NamedTuple):
    make: Callable[[], nn.Module]
    channels: int


TORCHVISION = {
    "vgg16": _Torchvision(lambda: models.vgg16(init_weights=False), 512),
    "vgg16_bn": _Torchvision(lambda: models.vgg16_bn(init_weights=False), 512),
    "alexnet": _Torchvision(models.alexnet, 256),
}
"""Backbones that are torchvision's own, cut before the last pool: stride 16."""


def _last_map(body: nn.Module, x: Tensor) -> Tensor:
    return body.features(x)  # type: ignore[operator, no-any-return]


def _timm_map(body: nn.Module, x: Tensor) -> Tensor:
    return body.forward_intermediates(x, indices=1, output_fmt="NCHW", intermediates_only=True)[-1]  # type: ignore[operator, no-any-return]


def _torchvision(name: str) -> Backbone:
    with torch.device("meta"):  # the classifier's 100 million parameters are never allocated
        layers = list(TORCHVISION[name].make().features.children())  # type: ignore[union-attr]
    features = nn.Sequential(*layers[:-1], nn.Identity()).to_empty(device="cpu")
    for module in features.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.reset_parameters()
        # As torchvision.models.VGG does.
        if isinstance(module, nn.Conv2d) and name.startswith("vgg"):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    body = nn.Module()
    body.features = features
    return Backbone(name, body, _last_map, TORCHVISION[name].channels, stride=16)


def _timm(name: str, any_size: bool) -> Backbone:
    model_name = name.removeprefix("timm/")
    fixed = any_size and fixed_size_px(name) is not None
    try:
        options: dict[str, Any] = {"dynamic_img_size": True} if fixed else {}
        model = timm.create_model(model_name, pretrained=False, num_classes=0, **options)
    except TypeError:  # networks without this option take other sizes as they are, or never
        model = timm.create_model(model_name, pretrained=False, num_classes=0)
    info = getattr(model, "feature_info", None)
    if info is None or not hasattr(model, "forward_intermediates"):
        raise ValueError(
            f"timm model {name!r} has no feature map; choose one with forward_intermediates "
            "(resnet18, convnext_tiny, ...)"
        )
    model.prune_intermediate_layers(indices=1, prune_norm=True, prune_head=True)  # type: ignore[operator]
    last = info[-1] if isinstance(info, list) else info.get_dicts()[-1]
    net = Backbone(name, model, _timm_map, last["num_chs"], last["reduction"])
    if any_size:
        _try_another_size(net)
    return net


def fixed_size_px(name: str) -> int | None:
    """The side of the images that a network is made for, if its library makes it for one size."""
    config = timm.get_pretrained_cfg(name.removeprefix("timm/")) if "timm/" in name else None
    return config.input_size[-1] if config and config.fixed_input_size else None


def _try_another_size(net: Backbone) -> None:
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, 64, 96))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{net.name} takes images of one size only, but a detector's vary; choose a backbone "
            "that takes any size, such as timm/resnet50 or timm/convnext_tiny"
        ) from error
    net.train()


def check_all_trains(net: Backbone, size_px: int) -> None:
    """Refuse a network that slices of this size cannot train, or not all of it.

    Raises:
        ValueError: it has another size, or the slices are too small for its strides; or parts do
            not reach its deepest map, so they would stay as they began, and travel as if they were
            trained.
    """
    was_training = net.training
    try:
        net.eval()(torch.zeros(1, 3, size_px, size_px)).sum().backward()
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{net.name} cannot take slices of {size_px} px ({error}); change `inputs.size_px` or "
            "`backbone`"
        ) from error
    net.train(was_training)
    idle = sum(p.numel() for p in net.parameters() if p.requires_grad and p.grad is None)
    net.zero_grad()
    if idle:
        share = idle / sum(p.numel() for p in net.parameters())
        raise ValueError(
            f"{share:.0%} of {net.name} does not reach its deepest map and would stay untrained; "
            "choose another backbone, such as timm/resnet50 or timm/convnext_tiny"
        )


def build(name: str, *, any_size: bool = False) -> Backbone:
    """A backbone with its library's own random initialisation.

    Args:
        name: "vgg16" or "vgg16_bn" (conv1-conv5 without pool5, 512 channels, stride 16), "alexnet"
            (conv1-conv5, 256 channels, stride 16), or "timm/MODEL" for any timm model with a
            feature map (its deepest map is returned).
        any_size: let a network that timm makes for one image size (Swin, ViT) take others, as a
            detector needs. Features of that one size are unchanged.

    Raises:
        ValueError: the name is unknown (the message offers the nearest ones), the model has no
            feature map, or it takes one size only.
    """
    if name in TORCHVISION:
        return _torchvision(name)
    own = ", ".join(TORCHVISION)
    if not timm.is_model(name.removeprefix("timm/")) or not name.startswith("timm/"):
        known = [*TORCHVISION, *(f"timm/{m}" for m in timm.list_models())]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or difflib.get_close_matches(
            f"timm/{name}", known, n=3, cutoff=0.3
        )
        raise ValueError(
            f"unknown backbone {name!r}; nearest: {', '.join(near)}; allowed: {own}, timm/MODEL "
            f"of the installed timm {version('timm')}"
        )
    return _timm(name, any_size)
