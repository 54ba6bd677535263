"""Score curves of computed bodies, sound and with ascites (the paper, Fig. 2 and 4): rows in
results/curves.csv, one a slice.

    python -m benchmarks.curves --work /scratch/table1 [--recipe small|paper --start random --seeds 0]

The regressor is that of `benchmarks.table1` with the same options, trained on sound bodies without
labels. The bodies here are others, each scanned from the neck to the thigh, and once more with its
belly full of fluid. A phantom is drawn anew from its seed, so that rows suffice to show its slices.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rows import append
from benchmarks.table1 import Table, about, command_line, has_row
from ubr.pretrain.data.gridding import grid_of
from ubr.pretrain.phantom import Phantom, make
from ubr.pretrain.reading.curve import pearson_r
from ubr.pretrain.scores.scoring import scores_of

FIRST, BODIES = 70_000, 6
"""Seeds of the bodies; those that are trained on begin at 0."""
TOP_MM, BOTTOM_MM = 280.0, 925.0
"""Of the scan, below the vertex of a body of 1750 mm."""


def main() -> None:
    """Train unless that is done, score, append."""
    options, data, recipes = command_line(__doc__)
    for recipe in recipes:
        row = about(options, data, recipe)
        if has_row("curves", row):
            continue
        regressor = Table(data, recipe, options.work).ubr(recipe.backbone)
        rows = []
        for body in range(FIRST, FIRST + BODIES):
            for ascites in (False, True):
                phantom = drawn(body, ascites)
                volume = phantom.volume
                scores = scores_of(regressor, grid_of(recipe.inputs, volume)).astype(np.float64)
                r = round(pearson_r(scores, volume.z_mm), 5)
                for i, (z, score, part) in enumerate(
                    zip(volume.z_mm, scores, phantom.region, strict=True)
                ):
                    told = {
                        "z_mm": round(float(z), 2),
                        "part": part,
                        "score": round(float(score), 4),
                    }
                    rows.append(
                        {**row, "body": body, "ascites": ascites, "r": r, "slice": i, **told}
                    )
                print(f"body {body}{' with ascites' if ascites else ''}: r {r:.4f}", flush=True)
        append("curves", rows)


def drawn(body: int, ascites: bool) -> Phantom:
    """The scan of a body."""
    return make(body, ascites=ascites, top=TOP_MM, bottom=BOTTOM_MM)


if __name__ == "__main__":
    main()
