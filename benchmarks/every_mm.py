"""What `score --every-mm` costs: the error of interpolated scores, in mm of the body.

    python -m benchmarks.every_mm --weights FILE --store STORE [--steps 5 10 20]

Every slice of a store is scored, and again as `--every-mm` would. The difference at the slices
between, over the slope of the series (score per mm, robust), is how far along the body the curve is
moved there. Series shorter than 40 mm or with r below 0.9 have no slope to speak of and are left
out. Rows go to results/every_mm.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.gridding import spaced
from ubr.pretrain.data.store import Store
from ubr.pretrain.reading.curve import pearson_r
from ubr.pretrain.reading.line import fit_line
from ubr.weights import Regressor, load
from ubr.weights.scorer import score_grid


def main(argv: Sequence[str] | None = None) -> None:
    """Score, compare, append rows."""
    options = parse(argv)
    weights, store = load(options.weights), Store.open(options.store)
    regressor = Regressor.from_weights(weights).eval()
    curves = []
    for row in store.rows():
        if row.z_mm[-1] >= 40:
            grid = to_grid(store, row, weights.inputs)
            curves.append((score_grid(regressor, grid).astype(np.float64), row.z_mm))
    curves = [(scores, z_mm) for scores, z_mm in curves if pearson_r(scores, z_mm) >= 0.9]
    rows = []
    for step in options.steps:
        errors, share = [], []
        for scores, z_mm in curves:
            taken = spaced(z_mm, step)
            between = np.setdiff1d(np.arange(len(z_mm)), taken)
            moved = np.interp(z_mm[between], z_mm[taken], scores[taken]) - scores[between]
            errors.append(np.abs(moved) / abs(fit_line(scores, z_mm).robust_slope))
            share.append(len(taken) / len(z_mm))
        mm = np.concatenate(errors)
        rows.append(
            {
                **provenance(weights.sha256(), 0),
                "store": store.fingerprint(row.key for row in store.rows())[:12],
                "backbone": weights.backbone,
                "every_mm": step,
                "series": len(curves),
                "interpolated": len(mm),
                "scored_share": round(float(np.mean(share)), 3),
                **{f"p{p}_mm": round(float(np.percentile(mm, p)), 2) for p in (50, 90, 99)},
                "max_mm": round(float(mm.max()), 1),
            }
        )
        print({name: rows[-1][name] for name in [*rows[-1]][-7:]}, f"at {step:g} mm")
    print(f"rows in {append('every_mm', rows)}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=float, nargs="+", default=[5.0, 10.0, 20.0], metavar="MM")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
