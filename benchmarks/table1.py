"""The paper's Table 1, body parts of slices, and the scores of each part (Fig. 3a).

    python -m benchmarks.table1 --data phantom --work /scratch/table1 \\
        [--recipe quick|default|lite|paper --steps N --seeds 0 1 2 --only "supervised"]

Rows go to results/table1.csv, one per method, and results/histogram.csv. Every method learns from
the same patients and is tested on the labelled slices of the others. `many` are all labelled
volumes to learn from. `two` are pairs of them, of two patients, that show the three parts: the same
pairs for every method, and accuracy is the mean over them. The interval is over patients
(bootstrap), and over the pairs where there are some. Methods that have rows are skipped; a training
that was interrupted resumes. A method that diverges gets a row without an accuracy.

UBR is the recipe's. Those of `quick`, `default` and `lite` differ from the paper's in the position
loss instead of the distance loss, twice the paper's scale in the order loss, volumes balanced by
size, steps in mm, and random views with crops. A line of its own has the paper's losses instead,
and nothing else changed. `--recipe paper` has none of these.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.common.labelled_options import labelled_options, labelled_parser
from benchmarks.common.landmarks import PARTS
from benchmarks.common.methods import MEASURED, Methods, divergence_reported, has_row, measured
from benchmarks.common.rows import append
from benchmarks.common.tables import PAPER_TABLE1
from ubr.weights.common.callbacks import Diverged
from ubr.weights.scorer import score_grid

BINS = np.linspace(-20, 20, 81)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what has no rows, test, append."""
    options = labelled_options(labelled_parser(__doc__, only=list(PAPER_TABLE1)).parse_args(argv))
    for recipe in options.recipes:
        row = options.columns(recipe)
        methods = Methods(options.data, recipe, options.work)
        for method in methods.in_order():
            if options.only not in (None, method.name):
                continue
            named = {
                "method": method.name,
                "labelled": method.labelled,
                "pairs": method.pairs or "",
            }
            if has_row("table1", row | named):
                continue
            began = time.monotonic()
            try:
                found = measured(methods.correct(method.run()), methods.tested)
                said = f"{found['accuracy']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
            except Diverged as error:
                found = dict.fromkeys(MEASURED, "")
                said = f"diverged: {error}"
            more = {"backbone": method.backbone, **named, **found}
            minutes = round((time.monotonic() - began) / 60, 1)
            append("table1", [{**row, **more, "minutes": minutes}])
            print(f"seed {recipe.seed}  {method.name:<45} {said}", flush=True)
        if options.only is None and not has_row("histogram", row):
            with divergence_reported("histogram"):
                append("histogram", [{**row, **counted} for counted in histogram(methods)])


def histogram(methods: Methods) -> list[dict[str, object]]:
    """How many labelled slices of each part have a score in each bin."""
    regressor = methods.ubr(methods.recipe.backbone)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for row in methods.tested:
        scores = score_grid(regressor, methods.grid(row))
        for index, part in methods.data.parts[row.key].items():
            found[part].append(float(scores[index]))
    rows: list[dict[str, object]] = []
    for part in PARTS:
        counts, _ = np.histogram(np.clip(found[part], BINS[0], BINS[-1]), BINS)
        rows += [
            {"part": part, "from": BINS[i], "to": BINS[i + 1], "slices": int(n)}
            for i, n in enumerate(counts)
            if n
        ]
    return rows


if __name__ == "__main__":
    main()
