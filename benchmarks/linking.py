"""How boxes in slices are best linked into findings, judged on lesions planted in whole scans.

    ubr-detect plant /data/ct/torso --whole --split benchmarks/starts_split.csv \\
        --out /scratch/whole
    python -m benchmarks.linking /scratch/starts/RUN... --data /scratch/whole

Detectors look at every slice of the scans of validation and test once. Their boxes are linked by
each rule of `RULES`. The rule with the highest sensitivity on the patients of validation, averaged
over detectors and over 1 and 4 false positives per scan, is the chosen one. Rows go to
results/linking.csv: for validation every rule, for test no linking, the rule of `predict` and the
chosen one, with intervals by patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.downstream.evaluation import load_detector
from ubr.downstream.metrics import ImageResult, Sensitivity, intervals
from ubr.downstream.prediction.boxes import Boxes
from ubr.downstream.prediction.judging import IOU, LookedAt, look_at_scans
from ubr.downstream.prediction.linking import GAP_MM, MIN_SCORE, OVERLAP
from ubr.downstream.prediction.looking import Looker
from ubr.weights.common import runs
from ubr.weights.common.devices import to_device
from ubr.weights.common.stored import values_sha256

FPS = (1.0, 4.0)
"""False positives per scan."""
NONE = (MIN_SCORE, 1.0, 0.0)
"""No linking: no IoU is above 1, so every box is a finding."""
OURS = (MIN_SCORE, OVERLAP, GAP_MM)
RULES = [
    NONE,
    *product((0.05, MIN_SCORE), (0.1, 0.2, OVERLAP, 0.4, 0.5), (0.0, 5.0, GAP_MM, 15.0)),
]
"""Least score of a box, IoU above which it continues a finding, and the gap in mm."""

Rule = tuple[float, float, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Look, link, choose, append."""
    options = parse(argv)
    on_val = {run: by_rule(run, options.data, "val") for run in options.runs}
    chosen = max(
        RULES,
        key=lambda rule: sum(rows[rule][f"at_{fp:g}"] for rows in on_val.values() for fp in FPS),
    )
    for run, of_val in on_val.items():
        of_test = by_rule(run, options.data, "test")
        columns = columns_of(run, options.data)
        for split, rows in (
            ("val", of_val),
            ("test", {rule: of_test[rule] for rule in (NONE, OURS, chosen)}),
        ):
            for rule, values in rows.items():
                least, overlap, gap_mm = rule
                about = {"split": split, "least": least, "overlap": overlap, "gap_mm": gap_mm}
                mark = "yes" if rule == chosen else ""
                append("linking", [{**columns, **about, "chosen": mark, **values}])
                print(split, *rule, *(values[f"at_{fp:g}"] for fp in FPS))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of ubr-detect train")
    parser.add_argument("--data", type=Path, required=True, help="what plant --whole wrote")
    return parser.parse_args(argv)


def columns_of(run: Path, data: Path) -> dict[str, object]:
    """The columns of rows that name a detector and the scans."""
    config = runs.read_config(run)
    recipe = config["recipe"]
    return {
        **provenance(values_sha256(recipe), recipe["seed"]),
        "data": data.name,
        "run": run.name,
        "weights": config["start"]["weights_sha256"][:12],
    }


def by_rule(run: Path, data: Path, split: str) -> dict[Rule, dict[str, float]]:
    """What each rule gives on the scans of a split."""
    detector, recipe, inputs = load_detector(run, "last")
    to_device(detector, "auto")
    looker = Looker(detector, inputs, recipe.view)
    found: dict[Rule, list[ImageResult]] = {rule: [] for rule in RULES}
    for scan in look_at_scans(looker, data, split, least=min(rule[0] for rule in RULES)):
        for rule in RULES:
            found[rule].append(linked(scan, *rule))
    return {rule: row(results) for rule, results in found.items()}


def linked(scan: LookedAt, least: float, overlap: float, gap_mm: float) -> ImageResult:
    """A scan's boxes that are sure enough, linked."""
    boxes, sure = scan.boxes, scan.boxes.scores >= least
    kept = Boxes(boxes.index[sure], boxes.edges[sure], boxes.scores[sure])
    return replace(scan, boxes=kept).linked(overlap=overlap, gap_mm=gap_mm)


def row(results: Sequence[ImageResult]) -> dict[str, float]:
    """The columns that a rule gives."""
    found = intervals(results, Sensitivity(FPS, IOU))
    columns: dict[str, float] = {
        "scans": len(results),
        "patients": len({one.patient for one in results}),
        "lesions": sum(len(one.truth) for one in results),
        "findings": sum(len(one.scores) for one in results),
    }
    for fp, one in zip(FPS, found, strict=True):
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high)):
            columns[f"at_{fp:g}{end}"] = round(float(np.nan_to_num(value)), 4)
    return columns


if __name__ == "__main__":
    main()
