"""What a training would need, from a few steps of it: time, memory, disk."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .progress import duration

BUDGET_S = 8.0
"""Seconds that measuring may take; a step under way is finished."""


@dataclass(frozen=True)
class Estimate:
    """What a training would need. Memory and disk are None where they cannot be known.

    done: steps that are saved; steps: of the whole run; step_s: seconds of a step; memory: bytes of
    a process, on the GPU if there is one; disk: bytes of what would be written; free: bytes that
    the disk has left.
    """

    done: int
    steps: int
    step_s: float
    memory: int | None
    disk: int
    free: int

    @property
    def seconds(self) -> float:
        """Of the steps that are left, without validation."""
        return self.step_s * (self.steps - self.done)

    def __str__(self) -> str:
        begins = f"would resume from step {self.done} of {self.steps}; " if self.done else ""
        memory = "unknown" if self.memory is None else f"about {_gb(self.memory)}"
        return (
            f"{begins}estimated from a few steps: {duration(self.seconds)} without validation "
            f"({self.step_s:.3g} s per step), memory {memory}, disk about {_gb(self.disk)} "
            f"({_gb(self.free)} free)"
        )

    def described(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "steps_done": self.done,
            "step_s": round(self.step_s, 4),
            "seconds": round(self.seconds, 1),
            "memory_bytes": self.memory,
            "disk_bytes": self.disk,
            "disk_free_bytes": self.free,
        }


def _gb(count: int) -> str:
    return f"{count / 1e9:.2g} GB" if count < 1e11 else f"{count / 1e9:.0f} GB"


@dataclass(frozen=True)
class Measured:
    """Of a process: seconds of a step, peak of memory, bytes of weights and of a checkpoint."""

    step_s: float
    memory: int | None
    weights: int
    checkpoint: int


def measure(
    module: Any,
    loss: Callable[[int, int], Tensor],
    parts: int,
    *,
    device: torch.device,
    bf16: bool,
) -> Measured:
    """Train a module for a few steps. It is of no use afterwards.

    Args:
        module: with `configure_optimizers`.
        loss: of a step's number and a count: the loss over so many of the step's parts.
        parts: groups or images of a step. Where a step takes too long, one of them is measured.
        device: where to train.
        bf16: compute in bf16.
    """
    module.to(device).train()
    optimizer = module.configure_optimizers()["optimizer"]

    def step(number: int, count: int) -> float:
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            value = loss(number, count)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    before = _peak(device)
    first = step(0, 1)  # it also chooses kernels and loads libraries, for seconds
    began = time.perf_counter()
    one = first if first > BUDGET_S else step(1, 1)
    factor, times = parts, [one * parts]
    if one * parts < BUDGET_S / 3:
        factor, times = 1, [step(2, parts)]
        while len(times) < 6 and time.perf_counter() - began < BUDGET_S:
            times.append(step(2 + len(times), parts))
    after, memory = _peak(device), None
    if before is not None and after is not None:
        memory = before + (after - before) * factor
    weights = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    states = [t for state in optimizer.state.values() for t in state.values()]
    kept = sum(t.numel() * t.element_size() for t in states if isinstance(t, Tensor))
    return Measured(statistics.median(times[1:] or times), memory, weights, weights + kept)


def _peak(device: torch.device) -> int | None:
    """The most memory that this process has had, on a GPU if that is where it trains."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that a path is or would be on."""
    path = path.absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free
