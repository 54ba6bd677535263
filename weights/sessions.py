"""Networks under ONNX Runtime and OpenVINO on a CPU. Neither needs torch here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common.optional import optional
from .inputs import InputSpec, reference_hu
from .network import CPU_BATCH, Chosen, Floats, Infer

EXTRA = {"openvino": "fast", "onnx": "onnx"}


@dataclass(frozen=True)
class OnnxSession:
    """A model under ONNX Runtime: its metadata, its inputs and outputs by name, and how it runs.

    A shape holds a text where a side is free.
    """

    metadata: Mapping[str, str]
    inputs: Mapping[str, Sequence[int | str]]
    outputs: Mapping[str, Sequence[int | str]]
    infer: Infer


def with_onnx(model: bytes, threads: int) -> OnnxSession:
    """Open a model with ONNX Runtime.

    Raises `ValueError` where that is not installed, and whatever ONNX Runtime raises for a file
    that is no model.
    """
    runtime = needed("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what is wrong is raised
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    dtype = np.float32 if given.type == "tensor(float)" else np.int16

    def infer(grid: NDArray[np.int16]) -> tuple[Floats, Floats | None]:
        found = session.run(None, {given.name: grid.astype(dtype, copy=False)})
        return found[0], found[1] if len(found) > 1 else None

    inputs, outputs = (
        {one.name: one.shape for one in ends}
        for ends in (session.get_inputs(), session.get_outputs())
    )
    return OnnxSession(session.get_modelmeta().custom_metadata_map, inputs, outputs, infer)


def openvino() -> Any:
    """OpenVINO. Raises `ValueError` where it is not installed."""
    # It would send statistics of use to its makers; without this package it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return needed("openvino", "openvino")


def with_openvino(model: Any, shape: Sequence[int], streams: int, threads: int) -> Infer:
    """Compile a model of OpenVINO for batches of one shape."""
    model.reshape(list(shape))
    dtype = np.float32 if model.input(0).element_type.get_type_name() == "f32" else np.int16
    compiled = (
        openvino()
        .Core()
        .compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams * threads,
                "ENABLE_CPU_PINNING": False,  # readers want these cores too
            },
        )
    )
    outputs = len(compiled.outputs)
    mine = threading.local()

    def infer(grid: NDArray[np.int16]) -> tuple[Floats, Floats | None]:
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        mine.request.infer([grid.astype(dtype, copy=False)], share_inputs=True)
        found = [mine.request.get_output_tensor(k).data.copy() for k in range(outputs)]
        return found[0], found[1] if outputs > 1 else None

    return infer


def needed(module: str, runtime: Chosen) -> Any:
    """Import a module that a runtime needs. Raises `ValueError` where it is not installed."""
    return optional(module, extra=EXTRA[runtime], purpose=f"runtime {runtime!r}")


def trial(inputs: InputSpec) -> NDArray[np.int16]:
    """A batch on which runtimes are compared: the reference slice, brighter, darker and turned."""
    slices = reference_hu(inputs)
    turns = [np.rot90(slices, k, (1, 2)) for k in range(4)]
    batch = np.concatenate([turn + shift for shift in (-150, -50, 0, 100) for turn in turns])
    batch = batch[:CPU_BATCH].astype(np.int16)
    if inputs.neighbours_mm:
        batch = np.stack([np.roll(batch, 1, 0), batch, np.roll(batch, -1, 0)], axis=1)
    return np.ascontiguousarray(batch)
