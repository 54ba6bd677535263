"""Networks that are about to be filled are made without random numbers, and are whole."""

from __future__ import annotations

import pytest
import torch
import torchvision

from tests.made.networks import kept
from ubr.weights import build
from ubr.weights.common.zeroed import Zeroed


@pytest.mark.parametrize("name", ["vgg16", "timm/resnet18", "timm/swin_tiny_patch4_window7_224"])
def test_zeroed__only_what_is_random_is_zero(name: str) -> None:
    state = torch.get_rng_state()
    with Zeroed():
        body = build(name).body
    assert torch.equal(torch.get_rng_state(), state)
    drawn = build(name).body.state_dict()
    for tensor, zeroed in body.state_dict().items():
        fixed = len(drawn[tensor].unique()) <= 2 or not drawn[tensor].is_floating_point()
        assert torch.equal(zeroed, drawn[tensor]) if fixed else not zeroed.any(), tensor


def test_zeroed__ends_with_the_context() -> None:
    with Zeroed():
        assert not torchvision.models.alexnet().classifier[1].weight.any()
    assert torchvision.models.alexnet().classifier[1].weight.any()


def test_build__of_weights_takes_nothing_from_the_random_numbers() -> None:
    weights = kept("timm/resnet18")
    state = torch.get_rng_state()
    body = weights.build().body.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(body[name], tensor) for name, tensor in weights.trunk.items())
