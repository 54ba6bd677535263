"""The device that a network runs on, by the name that a user gives."""

from __future__ import annotations

import torch
from torch import nn


def to_device(module: nn.Module, name: str) -> torch.device:
    """Move a network to a device and return it.

    Args:
        name: "auto" (a GPU if there is one), "cpu", "cuda" (or "gpu"), "cuda:1", "mps".

    Raises:
        ValueError: this machine does not have the device.
    """
    try:
        gpu = name == "gpu" or (name == "auto" and torch.cuda.is_available())
        device = torch.device("cuda" if gpu else "cpu" if name == "auto" else name)
        module.to(device)
    except (RuntimeError, AssertionError) as error:
        allowed = "auto, cpu, and what this machine has of cuda, cuda:1, mps"
        raise ValueError(f"device {name!r} cannot be used here; allowed: {allowed}") from error
    return device
