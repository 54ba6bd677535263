"""Weights to move about:

a network of every kind, its numbers moved off any initialisation, as training would.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ubr.weights import InputSpec, Regressor, Weights, build

BACKBONES = [
    "vgg16",
    "vgg16_bn",
    "alexnet",
    "timm/resnet18",
    "timm/resnet50",
    "timm/convnext_tiny",
    "timm/efficientnet_b0",
    "timm/mobilenetv3_large_100",
    "timm/densenet121",
    "timm/regnety_004",
    "timm/swin_tiny_patch4_window7_224",
    "timm/vit_tiny_patch16_224",
]
FIXED = {
    "timm/swin_tiny_patch4_window7_224": 224,
    "timm/vit_tiny_patch16_224": 224,
    "timm/test_vit": 160,
}
"""Networks that take one size only."""


def weights_of(name: str, seed: int = 0) -> Weights:
    """A regressor's weights after a training that never was; every tensor is other than a library
    would start it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        regressor = Regressor(
            build(name), InputSpec(size_px=FIXED.get(name, 64), window_hu=(-200.0, 300.0))
        )
    with torch.no_grad():
        for key, tensor in regressor.state_dict().items():
            if key.endswith("num_batches_tracked"):
                tensor.fill_(7 + seed)
            elif tensor.is_floating_point():
                tensor.add_(0.005 * torch.randn(tensor.shape, generator=generator))
                if key.endswith("running_var"):
                    tensor.abs_()
    return regressor.to_weights({"method": "test", "steps": 0}, "CC0-1.0")


@lru_cache
def kept(name: str, seed: int = 0) -> Weights:
    """The same, kept for all tests, 0.6 GB at most; not to be changed."""
    return weights_of(name, seed)
