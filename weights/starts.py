"""Where a trunk's numbers come from before training: random, ImageNet, or a file.

A random start is never passed off as anything else: what cannot be had raises, and says what to do on a machine without internet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor
from torchvision import models

from . import artifact
from .backbones import Backbone, build
from .inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from .transfer import load_into

_TORCHVISION: dict[str, Any] = {"vgg16": models.VGG16_Weights.IMAGENET1K_V1, "alexnet": models.AlexNet_Weights.IMAGENET1K_V1}


def start(backbone: str, source: str = "random", *, inputs: InputSpec | None = None, seed: int = 0) -> Backbone:
    """A backbone ready to train.

    Args:
        backbone: a name that `build` takes.
        source: "random"; "imagenet" (torchvision's or timm's weights, from their cache or the internet); or a file: weights of this
            project,
            or a state dict of torchvision or timm (.safetensors, .pth) for machines without internet.
        inputs: the contract of the coming training; checked against the one of the file.
        seed: of the random numbers.

    Raises:
        ValueError: no such file, another backbone or contract, or no way to get ImageNet weights.
        TransferError: the file does not hold the whole trunk.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(backbone)
    if source == "random":
        return net
    if source == "imagenet":
        _check_imagenet_scale(inputs)
        tensors = _imagenet(backbone)
    else:
        tensors = _file(Path(source), backbone, inputs)
    names = net.body.state_dict()
    load_into(net.body, {name: t for name, t in tensors.items() if name in names})
    return net


def _check_imagenet_scale(inputs: InputSpec | None) -> None:
    if inputs is not None and (min(inputs.std) < 0.1 or max(inputs.std) > 0.5 or min(inputs.mean) < 0 or max(inputs.mean) > 1):
        raise ValueError(
            f"ImageNet weights expect a 0..1 window with mean near {IMAGENET_MEAN} and std near {IMAGENET_STD}, "
            f"got mean {inputs.mean} and std {inputs.std}"
        )


def _imagenet(backbone: str) -> dict[str, Tensor]:
    try:
        if backbone in _TORCHVISION:
            return dict(_TORCHVISION[backbone].get_state_dict(progress=False, check_hash=True))
        return dict(timm.create_model(backbone.removeprefix("timm/"), pretrained=True, num_classes=0).state_dict())
    except Exception as error:  # urllib, huggingface_hub and timm each have their own
        raise ValueError(
            f"no ImageNet weights for {backbone} in the cache, and none could be downloaded ({type(error).__name__}); offline, copy the "
            "file from a machine with internet and give it as --start FILE, or use --start random"
        ) from error


def _file(path: Path, backbone: str, inputs: InputSpec | None) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"unknown start {str(path)!r}: not 'random', 'imagenet' or an existing file")
    if path.suffix == ".safetensors":
        if artifact.metadata(path) is None:
            return safetensors.torch.load_file(path)
        weights = artifact.load(path)
        if weights.backbone != backbone:
            raise ValueError(
                f"{path}: weights of {weights.backbone}, the recipe's backbone is {backbone}; give --backbone {weights.backbone}"
            )
        if inputs is not None and _intensity(weights.inputs) != _intensity(inputs):
            raise ValueError(
                f"{path}: trained with window_hu, mean, std {_intensity(weights.inputs)}, the recipe has {_intensity(inputs)}; "
                "use the file's"
            )
        return dict(weights.trunk)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: not a state dict that opens without executing code ({type(error).__name__})") from error
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise ValueError(f"{path}: a state dict maps names to tensors; this file holds something else")
    return loaded


def _intensity(inputs: InputSpec) -> tuple[object, ...]:
    return inputs.window_hu, inputs.mean, inputs.std
