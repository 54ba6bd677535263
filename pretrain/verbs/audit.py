"""Verbs about whole archives: audit, select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

from .scores import REGIONS, WEIGHTS

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


def audit(options: Options, words: Sequence[str]) -> None:
    """What is in an archive."""
    from ..uses.audit.audit import audit

    options.description = (
        "Report for each series the stated and visible body parts, missing slices, orientation and "
        "modality. Repeat the command to resume it."
    )
    options.layout = {
        "Most used": ("out", "weights", "regions", "every_mm"),
        "Machine": ("device", "workers"),
        "Output": ("with_paths", "json"),
    }
    options.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a store, or files and folders with scans"
    )
    options.add_argument(
        "--out",
        required=True,
        metavar="AUDIT",
        help="a new folder for audit.csv, audit.html and summary.txt, or one that an interrupted "
        "command began",
    )
    options.add_argument("--weights", default="released", metavar="FILE", help=WEIGHTS)
    options.add_argument(
        "--regions", metavar="FILE", help=f"{REGIONS}; other weights name no parts without it"
    )
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also write where each series was read from; paths may contain a patient's name",
    )
    options.offer(audit, {"sources", "out", "weights", "regions", "with_paths"})
    options.offer_json("the counts of the summary")
    given = options.read(words)
    as_json = given.pop("json")
    audited = audit(**given)
    show(audited.summary.values() if as_json else audited.table())


def select(options: Options, words: Sequence[str]) -> None:
    """The best series of each study."""
    from ..uses.selected_files import Form
    from ..uses.selection import select

    options.description = (
        "Choose the best series of each study for a range of the body, from an audit: the one "
        "that shows all of it, in the finest even steps, with the fewest faults."
    )
    options.called = {"form": "as"}
    options.add_argument("audit", metavar="AUDIT", help="a folder that audit wrote")
    options.add_argument(
        "--want",
        required=True,
        metavar="PARTS",
        help='the parts that a series must show, e.g. "abdomen and pelvis"',
    )
    options.add_argument(
        "--out",
        metavar="PATH",
        help="a new .csv file for the list, or a new folder for links or copies; without it the "
        "choice is printed",
    )
    options.add_argument(
        "--as",
        type=Form,
        default="list",
        help="what is written: a list, or also links to the files of each chosen series, or "
        "copies of them",
    )
    options.add_argument(
        "--partial",
        action="store_true",
        help="where no series shows all of the range, choose one that shows a part of it",
    )
    options.offer(select, {"audit", "want", "out", "form", "partial"})
    given = options.read(words)
    given["form"] = given.pop("as")
    show(select(**given).table())
