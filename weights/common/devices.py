"""The device that a network runs on, by the name that a user gives."""

from __future__ import annotations

import torch
from torch import nn

from .execution import check_device


def pick_device(name: str) -> torch.device:
    """The device that a name stands for on this machine.

    Args:
        name: "auto" (a GPU of CUDA or ROCm if there is one, else the CPU), "cpu", "cuda",
            "cuda:1", "mps".

    Raises:
        ValueError: no device is called so, or this machine does not have it.
    """
    check_device(name)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has = {"cpu": 1, "cuda": gpus, "mps": int(torch.backends.mps.is_available())}
    called = {"auto": "cuda" if gpus else "cpu", "gpu": "cuda"}.get(name, name)
    device = torch.device(called)
    if (device.index or 0) >= has[device.type]:
        there = [kind for kind, count in has.items() if count]
        there += [f"cuda:{number}" for number in range(gpus)]
        raise ValueError(f"device {name!r} is not available; this machine has {', '.join(there)}")
    return device


def to_device(module: nn.Module, name: str) -> torch.device:
    """Move a network to a device and return it. Raises as `pick_device`."""
    device = pick_device(name)
    module.to(device)
    return device
