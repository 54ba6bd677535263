"""Verbs that use a detector: predict, export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


LISTED = ("out", "with_paths", "sr", "coco", "start", "end")
"""Parameters of `predict` that its verb offers with texts of its own."""


def predict(options: Options, words: Sequence[str]) -> None:
    """A trained detector on scans."""
    from ..prediction.predicting import predict

    options.description = (
        "Look for lesions in every slice of scans, and link boxes across slices into findings. "
        "Repeat the command to resume it."
    )
    options.layout = {
        "Most used": ("out", "min_score", "top", "every_mm", "json"),
        "Where in the body": ("body", "regions", "from", "to"),
        "Detector": ("which", "scorer"),
        "Machine": ("device", "workers"),
        "Output": ("sr", "coco", "with_paths"),
    }
    options.add_argument("run", metavar="RUN", help="a run folder of ubr-detect train")
    options.add_argument(
        "sources", nargs="+", metavar="SCAN", help="files and folders with scans, or a store"
    )
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for findings.csv, boxes.parquet and the other tables, or one that an "
        "interrupted command began",
    )
    options.called = {"start": "from", "end": "to"}
    level = "with --body: a landmark, a part, or a number, as for ubr-pretrain crop"
    options.add_argument("--from", metavar="LEVEL", help=f"where to start looking, {level}")
    options.add_argument("--to", metavar="LEVEL", help=f"where to stop looking, {level}")
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may contain a patient's name",
    )
    options.add_argument(
        "--sr",
        action="store_true",
        help="also write sr/SERIES.dcm, a DICOM Structured Report (extra dicom), for each DICOM "
        "series with findings; it names the patient, as DICOM requires",
    )
    options.add_argument(
        "--coco", action="store_true", help="also write boxes.json in COCO's format"
    )
    options.offer(predict, {"run", "sources", *LISTED})
    options.offer_json("what was found and what was left out")
    given = options.read(words)
    given["start"], given["end"] = given.pop("from"), given.pop("to")
    as_json, paths = given.pop("json"), [Path(given.pop(name)) for name in ("run", "out")]
    predicted = predict(paths[0], given.pop("sources"), paths[1], **given)
    show(predicted.summary() if as_json else predicted.table())


def export(options: Options, words: Sequence[str]) -> None:
    """A trained detector for another runtime."""
    from ..exporting import export

    options.description = (
        "Write a trained detector as ONNX or for torchvision, HU in and boxes out, verify that "
        "its detections agree, and print how to run it."
    )
    options.called = {"path": "out"}
    options.add_argument("run", metavar="RUN", help="a run folder of ubr-detect train")
    options.add_argument(
        "--out", required=True, metavar="FILE", help="an .onnx file, or a .pth file for torchvision"
    )
    options.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier export wrote there"
    )
    options.offer(export, {"run", "path", "overwrite"})
    given = options.read(words)
    run, path = Path(given.pop("run")), Path(given.pop("out"))
    show(export(run, path, **given))
