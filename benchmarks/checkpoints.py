"""Does a quality without labels tell which checkpoint of a training finds landmarks best? Rows in
results/checkpoints.csv.

    python -m benchmarks.checkpoints --data ../shared/ct --work /scratch/learning [--fold 0]

Trains the folds of `benchmarks.learning`, which takes the finished runs, and judges the network
`LOOKS` times on the held-out patients: without labels (r, share of ordered pairs, distance from
lines of one slope in mm) and with them (landmarks, parts). Training is not changed by being looked
at. Folds that have rows are skipped; a cut one goes on. With all folds there, prints Spearman's
correlations and what choosing would bring.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from scipy.stats import spearmanr

from benchmarks.learning import (
    command_line,
    described,
    folder_of,
    is_head,
    remaining,
    rows_alike,
    rows_of,
    stored,
    summary,
)
from benchmarks.rows import append
from ubr.pretrain.module import UBR
from ubr.pretrain.training import fit
from ubr.weights import Intervals

LOOKS = 15
QUALITIES = ("r", "ordered", "line_error_mm")
"""Without labels; the first two are better when larger."""


class Judge(Callback):
    """Judges a network in training every so many steps, a line of JSON each:

    a run that was cut and goes on repeats some.
    """

    def __init__(self, file: Path, every: int, *given: Any) -> None:
        self.file, self.every, self.given = file, every, given

    def on_train_batch_end(self, trainer: L.Trainer, module: UBR, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            module.eval()
            found = [
                {name: str(value) for name, value in row.items()}
                for row in rows_of(module.regressor, *self.given)
            ]
            module.train()
            trunk = [row for row in found if not is_head(row["file"])]
            seen = {q: float(np.median([float(row[q]) for row in trunk])) for q in QUALITIES}
            judged = summary(found)
            labelled = {
                name: judged[name] for name in ("landmark_error_mm_median", "part_accuracy")
            }
            with self.file.open("a") as file:
                line = {
                    "step": trainer.global_step,
                    **{f"trunk_{q}": round(v, 4) for q, v in seen.items()},
                    **labelled,
                }
                print(json.dumps(line), file=file)


def main() -> None:
    """Train, judge, append rows, correlate."""
    options, chosen = command_line(__doc__)
    cohort = stored(options.data, options.work)
    about, every = described(options, cohort, chosen), max(1, chosen.steps // LOOKS)
    for number, held_out in remaining(cohort, options.fold, about, "checkpoints"):
        run = folder_of(options.work, chosen, number)
        seen = run.with_suffix(".jsonl")
        judge = Judge(seen, every, cohort, held_out)
        fit(
            cohort.store,
            run,
            chosen,
            holdout=held_out,
            intervals=Intervals(validate_every=every),
            callbacks=[judge],
            license="none: for the benchmark only",
        )
        if not seen.exists():
            raise SystemExit(
                f"{run} was trained without being looked at; give another --work, or run this "
                "program first"
            )
        judged = {line["step"]: line for line in map(json.loads, seen.read_text().splitlines())}
        append(
            "checkpoints", [{**about, "fold": number, **judged[step]} for step in sorted(judged)]
        )
    print(told(rows_alike("checkpoints", about)))


def told(rows: list[dict[str, str]]) -> str:
    """A line a quality:

    its correlation with the landmarks' error within a fold, and what the checkpoint that it chooses
    has for one.
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
