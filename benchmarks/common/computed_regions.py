"""Programs that judge audits of computed CT: their options, and the regions that they need.

The weights know computed CT, and the regions are learned from a few computed patients.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from benchmarks.common.archives import computed, write_series
from benchmarks.common.commandline import new_parser
from ubr.pretrain.phantom.scan import image
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.uses.calibration import calibrate

LABELLED = 12
"""Patients that are labelled."""


def computed_parser(about: str | None, seed: int) -> argparse.ArgumentParser:
    """A parser of what these programs share. seed: the first patient's, by default."""
    parser = new_parser(about)
    trained = "trained on phantoms of other seeds"
    parser.add_argument("--weights", type=Path, required=True, help=trained)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--seed", type=int, default=seed, help="of the first patient")
    return parser


def learned_regions(weights: Path, folder: Path, seed: int) -> Path:
    """Regions from computed patients whose parts are known; made once."""
    regions = folder / "regions.json"
    if regions.exists():
        return regions
    rng, labels = np.random.default_rng(seed), []
    for k in range(LABELLED):
        case = computed(seed + k, (0, 1045), rng)
        scan = folder / "scans" / f"{k:02d}"
        volume = image(case).volume
        numbers = np.arange(1, len(case.z_mm) + 1)
        write_series(scan, volume.hu, case.first_mm + case.z_mm, case.pixel_mm, numbers)
        labels += [(scan, index, part) for index, part in enumerate(case.region)]
    table = folder / "labels.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("series", "index", "part"), *labels])
    score(weights, [folder / "scans"], folder / "scores", workers=0, progress=False)
    calibrate(folder / "scores", table, regions)
    return regions
