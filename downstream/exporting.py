"""A trained detector for others, proven to find the same there.

* ONNX: HU in, boxes and scores out, for images of any size. The intensity contract is part of the
  graph.
* torchvision: its tensors, and Python that builds the model (`plain_torchvision`).

The view is part of neither: whoever runs them has to give slices with its neighbours, at its pixel
size. It stands in ONNX's metadata, under `ubr`, and in the Python's first lines.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ubr.weights.common import disk
from ubr.weights.common.checks import check_choice
from ubr.weights.common.claims import claiming
from ubr.weights.common.optional import optional

if TYPE_CHECKING:
    from torch import Tensor

    from ubr.weights import InputSpec

    from .detector import Detector
    from .slices import View

Target = Literal["onnx", "torchvision"]
ENDINGS: dict[Target, str] = {"onnx": ".onnx", "torchvision": ".pth"}
BOX_PX, SCORE = 0.05, 1e-3
"""Largest difference of boxes and scores that is accepted."""


@claiming("path")
def export(
    run: Path,
    path: Path,
    *,
    to: Target = "onnx",
    which: Literal["best", "last"] = "best",
    overwrite: bool = False,
) -> str:
    """Write a trained detector for another runtime, and verify that its detections agree.

    Args:
        run: a run folder of `ubr-detect train`.
        path: a new .onnx file; for torchvision a .pth file, beside which a .py file is written that
            builds the detector without this package. Missing parent folders are created.
        to: the format.
        which: "best" (by recall on the validation images) or "last".
        overwrite: replace an earlier export at the same path.

    Returns:
        A snippet that runs it.

    Raises:
        ValueError: there is no run, the detector takes positions, a package is missing, the path
            has the wrong ending, or something exists there.
        TransferError: the export's detections differ from the detector's.
    """
    from ubr.weights.exports import check_place

    from .evaluation import load_detector

    run, path = Path(run), Path(path).absolute()  # so that the snippet works from any folder
    check_choice("to", to, Target)
    for name in ("onnx", "onnxruntime") if to == "onnx" else ():
        optional(name, extra="onnx", purpose="exporting to ONNX")
    check_place(path, ENDINGS[to], overwrite)
    detector, recipe, inputs = load_detector(run, which)
    if recipe.position:
        raise ValueError(f"the detector in {run} takes positions, which an export cannot supply")
    with disk.whole(path) as part:
        if to == "onnx":
            return _to_onnx(detector, inputs, recipe.view, part, path)
        return _to_torchvision(detector, _backbone(run), inputs, recipe.view, part, path, overwrite)


def _backbone(run: Path) -> str:
    from ubr.weights.common import runs

    from .files import Config

    return str(runs.read_config(run, Config)["start"]["backbone"])


def _to_onnx(detector: Detector, inputs: InputSpec, view: View, part: Path, path: Path) -> str:
    import onnx
    import onnxruntime

    from ubr.weights.artifact import tensors_sha256
    from ubr.weights.exports.to_onnx import forget_the_machine

    about = {
        "inputs": inputs.to_dict(),
        "view": dataclasses.asdict(view),
        "detector_sha256": tensors_sha256(detector.state_dict()),
    }
    examples = _examples(inputs, view)
    _write(detector, inputs, examples[0], part)
    model = onnx.load(part)
    forget_the_machine(model.graph)
    onnx.helper.set_model_props(model, {"ubr": json.dumps(about)})
    onnx.save(model, part)
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    for hu in examples:
        found = session.run(["boxes", "scores"], {"hu": hu.numpy()})
        _compare(detector, inputs, hu, found, "onnxruntime")
    return _snippet(path, view)


def _to_torchvision(
    detector: Detector,
    backbone: str,
    inputs: InputSpec,
    view: View,
    part: Path,
    path: Path,
    overwrite: bool,
) -> str:
    from ubr.weights.artifact import tensors_sha256
    from ubr.weights.exports import put_beside

    from . import plain_torchvision as plain

    plain.write(detector, backbone, inputs, view, tensors_sha256(detector.state_dict()), part)
    examples = _examples(inputs, view)
    for hu, found in zip(examples, plain.found_without_us(part, examples), strict=True):
        _compare(detector, inputs, hu, [one.numpy() for one in found], "plain torchvision")
    put_beside([(plain.code_beside(part), plain.code_beside(path))], overwrite)
    return plain.snippet(path, view)


def _write(detector: Detector, inputs: InputSpec, hu: Tensor, part: Path) -> None:
    import torch
    from torch import nn

    class OnHu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
            return _found(self.detector, inputs, hu)

    sides = {1: "height", 2: "width"}
    with warnings.catch_warnings(action="ignore"):  # of values that are held constant: compared
        # What a detector keeps of its boxes depends on data, which torch.export refuses.
        torch.onnx.export(
            OnHu().eval(),
            (hu,),
            str(part),
            input_names=["hu"],
            output_names=["boxes", "scores"],
            dynamic_axes={"hu": sides, "boxes": {0: "found"}, "scores": {0: "found"}},
            opset_version=17,
            dynamo=False,
        )


def _found(detector: Detector, inputs: InputSpec, hu: Tensor) -> tuple[Tensor, Tensor]:
    from .dataset import to_image

    (found,) = detector([to_image(hu, inputs)])
    return found["boxes"], found["scores"]


def _examples(inputs: InputSpec, view: View) -> list[Tensor]:
    """Images of several sizes, `[channels, H, W]` HU."""
    import torch

    from ubr.weights.inputs import reference_slice

    side = max(64, min(2048, view.longest_px))
    hu = reference_slice(dataclasses.replace(inputs, size_px=side)).float()[0]
    planes = torch.stack([hu.roll(5 * c, 0) - 30 * c for c in range(view.channels)])
    return [
        planes[:, : max(32, round(side * tall)), : max(32, round(side * wide))].clone()
        for tall, wide in ((0.8, 1.0), (1.0, 0.65), (0.51, 0.47))
    ]


def _compare(
    detector: Detector, inputs: InputSpec, hu: Tensor, found: Sequence[Any], where: str
) -> None:
    """Raise `TransferError` where something else is found in an image.

    found: boxes and scores, NumPy's.
    """
    import torch

    from ubr.weights.receipts import TransferError

    with torch.no_grad():
        boxes, scores = (one.numpy() for one in _found(detector.eval(), inputs, hu))
    if len(found[0]) != len(boxes):
        raise TransferError(
            f"under {where} {len(found[0])} boxes are found in an image of "
            f"{' x '.join(map(str, hu.shape[1:]))} px, not {len(boxes)}"
        )
    far = float(abs(found[0] - boxes).max(initial=0)), float(abs(found[1] - scores).max(initial=0))
    if not (far[0] <= BOX_PX and far[1] <= SCORE):
        raise TransferError(
            f"boxes under {where} differ by {far[0]:.2g} px and scores by {far[1]:.2g} "
            f"(allowed: {BOX_PX:g} and {SCORE:g})"
        )


def _snippet(path: Path, view: View) -> str:
    neighbours = (
        f", the neighbours {view.distance_mm:g} mm apart from head to foot"
        if view.channels > 1
        else ""
    )
    return f"""import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(path)!r})
# HU [{view.channels}, H, W] of a slice at {view.mm_per_px:g} mm per pixel{neighbours}.
# The longer side is at most {view.longest_px} pixels.
hu = numpy.full(({view.channels}, 128, 160), -1000, numpy.float32)
boxes, scores = session.run(["boxes", "scores"], {{"hu": hu}})"""
