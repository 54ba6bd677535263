"""How often `benchmarks.starts` would call equal starts different: the statistics, tried on drawn
counts.

    python -m benchmarks.equal_starts

Rows go to results/equal_starts.csv: the share of comparisons of two equal starts whose p, before
correction, is below 0.05, and the share whose 95 % interval does not hold 0. Patients differ in how
easily their lesions are found, trainings in luck. `suits` is the between-patient variance of the
difference between starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.comparison import LEVEL, differences
from benchmarks.common.intervals import wilson
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append

COMPARISONS = 1000
SIZES = ((8, 5), (12, 6), (26, 5))
"""Patients and seeds; the first are those of `starts.csv`."""
SUITS = (0.0, 0.04, 0.1)
"""In `starts.csv` differences scatter by 0.05 to 0.07 from patient to patient, as with 0.04."""
LESIONS, RECALL, EASE, LUCK = 200, 0.45, 0.1, 0.02


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, compare, append rows."""
    new_parser(__doc__).parse_args(argv)
    drawn_as = f"{COMPARISONS} {SIZES} {SUITS} {LESIONS} {RECALL} {EASE} {LUCK}"
    columns = provenance(hashlib.sha256(drawn_as.encode()).hexdigest(), 0)
    for patients, seeds in SIZES:
        for suits in SUITS:
            rng = np.random.default_rng(0)
            found = [
                differences(equal_starts(rng, patients, seeds, suits))[0]
                for _ in range(COMPARISONS)
            ]
            different = sum(one.p < LEVEL for one in found)
            share, low, high = wilson(different, COMPARISONS)
            row = {
                "patients": patients,
                "seeds": seeds,
                "suits": suits,
                "comparisons": COMPARISONS,
                "p_below_0.05": round(share, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "without_0": round(
                    sum(not one.low <= 0 <= one.high for one in found) / COMPARISONS, 4
                ),
            }
            append("equal_starts", [columns | row])
            print(row, flush=True)


def equal_starts(
    rng: np.random.Generator, patients: int, seeds: int, suits: float
) -> list[dict[str, str]]:
    """Rows, as those of `starts.csv`, of two starts that find lesions equally often."""
    about = {name: "" for name in ("data_sha256", "config", "backbone", "intensity", "weights")}
    about |= {"share": "0.1", "pretraining": "", "lesions": f"{LESIONS}"}
    ease = rng.normal(0, EASE, patients)
    rows = []
    for start in ("random", "imagenet"):
        own = rng.normal(0, suits, patients)
        for seed in range(seeds):
            chance = np.clip(RECALL + ease + own + rng.normal(0, LUCK), 0, 1)
            for patient, found in enumerate(rng.binomial(LESIONS, chance)):
                counted = {"seed": f"{seed}", "patient": f"{patient}", "found": f"{found}"}
                rows.append({**about, "start": start, **counted})
    return rows


if __name__ == "__main__":
    main()
