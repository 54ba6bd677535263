"""The trunk under a consumer's own tensor names.

The trunk is kept under its library's names, so a layout is where those names sit in the consumer's model. torchvision's and timm's
ResNets use the same names, which makes a timm ResNet trunk a torchvision one as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
import torch
from torch import Tensor, nn
from torchvision import models

from .artifact import Weights
from .backbones import timm_map
from .transfer import TransferError

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@dataclass(frozen=True)
class Target:
    """A consumer's model: how a user makes it, and how we make it to check the transfer."""

    snippet: str
    make: Callable[[], nn.Module]
    features: Callable[[nn.Module, Tensor], Tensor]


HEADS = ("classifier.", "fc.", "head", "norm")
"""Where a consumer's model has tensors that UBR does not train."""


def _vgg_map(model: nn.Module, x: Tensor) -> Tensor:
    return model.features[:-1](x)  # type: ignore[index, operator, no-any-return]


def _resnet_map(model: nn.Module, x: Tensor) -> Tensor:
    return nn.Sequential(*list(model.children())[:-2])(x)  # type: ignore[no-any-return]


def _targets(backbone: str) -> dict[str, Target]:
    short = backbone.removeprefix("timm/")
    targets = {}
    if backbone in ("vgg16", "alexnet") or (backbone.startswith("timm/") and short in _RESNETS):
        features = _resnet_map if short in _RESNETS else _vgg_map
        made = f"import torch, torchvision\nmodel = torchvision.models.{short}()"
        targets["torchvision"] = Target(made, lambda: getattr(models, short)(), features)
    if backbone.startswith("timm/"):
        targets["timm"] = Target(f"import torch, timm\nmodel = timm.create_model({short!r})", lambda: timm.create_model(short), timm_map)
    return targets


def export(weights: Weights, path: str | Path, *, to: Literal["torchvision", "timm"] = "torchvision", overwrite: bool = False) -> str:
    """Write the trunk as a state dict that plain torchvision or timm loads, and prove that it arrived.

    The file is loaded back into the consumer's model before it gets its name. Beside it, `<path>.inputs.json` holds the input contract.

    Args:
        weights: to export.
        path: of the state dict (`.pth`).
        to: whose names.
        overwrite: replace an existing file.

    Returns:
        A snippet that loads the file.

    Raises:
        ValueError: the backbone has no such layout, or the file exists.
        TransferError: the consumer's model did not take every tensor.
    """
    path = Path(path)
    targets = _targets(weights.backbone)
    if to not in targets:
        raise ValueError(f"backbone {weights.backbone} has no layout {to!r}; it has: {', '.join(targets)}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; give another path or --overwrite")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder; make it, or give another path")
    part = path.with_name(f".{path.name}.part")
    try:
        torch.save(dict(weights.trunk), part)
        _prove(targets[to], part, weights)
        contract = path.with_name(path.name + ".inputs.json")
        contract.write_text(json.dumps(weights.inputs.to_dict(), indent=1) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return (
        f"{targets[to].snippet}\nloaded = model.load_state_dict(torch.load({str(path)!r}, weights_only=True), strict=False)\n"
        f"assert not loaded.unexpected_keys and all(k.startswith({HEADS}) for k in loaded.missing_keys), loaded"
    )


def _prove(target: Target, file: Path, weights: Weights) -> None:
    """The consumer's model takes every tensor, keeps nothing of its own but heads, and returns the features of our trunk."""
    model, state = target.make().eval(), torch.load(file, weights_only=True)
    loaded = model.load_state_dict(state, strict=False)
    unfilled = [name for name in loaded.missing_keys if not name.startswith(HEADS)]
    if loaded.unexpected_keys or unfilled:
        raise TransferError(f"the consumer's model has no place for {loaded.unexpected_keys[:3]} and would keep its own {unfilled[:3]}")
    probe = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = weights.build().eval()(probe), target.features(model, probe)
    if not torch.equal(ours, theirs):
        raise TransferError(f"features differ in the consumer's model by up to {(ours - theirs).abs().max():.2g}")
