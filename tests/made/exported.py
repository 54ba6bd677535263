"""A small ONNX that scores by darkness, as `scores.darkness` does, written without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.weights.exported import metadata_of, sealed
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


def onnx_file(
    path: Path,
    about: object | None = ...,
    side: int = INPUTS.size_px,
    *,
    elsewhere: Path | None = None,
) -> Path:
    """Write the file.

    about: the metadata, None for none. side: of the slices that it takes. elsewhere: the file that
    it says its factor is in, which is written too.
    """
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["hu", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["score"]),
    ]
    factor = helper.make_tensor("factor", floats, [], [-0.1])
    if elsewhere is not None:
        elsewhere.write_bytes(np.float32(-0.1).tobytes())
        factor.ClearField("float_data")
        factor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": str(elsewhere), "offset": "0", "length": "4"}.items():
            factor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        nodes,
        "darkness",
        [helper.make_tensor_value_info("hu", floats, ["slices", side, side])],
        [helper.make_tensor_value_info("score", floats, ["slices"])],
        [helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2]), factor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = about_of() if about is ... else about
    has_scores = isinstance(about, dict) and "scores" in about
    if about is not None:
        text = metadata_of(about) if has_scores else json.dumps(about)
        helper.set_model_props(model, {"ubr": text})
    content = model.SerializeToString()
    path.write_bytes(sealed(content) if has_scores else content)
    return path
