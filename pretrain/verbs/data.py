"""Verbs that make data: demo, phantom, ingest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options

    from ..data.ingestion import Ingested


def demo(options: Options, words: Sequence[str]) -> None:
    """Every step on synthetic CT."""
    from ..uses.demo import run_demo

    options.description = (
        "Run every step on synthetic CT: scans, store, training, scores, figure, export. This "
        "takes three to five minutes on two cores."
    )
    options.offer(run_demo)
    show(str(run_demo(**options.read(words))))


def phantom(options: Options, words: Sequence[str]) -> None:
    """Synthetic CT series."""
    from ..phantom.files import phantoms

    options.description = (
        "Write synthetic CT series with known body positions, for trying things out. Repeat the "
        "command to resume it."
    )
    options.offer(phantoms)
    show(str(phantoms(**options.read(words))))


def ingest(options: Options, words: Sequence[str]) -> None:
    """Scans of any format into a store."""
    from ..data.ingestion import ingest
    from ..data.store import Store

    options.description = (
        "Read CT series of any format and order into a store. Repeat the command to resume it."
    )
    options.layout = {
        "Most used": ("store", "dry", "json"),
        "Data": ("patients", "min_slices"),
        "Machine": ("workers", "scheduler"),
        "Output": ("with_paths",),
    }
    options.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files or folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series",
    )
    options.add_argument(
        "--store", required=True, metavar="FOLDER", help="the store; created if missing"
    )
    options.add_argument(
        "--dry", action="store_true", help="find series, but neither read pixels nor write anything"
    )
    options.offer_json("what was taken and what was left out")
    options.add_argument(
        "--with_paths",
        action="store_true",
        help="also name files by their paths, which may contain a patient's name",
    )
    options.offer(ingest, {"sources", "store", "dry"})
    given = options.read(words)
    as_json, with_paths = given.pop("json"), given.pop("with_paths")
    done = ingest(**given)
    show(_described(done, with_paths) if as_json else done.table(with_paths))
    if not done.would_take and (done.store / "store.json").exists():
        Store.open(done.store).usable()


def _described(done: Ingested, with_paths: bool) -> dict[str, Any]:
    """What `Ingested.table` shows, as plain values.

    A path stands only where the table would show it too.
    """
    from ..data.store import Store

    return {
        "taken": {
            "series": len(done.taken),
            "slices": sum(row.slices for row in done.taken),
            "replacing": done.replaced,
        },
        "already_there": done.already,
        "warnings": done.warnings(),
        "would_take": [
            {"series": Store.key(one), "kind": one.kind, "files": len(one.files)}
            | ({"path": min(one.files)} if with_paths else {})
            for one in done.would_take
        ],
        "patients_unmatched": done.unmatched,
        "left_out": [
            {"series": one.key or None, "reason": one.reason}
            | ({"path": one.path} if with_paths else {})
            for one in done.left_out
        ],
    }
