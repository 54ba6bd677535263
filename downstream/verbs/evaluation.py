"""The verb that evaluates a detector: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


def evaluate(options: Options, words: Sequence[str]) -> None:
    """A trained detector on a split."""
    from ..evaluation import evaluate

    options.description = (
        "Evaluate a detector: recall, FROC and AP with 95 % intervals over patients, and pictures."
    )
    options.layout = {
        "Most used": ("out", "split", "which", "scans", "json"),
        "Detector": ("scorer",),
        "Machine": ("device", "workers"),
        "Output": ("pictures",),
    }
    options.add_argument("run", metavar="RUN", help="a run folder of ubr-detect train")
    options.add_argument("data", metavar="FOLDER", help="a folder in DeepLesion's layout")
    options.offer_json("the report")
    options.add_argument(
        "--scans",
        action="store_true",
        help="also look at every slice of the split's scans, as predict does, and score findings "
        "in 3-D; only for data that plant --whole wrote",
    )
    options.offer(evaluate, {"run", "data", "scans"})
    given = options.read(words)
    as_json, paths = given.pop("json"), [Path(given.pop(name)) for name in ("run", "data", "out")]
    done = evaluate(*paths, **given)
    show(done.report if as_json else str(done))
