"""Whether a quality that needs no labels chooses the checkpoint that finds landmarks best.

    python -m benchmarks.checkpoints --data /data/ct --work /scratch/learning [--fold 0]

Rows go to results/checkpoints.csv. The program trains the folds of `benchmarks.learning`, which
takes the finished runs, and judges the network `LOOKS` times on the held-out patients: without
labels (r, share of ordered pairs, distance from lines of one slope in mm) and with them (landmarks,
parts). Judging does not change the training. Folds that have rows are skipped; a fold that was
interrupted resumes. At the end, the program prints Spearman's correlations, and the error of the
checkpoints that each quality chooses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from scipy.stats import spearmanr

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.folds import LICENSE, remaining, run_folder, untrained
from benchmarks.common.judging import rows_of, summary
from benchmarks.common.rows import append, matching
from ubr.pretrain.module import UBR
from ubr.pretrain.training import fit
from ubr.weights import Intervals

LOOKS = 15
QUALITIES = ("r", "ordered", "line_error_mm")
"""Without labels; the first two are better when larger."""


class Judge(Callback):
    """Judges a network every so many steps of its training.

    It appends one line of JSON each time. A run that was interrupted and resumes repeats some.
    """

    def __init__(self, file: Path, every: int, cohort: Cohort, held_out: Sequence[str]) -> None:
        self.file, self.every, self.cohort, self.held_out = file, every, cohort, held_out

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Judge if it is time."""
        if trainer.global_step % self.every:
            return
        assert isinstance(pl_module, UBR)
        pl_module.eval()
        found = [
            {name: str(value) for name, value in row.items()}
            for row in rows_of(pl_module.regressor, self.cohort, self.held_out)
        ]
        pl_module.train()
        trunk = [row for row in found if not is_head(row["file"])]
        seen = {q: float(np.median([float(row[q]) for row in trunk])) for q in QUALITIES}
        of_all = summary(found)
        line = {
            "step": trainer.global_step,
            **{f"trunk_{q}": round(value, 4) for q, value in seen.items()},
            **{name: of_all[name] for name in ("landmark_error_mm_median", "part_accuracy")},
        }
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, judge, append rows, correlate."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    recipe, cohort = options.recipe, options.cohort()
    columns, every = options.columns(cohort), max(1, recipe.steps // LOOKS)
    for fold, held_out in remaining(cohort, options.fold, columns, "checkpoints"):
        run = run_folder(options.runs, recipe, fold)
        seen = run.with_suffix(".jsonl")
        fit(
            cohort.store,
            run,
            recipe,
            holdout=untrained(cohort, held_out),
            intervals=Intervals(validate_every=every),
            callbacks=[Judge(seen, every, cohort, held_out)],
            license=LICENSE,
        )
        if not seen.exists():
            raise SystemExit(
                f"{run} was trained without being judged; give another --work, or run this "
                "program first"
            )
        judged = {line["step"]: line for line in map(json.loads, seen.read_text().splitlines())}
        append(
            "checkpoints", [{**columns, "fold": fold, **judged[step]} for step in sorted(judged)]
        )
    print(correlations(matching("checkpoints", columns, ("config", "data_sha256"))))


def correlations(rows: Sequence[Mapping[str, str]]) -> str:
    """One line per quality, as text.

    It has the quality's correlation with the error of landmarks within a fold, and the error of the
    checkpoint that the quality chooses.
    """
    by_fold = [
        [row for row in rows if row["fold"] == fold]
        for fold in sorted({row["fold"] for row in rows})
    ]
    errors = [
        np.array([float(row["landmark_error_mm_median"]) for row in fold]) for fold in by_fold
    ]
    last, best = np.median([e[-1] for e in errors]), np.median([e.min() for e in errors])
    lines = [
        f"landmarks' error, median of {len(by_fold)} folds: last checkpoint {last:.1f} mm, best "
        f"{best:.1f} mm"
    ]
    for quality in QUALITIES:
        sign = 1 if quality == "line_error_mm" else -1
        seen = [
            sign * np.array([float(row[f"trunk_{quality}"]) for row in fold]) for fold in by_fold
        ]
        rho = [float(spearmanr(s, e).statistic) for s, e in zip(seen, errors, strict=True)]
        chosen = np.median([e[s.argmin()] for s, e in zip(seen, errors, strict=True)])
        lines.append(
            f"{quality}: Spearman {np.median(rho):.2f} ({min(rho):.2f} to {max(rho):.2f}) over "
            f"{len(errors[0])} checkpoints of a fold; "
            f"the checkpoint that it chooses {chosen:.1f} mm"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
