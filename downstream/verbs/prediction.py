"""The verb that uses a detector: predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


def predict(options: Options, words: Sequence[str]) -> None:
    """A trained detector on scans."""
    from ..prediction.predicting import predict

    options.description = (
        "Look for lesions in every slice of scans, and link boxes across slices into findings. "
        "Repeat the command to resume it."
    )
    options.layout = {
        "Most used": ("out", "min_score", "top", "every_mm", "json"),
        "Detector": ("which", "scorer"),
        "Machine": ("device", "workers"),
        "Output": ("with_paths",),
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
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may hold a name",
    )
    options.offer(predict, {"run", "sources", "out", "with_paths"})
    options.offer_json("what was found and what was left out")
    given = options.read(words)
    as_json, paths = given.pop("json"), [Path(given.pop(name)) for name in ("run", "out")]
    predicted = predict(paths[0], given.pop("sources"), paths[1], **given)
    show(predicted.summary() if as_json else predicted.table())
