"""How a training is executed: `Machine` says where, `Intervals` how often it reports.

Neither shapes the trained numbers, so neither is part of a recipe, and a resumed run may change
both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .checks import check_at_least, check_choices

DEVICES = "auto|cpu|cuda|cuda:N|mps"
"""The names of devices. Earlier versions also said gpu for cuda, which is understood."""
Place = Literal["auto", "gpu", "ram", "file"]
Runtime = Literal["auto", "torch", "openvino", "onnx"]
"""What computes scores (`ubr.weights.runtimes`)."""
LightRuntime = Literal["auto", "openvino", "onnx"]
"""The same where torch is not installed."""


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        devices: GPUs per node, or processes on a CPU; "auto" takes all GPUs, or one process on a
            CPU.
        nodes: number of machines; on SLURM, the job's number of nodes.
        workers: loader processes, if slices are read from files.
        place: where slices are kept while training: "gpu", "ram" or "file"; "auto" takes the first
            of these in which the slices need at most half of the free memory. Limits of a SLURM job
            or a container count. `ubr-detect` always reads files.
    """

    device: str = "auto"
    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    workers: int = 2
    place: Place = "auto"

    def __post_init__(self) -> None:
        check_choices(self)
        check_device(self.device)
        check_at_least(1, nodes=self.nodes)
        if self.devices != "auto":
            check_at_least(1, devices=self.devices)
        check_at_least(0, workers=self.workers)


@dataclass(frozen=True)
class Intervals:
    """How often a training validates, saves and reports.

    Args:
        validate_every: steps between two validations; the last step is validated, too.
        checkpoint_every: steps between checkpoints, the most that a kill can lose. Ctrl-C and
            SIGTERM save the current step.
        log_every: steps between two lines of metrics.jsonl.
        progress: show a progress bar, or an occasional line if there is no terminal.
    """

    validate_every: int = 100
    checkpoint_every: int = 100
    log_every: int = 10
    progress: bool = True

    def __post_init__(self) -> None:
        check_at_least(
            1,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
        )


def check_device(name: str) -> None:
    """Raise `ValueError` for a name that no device has on any machine."""
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d{1,3})?|mps", str(name)):
        raise ValueError(f"device must be one of {DEVICES.replace('|', ', ')}, got {name!r}")
