"""BatchNorm layers, whose statistics are learned from batches beside the weights."""

from __future__ import annotations

from torch import nn


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """BatchNorm layers that hold statistics, including timm's with a built-in activation but not
    frozen ones.
    """
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def hold_norms(module: nn.Module) -> None:
    """Let BatchNorm layers use the statistics that they hold."""
    for norm in batch_norms(module):
        norm.eval()
