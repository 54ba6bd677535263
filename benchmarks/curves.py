"""Score curves of computed bodies, sound and with ascites (the paper, Fig. 2 and 4).

    python -m benchmarks.curves --work /scratch/table1 \\
        [--recipe quick|paper --start random --seeds 0]

Rows go to results/curves.csv, one per slice. The regressor is that of `benchmarks.table1` with the
same options, trained on sound bodies without labels. The bodies here are others, each scanned from
the neck to the thigh, and once more with its belly full of fluid. A phantom is drawn again from its
seed, so rows suffice to show its slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.common.bodies import drawn
from benchmarks.common.labelled_options import labelled_options, labelled_parser
from benchmarks.common.methods import Methods, has_row
from benchmarks.common.rows import append
from ubr.pretrain.reading.curve import pearson_r
from ubr.weights import Regressor
from ubr.weights.scorer import score_slices

FIRST, BODIES = 70_000, 6
"""Seeds of the bodies; those that are trained on begin at 0."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train unless that is done, score, append."""
    options = labelled_options(labelled_parser(__doc__).parse_args(argv))
    for recipe in options.recipes:
        row = options.columns(recipe)
        if has_row("curves", row):
            continue
        regressor = Methods(options.data, recipe, options.work).ubr(recipe.backbone)
        rows = [
            row | slice_row
            for body in range(FIRST, FIRST + BODIES)
            for ascites in (False, True)
            for slice_row in scored(regressor, body, ascites)
        ]
        append("curves", rows)


def scored(regressor: Regressor, body: int, ascites: bool) -> list[dict[str, object]]:
    """Score the scan of a body: one row per slice."""
    phantom = drawn(body, ascites)
    volume = phantom.volume
    scores = score_slices(regressor, volume.hu, volume.spacing_mm, volume.z_mm).astype(np.float64)
    r = round(pearson_r(scores, volume.z_mm), 5)
    print(f"body {body}{' with ascites' if ascites else ''}: r {r:.4f}", flush=True)
    return [
        {
            "body": body,
            "ascites": ascites,
            "r": r,
            "slice": i,
            "z_mm": round(float(z), 2),
            "part": part,
            "score": round(float(score), 4),
        }
        for i, (z, score, part) in enumerate(zip(volume.z_mm, scores, phantom.region, strict=True))
    ]


if __name__ == "__main__":
    main()
