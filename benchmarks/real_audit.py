"""What an audit says of real CT whose patients the weights have not seen, beside the truth.

    python -m benchmarks.real_audit WEIGHTS --data DATA --work WORK \\
        --split benchmarks/starts_split.csv

WEIGHTS were trained on the scans that the split trains on (`benchmarks.starts` lists them). These
scans also teach the regions, from the landmarks in DATA/catalog.csv. All others are audited. The
truth of a part is its length between the landmarks of the catalog; the audit is right about a
series if it names each part of at least LEAST_MM and no other. Rows go to results/real_audit.csv,
one per series.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.commandline import new_parser
from benchmarks.common.landmarks import LANDMARKS, PARTS, parts_of
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.uses.audit.audit import audit
from ubr.pretrain.uses.audit.tables import read_rows
from ubr.pretrain.uses.calibration import calibrate
from ubr.weights import load

LEAST_MM = 30.0
"""What a series must show of a part, as in an audit."""

Catalog = Mapping[str, Mapping[str, str]]


def main(argv: Sequence[str] | None = None) -> None:
    """Learn regions, audit, compare, append."""
    options = parse(argv)
    weights = load(options.weights)
    scans = {path.name: path for path in sorted(options.data.rglob("*.nii*"))}
    catalog = {Path(row["file"]).name: row for row in _table(options.data / "catalog.csv")}
    sides = {row["file"]: row["split"] for row in _table(options.split)}
    if absent := sorted(sides.keys() - (scans.keys() & catalog.keys())):
        raise SystemExit(f"{options.data} lacks {absent[0]}, which {options.split} names")
    known = [scans[name] for name in sides if sides[name] == "train"]
    others = [scans[name] for name in sides if sides[name] != "train"]
    regions = learned(options.weights, options.work, known, catalog)
    audit(
        others,
        options.work / "audit",
        weights=weights,
        regions=regions,
        with_paths=True,
        progress=False,
    )
    rows = []
    for found in read_rows(options.work / "audit"):
        name = Path(str(found["path"])).name
        truth = lengths_mm(catalog[name])
        seen = {part: float(str(found[f"{part}_mm"] or 0)) for part in PARTS}
        right = all((truth[part] >= LEAST_MM) == (seen[part] >= LEAST_MM) for part in PARTS)
        rows.append(
            {
                **provenance(weights.sha256(), 0),
                "file": name,
                **{f"{part}_mm": round(truth[part]) for part in PARTS},
                **{f"{part}_seen_mm": round(seen[part]) for part in PARTS},
                "right": "yes" if right else "no",
                "direction": found["direction"],
                "findings": found["findings"],
            }
        )
    append("real_audit", rows)
    print(f"{sum(row['right'] == 'yes' for row in rows)} of {len(rows)} series are right")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("weights", type=Path, help="trained on the split's scans for training")
    parser.add_argument("--data", type=Path, required=True, help="CT series with a catalog.csv")
    parser.add_argument("--split", type=Path, required=True, help="table with file, split")
    parser.add_argument("--work", type=Path, required=True, help="new folder for scores and audit")
    return parser.parse_args(argv)


def learned(weights: Path, work: Path, scans: Sequence[Path], catalog: Catalog) -> Path:
    """Regions from scans whose landmarks the catalog knows."""
    score(weights, scans, work / "labelled", with_paths=True, progress=False)
    lines: list[tuple[object, ...]] = [("series", "index", "part", "landmark")]
    for scan in scans:
        marks, z_mm = marks_of(catalog[scan.name])
        lines += [(scan, index, "", name) for name, index in marks.items()]
        lines += [(scan, index, part, "") for index, part in parts_of(marks, z_mm).items()]
    with (work / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    calibrate(work / "labelled", work / "labels.csv", work / "regions.json")
    return work / "regions.json"


def marks_of(row: Mapping[str, str]) -> tuple[dict[str, int], NDArray[np.float64]]:
    """The slices of a series' landmarks, and the positions of its slices in mm."""
    step_mm = float(row["spacing_mm"].split("x")[2])
    marks = {name: int(row[name]) for name in LANDMARKS if row[name]}
    return marks, step_mm * np.arange(int(row["slices"]), dtype=np.float64)


def lengths_mm(row: Mapping[str, str]) -> dict[str, float]:
    """How much of each part a series shows. Without a border in it, all is what its region says."""
    marks, z_mm = marks_of(row)
    counts = Counter(parts_of(marks, z_mm).values())
    if not marks:
        (only,) = (part for part in PARTS if part in row["region"])
        counts[only] = len(z_mm)
    return {part: counts[part] * float(z_mm[1] - z_mm[0]) for part in PARTS}


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
