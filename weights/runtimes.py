"""Runtimes that make a regressor ready to score: torch, or something faster on a CPU.

OpenVINO and ONNX Runtime run the same float32 network. They are optional (extras `fast`, `onnx`),
and take seconds to prepare. A runtime is used only if its scores of a few slices equal torch's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import sessions
from .artifact import Weights
from .common.devices import to_device
from .common.execution import Runtime
from .network import (
    BATCH,
    CPU_BATCH,
    PARITY,
    Chosen,
    Floats,
    Infer,
    Network,
    Ready,
    apart,
    cpu_streams,
)
from .regressor import Regressor
from .sessions import needed, trial

WORTH: dict[Chosen, int] = {"openvino": 6_000, "onnx": 10_000}
"""Slices from which "auto" takes a runtime, the fastest first: fewer do not repay preparing it."""
NEEDS: dict[Chosen, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
}


def prepared(weights: Weights, device: str, choice: Runtime, *, features: bool) -> Ready:
    """As `scorable.prepared`."""
    regressor = Regressor.from_weights(weights).eval().requires_grad_(False)
    to_device(regressor.to(memory_format=torch.channels_last), device)

    def ready(slices: Callable[[], int]) -> tuple[Network, tuple[str, ...]]:
        name = chosen_runtime(choice, next(regressor.parameters()).device, slices())
        try:
            return network_of(regressor, name, features=features), ()
        except ValueError as error:
            if choice != "auto":
                raise
            why = str(error).replace("; use 'torch'", "; torch was used")
            return network_of(regressor, "torch", features=features), (why,)

    return ready


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
            needed(module, choice)
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
    streams, threads = cpu_streams(torch.get_num_threads())
    prepare = {"openvino": _with_openvino, "onnx": _with_onnx}[runtime]
    grid = torch.from_numpy(trial(regressor.inputs))
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
    difference = apart(infer(grid.numpy())[0], expected)
    if not difference <= PARITY:
        raise ValueError(
            f"scores under runtime {runtime!r} differ from torch's by {difference:.2g} (allowed: "
            f"{PARITY:g}); use 'torch'"
        )
    return Network(runtime, CPU_BATCH, streams, infer)


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
    streams, threads = cpu_streams(torch.get_num_threads())
    return Network("torch", CPU_BATCH, streams, infer, lambda: torch_threads(threads))


def _with_openvino(both: nn.Module, grid: Tensor, streams: int, threads: int) -> Infer:
    openvino = sessions.openvino()
    with torch.no_grad():
        model = openvino.convert_model(both, example_input=grid[:2])
    return sessions.with_openvino(model, tuple(grid.shape), streams, threads)


def _with_onnx(both: nn.Module, grid: Tensor, streams: int, threads: int) -> Infer:
    program = torch.onnx.export(
        both,
        (grid,),
        input_names=["hu"],
        output_names=["score", "features"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return sessions.with_onnx(program.model_proto.SerializeToString(), threads).infer


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what tracing and exporting print about a network that is checked afterwards."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
