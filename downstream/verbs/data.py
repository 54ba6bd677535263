"""Verbs about a data set: check, plant."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ubr.weights.common import disk
from ubr.weights.common.claims import claim
from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


def check(options: Options, words: Sequence[str]) -> None:
    """A folder in DeepLesion's layout, before training."""
    from ..preflight import check
    from ..recipes import RECIPES, recipe

    options.description = (
        "Check a folder in DeepLesion's layout before training; give the recipe and view that you "
        "will give to train. The exit status is 2 if there is a fault that would keep train from "
        "starting."
    )
    options.add_argument("folder", metavar="FOLDER", help="folder with DL_info.csv and Images_png")
    options.add_argument(
        "--manifest", metavar="FILE", help="also write the report to this file, as JSON"
    )
    options.add_argument(
        "--splits",
        nargs="*",
        metavar="SPLIT",
        help="splits whose images are read; by default all splits in the table",
    )
    options.offer_json("the report")
    options.offer(check, {"folder", "splits", "view"})
    options.add_argument(
        "--recipe", choices=tuple(RECIPES), default="small", help="the recipe of the training"
    )
    options.add_argument(
        "--view.channels", type=int, help="as given to train; by default the recipe's"
    )
    options.add_argument(
        "--view.distance_mm", type=float, help="as given to train; by default the recipe's"
    )
    given = options.read(words)
    manifest, as_json = given.pop("manifest"), given.pop("json")
    changed = {name: value for name, value in given.pop("view").items() if value is not None}
    view = dataclasses.replace(recipe(given.pop("recipe")).view, **changed)
    with claim(manifest) if manifest is not None else nullcontext():
        report = check(**given, view=view)
        show(report.manifest if as_json else report.table())
        if manifest is not None:
            disk.write_text(manifest, json.dumps(report.manifest, indent=1) + "\n")
    if not report.ok:
        raise ValueError(
            f"{len(report.faults)} kinds of faults, listed above; train would refuse to start"
        )


def plant(options: Options, words: Sequence[str]) -> None:
    """Known lesions in volumes."""
    from ..planting.scans import find_scans, read_split
    from ..planting.write import plant

    options.description = (
        "Plant known lesions in CT volumes and write them in DeepLesion's layout. Repeat the "
        "command to resume it."
    )
    options.add_argument(
        "source",
        metavar="STORE_OR_FOLDER",
        help="a store that ubr-pretrain ingest made, or a file or folder that it could read",
    )
    options.add_argument(
        "--patients",
        metavar="FILE",
        help="CSV file with the columns file, patient; by default catalog.csv beside the files, if "
        "there is one",
    )
    options.add_argument(
        "--whole",
        action="store_true",
        help="write every slice of each scan, not only those around key slices, and lesions.csv, "
        "which says where each lesion lies in 3-D, for evaluate --scans",
    )
    options.add_argument(
        "--split",
        metavar="FILE",
        help="CSV file with the columns patient, split (train, val or test); by default patients "
        "are split 70/15/15",
    )
    options.offer(plant, {"scans", "split", "whole"})
    given = options.read(words)
    given["split"] = read_split(given["split"]) if given["split"] else None
    source, patients = given.pop("source"), given.pop("patients")
    show(str(plant(find_scans(source, patients), **given)))
