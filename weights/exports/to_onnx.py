"""ONNX: the whole regressor, `[N, S, S]` HU in, one score per slice out, for any N.

With neighbours the input is `[N, 3, S, S]`. The intensity contract is part of the graph, and all of
the contract is in the metadata, by which `ubr.weights.exported` scores without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..artifact import Weights
from ..common.optional import optional
from ..exported import KEY, metadata_of, sealed
from ..inputs import reference_slice
from ..network import PARITY, apart
from ..receipts import TransferError
from ..regressor import Regressor
from ..sessions import trial
from .common import Writer


class _Scorer(nn.Module):
    def __init__(self, regressor: Regressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, hu: Tensor) -> Tensor:
        return self.regressor.score(hu)


def _write_onnx(weights: Weights, layout: None, part: Path, path: Path) -> str:
    """Raise `ValueError` if a package or the head is missing.

    Raise `TransferError` if scores under onnxruntime differ by more than `PARITY`.
    """
    # torch's exporter is written in onnxscript.
    onnx, onnxruntime, _ = (
        optional(name, extra="onnx", purpose="exporting to ONNX")
        for name in ("onnx", "onnxruntime", "onnxscript")
    )
    scorer = _Scorer(Regressor.from_weights(weights)).eval()
    hu = reference_slice(weights.inputs).float()
    batch = torch.cat([hu, hu.flip(1), hu - 50])
    if weights.inputs.neighbours_mm:
        batch = torch.stack([batch, batch.roll(1, 0), batch - 100], dim=1)
    slices = torch.export.Dim("slices", min=1)
    program = torch.onnx.export(
        scorer,
        (batch,),
        input_names=["hu"],
        output_names=["score"],
        dynamic_shapes={"hu": {0: slices}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    with torch.no_grad():
        scores = scorer(torch.from_numpy(trial(weights.inputs)).float()).tolist()
    about = {
        "backbone": weights.backbone,
        "inputs": weights.inputs.to_dict(),
        "licence": weights.license,
        "provenance": dict(weights.provenance),
        "weights_sha256": weights.sha256(),
        "scores": scores,
    }
    forget_the_machine(model.graph)
    onnx.helper.set_model_props(model, {KEY: metadata_of(about)})
    part.write_bytes(sealed(model.SerializeToString()))
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    for some in (batch, batch[:1], torch.cat([batch] * 3)[:7]):
        with torch.no_grad():
            expected = scorer(some)
        (found,) = session.run(["score"], {"hu": some.numpy()})
        difference = apart(found, expected.numpy())
        if found.shape != expected.shape or not difference <= PARITY:
            raise TransferError(
                f"scores under onnxruntime differ by {difference:.2g} (allowed: {PARITY:g})"
            )
    shape = ", ".join(map(str, batch.shape[1:]))
    return f"""import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(path)!r})
# Slices on the contract's grid, in HU.
hu = numpy.full((5, {shape}), -1000, numpy.float32)
(scores,) = session.run(["score"], {{"hu": hu}})"""


def forget_the_machine(graph: Any) -> None:
    """Remove what the exporter notes for debugging: stack traces hold the installation's path."""
    for one in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        one.ClearField("doc_string")
        one.ClearField("metadata_props")
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")


WRITER = Writer(_write_onnx, ".onnx")
