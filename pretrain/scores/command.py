"""The command line `ubr-score`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...weights.common.commandline import Verb, main_of_one, show

if TYPE_CHECKING:
    from ...weights.common.options import Options

ABOUT = (
    "Score every slice of CT scans: a coordinate along the body, body parts, landmarks and "
    "findings, as tables in a folder."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    return main_of_one("ubr-score", Verb(_score, ABOUT, resumes=True), argv)


def _score(options: Options, words: Sequence[str]) -> None:
    from ...weights.common.messages import with_flags
    from .alone import score

    options.description = ABOUT
    options.add_argument(
        "sources", nargs="+", metavar="SCANS", help="files and folders with CT, in any order"
    )
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for the tables, or one that an interrupted command began",
    )
    options.add_argument(
        "--weights",
        default="released",
        metavar="FILE",
        help="an .onnx that ubr-pretrain export --to onnx made, or released (the bundled weights)",
    )
    options.add_argument(
        "--regions",
        metavar="FILE",
        help="a regions.json that ubr-pretrain calibrate made; released weights have their own",
    )
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may contain a patient's name",
    )
    options.offer(score, {"sources", "out", "weights", "regions", "with_paths"})
    options.offer_json("what was scored and what was left out")
    given = options.read(words)
    as_json = given.pop("json")
    scored = score(**given)
    show(scored.summary() if as_json else with_flags(scored.table(), options.flags()))
