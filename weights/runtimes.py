"""Runtimes: what computes the scores of batches, torch or something faster on a CPU.

OpenVINO and ONNX Runtime run the same float32 network. They are optional (extras `fast`, `onnx`),
and take seconds to prepare. A runtime is used only if its scores of a few slices equal torch's.

Batches have one size, the last one is padded, and each slice is computed in the same way wherever
in a batch it lies. Its score therefore does not depend on the slices that it is scored with.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .common.execution import Runtime
from .common.optional import optional
from .inputs import reference_slice
from .regressor import Regressor

Chosen = Literal["torch", "openvino", "onnx"]
Floats = NDArray[np.float32]

PARITY = 1e-4
"""Largest difference of a score from torch's; relative to the score if that is above 1."""
WORTH: dict[Chosen, int] = {"openvino": 6_000, "onnx": 10_000}
"""Slices from which "auto" takes a runtime, the fastest first: fewer do not repay preparing it."""
EXTRA = {"openvino": "fast", "onnx": "onnx"}
NEEDS = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript")}
BATCH = 64
"""Slices per forward pass on a GPU: enough to fill it at 128 pixels."""
CPU_BATCH = 16
"""On a CPU: what a layer gives to the next stays in the cache, and as many fit as run at once."""
MOST_STREAMS = 8
"""Batches that run at once on a CPU. With more cores than these, each batch gets several."""


@dataclass(frozen=True)
class Network:
    """A regressor that is ready to score batches.

    runtime: what computes. batch: slices in each call. streams: calls that may run at once, each
    from a thread of its own. infer: `[batch, ...]` int16 HU on the contract's grid -> scores
    `[batch]`, and the features `[batch, 512]` they are made of, or None.
    """

    runtime: Chosen
    batch: int
    streams: int
    infer: Callable[[NDArray[np.int16]], tuple[Floats, Floats | None]]


def chosen_runtime(choice: Runtime, device: torch.device, slices: int) -> Chosen:
    """What a choice means for so many slices on a device.

    Raises `ValueError` for a runtime that is not installed, or does not run on the device.
    """
    if choice == "auto":
        if device.type == "cpu":
            for name, least in WORTH.items():
                if slices >= least and all(find_spec(module) for module in NEEDS[name]):
                    return name
        return "torch"
    if choice == "torch":
        return choice
    if device.type != "cpu":
        raise ValueError(
            f"runtime {choice!r} runs on a CPU, and device is {device}; use runtime 'torch' or "
            "device 'cpu'"
        )
    for module in NEEDS[choice]:
        if not find_spec(module):
            optional(module, extra=EXTRA[choice], purpose=f"runtime {choice!r}")
    return choice


def network_of(regressor: Regressor, runtime: Chosen, *, features: bool = False) -> Network:
    """Make a regressor ready.

    Args:
        regressor: in evaluation mode, on its device; for other runtimes than torch the CPU.
        runtime: what computes.
        features: whether `infer` gives features too.

    Raises:
        ValueError: the runtime cannot run this network, or gives other scores than torch.
    """
    if runtime == "torch":
        return _with_torch(regressor, features)
    streams, threads = cpu_streams()
    prepare = {"openvino": _with_openvino, "onnx": _with_onnx}[runtime]
    grid = _trial(regressor)
    try:
        with _quiet():
            infer = prepare(_Both(regressor), grid, streams, threads)
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # whatever a layer that it does not know leads to
        raise ValueError(
            f"runtime {runtime!r} cannot run {regressor.backbone.name} ({type(error).__name__}); "
            "use 'torch'"
        ) from None
    with torch.inference_mode():
        expected = regressor.score(grid).numpy()
    apart = float((np.abs(infer(grid.numpy())[0] - expected) / np.maximum(1, abs(expected))).max())
    if not apart <= PARITY:
        raise ValueError(
            f"scores under runtime {runtime!r} differ from torch's by {apart:.2g} (allowed: "
            f"{PARITY:g}); use 'torch'"
        )
    return Network(runtime, CPU_BATCH, streams, infer)


def cpu_streams() -> tuple[int, int]:
    """Batches that run at once, and threads for each: as many in all as torch would use."""
    streams = min(torch.get_num_threads(), MOST_STREAMS)
    return streams, max(1, torch.get_num_threads() // streams)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads in each thread that begins inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Both(nn.Module):
    """Scores and features of slices in HU."""

    def __init__(self, regressor: Regressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.regressor.pool6(hu)
        return self.regressor.head.score(pooled), pooled


Infer = Callable[[NDArray[np.int16]], tuple[Floats, Floats | None]]


def _with_torch(regressor: Regressor, features: bool) -> Network:
    device = next(regressor.parameters()).device

    @torch.inference_mode()
    def infer(grid: NDArray[np.int16]) -> tuple[Floats, Floats | None]:
        hu = torch.from_numpy(grid).to(device)  # int16 travels; it becomes input there
        if not features:
            return regressor.score(hu).cpu().numpy(), None
        pooled = regressor.pool6(hu)
        return regressor.head.score(pooled).cpu().numpy(), pooled.cpu().numpy()

    if device.type != "cpu":
        return Network("torch", BATCH, 1, infer)
    return Network("torch", CPU_BATCH, cpu_streams()[0], infer)


def _with_openvino(both: nn.Module, grid: Tensor, streams: int, threads: int) -> Infer:
    # OpenVINO would send statistics of use to its makers; without this package it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    openvino: Any = optional("openvino", extra="fast", purpose="runtime 'openvino'")
    with torch.no_grad():
        model = openvino.convert_model(both, example_input=grid[:2])
    model.reshape(list(grid.shape))
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            "ENABLE_CPU_PINNING": False,  # readers want these cores too
        },
    )
    mine = threading.local()

    def infer(grid: NDArray[np.int16]) -> tuple[Floats, Floats | None]:
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        mine.request.infer([grid], share_inputs=True)
        scores, pooled = (mine.request.get_output_tensor(k).data.copy() for k in (0, 1))
        return scores, pooled

    return infer


def _with_onnx(both: nn.Module, grid: Tensor, streams: int, threads: int) -> Infer:
    onnxruntime: Any = optional("onnxruntime", extra="onnx", purpose="runtime 'onnx'")
    program = torch.onnx.export(
        both,
        (grid,),
        input_names=["hu"],
        output_names=["score", "features"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def infer(grid: NDArray[np.int16]) -> tuple[Floats, Floats | None]:
        scores, pooled = session.run(None, {"hu": grid})
        return scores, pooled

    return infer


def _trial(regressor: Regressor) -> Tensor:
    """A batch on which runtimes are compared: the reference slice, brighter, darker and turned."""
    slices = reference_slice(regressor.inputs)
    turns = [torch.rot90(slices, k, (1, 2)) for k in range(4)]
    batch = torch.cat([turn + shift for shift in (-150, -50, 0, 100) for turn in turns])
    batch = batch[:CPU_BATCH].contiguous()
    if regressor.inputs.neighbours_mm:
        batch = torch.stack([batch.roll(1, 0), batch, batch.roll(-1, 0)], dim=1)
    return batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what tracing and exporting print about a network that is checked afterwards."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
