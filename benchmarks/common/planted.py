"""Lesion data in DeepLesion's layout: a folder that has it, or lesions planted in scans."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ubr.downstream import check, plant
from ubr.downstream.planting.scans import find_scans, read_split
from ubr.downstream.recipes import DetectorRecipe, recipe
from ubr.pretrain.data.scans import is_store
from ubr.pretrain.phantom.files import phantoms
from ubr.weights.common import disk

PHANTOMS = 64
PHANTOM_PX = 256
"""1.5 to 2 mm a pixel: small lesions are some pixels wide."""


def add_lesion_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where lesions come from."""
    parser.add_argument(
        "--data",
        required=True,
        help="phantom, a folder of scans, a store, or a folder in DeepLesion's layout",
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for planted lesions and runs"
    )
    parser.add_argument("--per-scan", type=int, default=6, help="lesions planted per study")
    parser.add_argument("--studies", type=int, default=24, help="studies planted per scan")
    parser.add_argument(
        "--split",
        type=Path,
        help="table with the columns patient, split, of what is planted; without it patients are "
        "split 70/15/15",
    )


def lesion_folder(
    given: str, work: Path, per_scan: int, studies: int, split: Path | None = None
) -> tuple[Path, dict[str, object]]:
    """A folder in DeepLesion's layout, and the columns of rows that name it and give its digest.

    It is `given` itself, or a folder below `work` with lesions planted in the scans of `given`.
    Beside planted ones, `<folder>-pretraining.txt`, which is written last, lists the scans that may
    be learned from without labels: all but those of patients who are validated or tested on.
    """
    data = Path(given)
    name = data.resolve().name
    if not (data / "DL_info.csv").is_file():
        by = f"-{split.stem}" if split else ""
        planted = work / f"planted-{name}-{per_scan}-{studies}{by}"
        listed = planted.with_name(f"{planted.name}-pretraining.txt")
        if not listed.is_file():
            try:
                if given == "phantom":
                    data = phantoms(
                        work / "phantom", n=PHANTOMS, form="nifti", size_px=PHANTOM_PX
                    ).folder
                scans = find_scans(data)
                parts = read_split(split) if split else None
                made = plant(scans, planted, per_scan=per_scan, studies=studies, split=parts)
            except ValueError as error:
                raise SystemExit(str(error)) from None
            free = [
                str(Path(scan.source).resolve())
                for scan in scans.unread
                if not is_store(data)
                and (parts or made.split).get(scan.patient, "train") == "train"
            ]
            disk.write_text(listed, "\n".join(free) + "\n")
            print(made)
        data = planted
    report = check(data)
    if not report.ok:
        raise SystemExit(report.table())
    return data, {"data": name, "data_sha256": report.digest[:12]}


def seeded(name: str, steps: int | None, seed: int) -> DetectorRecipe:
    """The detector's recipe of this name with a seed, and with other steps if they are given."""
    chosen = recipe(name)
    augment = dataclasses.replace(chosen.augment, seed=seed)
    return dataclasses.replace(chosen, steps=steps or chosen.steps, seed=seed, augment=augment)
