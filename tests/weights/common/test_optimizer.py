"""Parameter groups, schedules and precision are those of the recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.made.toys import toy_recipe
from ubr.weights.common.optimizer import build_optimizer, parameter_groups, pick_precision
from ubr.weights.common.recipes import cosine_rate, stepwise_rate


def shapes(groups: list[dict[str, object]]) -> list[list[tuple[int, ...]]]:
    return [[tuple(p.shape) for p in group["params"]] for group in groups]  # type: ignore[attr-defined]


def test_parameter_groups__decay_weights_and_have_biases_apart_where_asked() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    recipe = toy_recipe(lr=0.1, weight_decay=0.01)
    apart = parameter_groups(net.named_parameters(), recipe, 2.0)
    assert shapes(apart) == [[(4, 3, 1, 1)], [(4,)], [(4,), (4,)]]
    assert [(g["lr"], g["weight_decay"]) for g in apart] == [(0.1, 0.01), (0.1, 0), (0.2, 0)]
    together = parameter_groups(net.named_parameters(), recipe)
    assert shapes(together) == [[(4, 3, 1, 1)], [(4,), (4,), (4,)]]
    assert parameter_groups([], recipe) == []


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_build_optimizer__is_the_recipes(name: str, kind: type) -> None:
    recipe = toy_recipe(optimizer=name, momentum=0.8, lr=0.1, steps=40, schedule="cosine")
    groups = parameter_groups(nn.Linear(2, 2).named_parameters(), recipe)
    built = build_optimizer(groups, recipe)
    assert type(built["optimizer"]) is kind
    assert built["optimizer"].defaults.get("momentum", 0.8) == 0.8
    assert built["lr_scheduler"]["scheduler"].get_last_lr() == [0.1 * recipe.rate(0)] * 2


def test_rates__in_closed_form() -> None:
    assert [stepwise_rate(s, 100, (0.5, 0.75)) for s in (0, 49, 50, 75)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )
    assert [cosine_rate(s, 100) for s in (0, 4, 5, 100)] == pytest.approx([0.2, 1, 1, 0.01])


def test_pick_precision__does_as_asked() -> None:
    assert pick_precision("32", "vgg16", "cuda") == "32-true"
    assert pick_precision("bf16", "vgg16", "cpu") == "bf16-mixed"
    assert pick_precision("auto", "timm/test_convnext", "cpu") == "32-true"
    assert pick_precision("auto", "vgg16", "mps") == "32-true"
