"""A small ONNX that scores by darkness, as `scores.darkness` does, written without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ubr.weights.inputs import InputSpec
from ubr.weights.sessions import trial

from .scores import INPUTS, darkness

SHA256 = "d" * 64


def about_of(of: InputSpec = INPUTS, **others: Any) -> dict[str, Any]:
    """What the metadata say of it."""
    return {
        "backbone": "timm/test_resnet",
        "inputs": of.to_dict(),
        "licence": "none",
        "weights_sha256": SHA256,
        "provenance": {},
        "scores": darkness(None, trial(of)).tolist(),
        **others,
    }


def onnx_file(path: Path, about: object | None = ..., side: int = INPUTS.size_px) -> Path:
    """Write the file. about: the metadata, None for none. side: of the slices that it takes."""
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["hu", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "darkness",
        [helper.make_tensor_value_info("hu", floats, ["slices", side, side])],
        [helper.make_tensor_value_info("score", floats, ["slices"])],
        [
            helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("factor", floats, [], [-0.1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = about_of() if about is ... else about
    if about is not None:
        helper.set_model_props(model, {"ubr": json.dumps(about)})
    onnx.save(model, path)
    return path
