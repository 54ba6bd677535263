"""From a recipe to torch: parameter groups, optimizer and schedule, precision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from .recipes import Precision, TrainingRecipe

PLAIN = ("vgg", "alexnet", "resnet")
"""Families of plain convolutions, which a CPU with matrix units computes faster in bf16."""


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    recipe: TrainingRecipe,
    bias_lr_factor: float | None = None,
) -> list[dict[str, Any]]:
    """Groups of named parameters: weight decay applies to weights only, not to biases and norms.

    Args:
        bias_lr_factor: learning rate of biases relative to `recipe.lr`. They are then a group of
            their own. Checkpoints hold the groups, so a method keeps its choice.
    """
    weights, others, biases = [], [], []
    for name, parameter in parameters:
        if parameter.ndim > 1:
            weights.append(parameter)
        elif bias_lr_factor is not None and name.endswith("bias"):
            biases.append(parameter)
        else:
            others.append(parameter)
    groups = [
        {"params": weights, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        {"params": others, "lr": recipe.lr, "weight_decay": 0.0},
        {"params": biases, "lr": recipe.lr * (bias_lr_factor or 0.0), "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(groups: list[dict[str, Any]], recipe: TrainingRecipe) -> dict[str, Any]:
    """The recipe's optimizer and its schedule, as Lightning's `configure_optimizers` returns
    them.
    """
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=recipe.momentum, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def pick_precision(
    asked: Precision, backbone: str, device: str
) -> Literal["32-true", "bf16-mixed"]:
    """The precision that a recipe's "auto" stands for on a kind of device, or the one asked for.

    "auto" takes bf16 where it is faster: on GPUs that compute in it (from Ampere on; older ones
    only emulate it), and for plain convolutions on a CPU with matrix units (AMX). It is slower on
    other CPUs, and for depthwise convolutions.
    """
    if asked != "auto":
        return "bf16-mixed" if asked == "bf16" else "32-true"
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        plain = any(family in backbone for family in PLAIN)
        fast = device == "cpu" and plain and torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast else "32-true"
