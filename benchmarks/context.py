"""Where a series lies in the body: by slices, by the line of `position_mm`, or by a learned model.

    python -m benchmarks.context --data /data/ct --work /scratch/learning \
        --recipe lite --start FILE --computed 144 --licensed [--fold 0]

After `benchmarks.learning` with the same options, whose networks it takes. A small sequence model
(three convolutions over the pooled features of a series, resampled to 5 mm) learns positions on
computed scans, where the truth is known, and equal steps on the real scans of the training. It sees
no landmark. Its output is read as it is, and as the offset of a line. Rows go to
results/context.csv, one for each landmark that a held-out series shows.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.common.cohort import COMPUTED, Cohort, is_head
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.computed_truth import read_body_mm
from benchmarks.common.folds import remaining, run_folder, trained_regressor, untrained
from benchmarks.common.judging import MarkedCurve, in_context, landmark_error_mm
from benchmarks.common.landmarks import BONE, LANDMARKS
from benchmarks.common.rows import append
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.reading.context import MM_PER_UNIT
from ubr.weights import Regressor
from ubr.weights.body import showing
from ubr.weights.network import interpolated

STEP_MM = 5.0
EPOCHS, RATE, DECAY, WIDTH = 40, 2e-3, 0.02, 48
SHORTEST = 40
"""Steps of a piece that the model learns from; longer series are cut at random places."""
SLOPE = 0.7
"""Weight of the loss on real scans, for which only the distances between slices are known."""
Floats = NDArray[np.float64]
Reader = Callable[[MarkedCurve], Floats]


def main(argv: Sequence[str] | None = None) -> None:
    """Read each held-out series in four ways, append rows."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    cohort = options.cohort()
    columns = options.columns(cohort)
    truth = read_body_mm(options.work / COMPUTED / "labels.csv")
    for fold, held_out in remaining(cohort, options.fold, columns, "context"):
        folder = run_folder(options.runs, options.recipe, fold)
        regressor = trained_regressor(folder, cohort, options.recipe, held_out)
        found = judged(regressor, cohort, held_out, truth, options.recipe.seed)
        append("context", [{**columns, "fold": fold, **row} for row in found])
        print(f"fold {fold}\n{table(found)}", flush=True)


@dataclass(frozen=True)
class Sequence512:
    """A series as the model sees it: pooled features, standardised, every `STEP_MM`.

    features: `[1, 512, n]`. at: `[n]` mm below the first slice, over `MM_PER_UNIT`. truth: `[n]`
    places on the body axis, in the same unit, where they are known.
    """

    features: Tensor
    at: Tensor
    truth: Tensor | None


def judged(
    regressor: Regressor,
    cohort: Cohort,
    held_out: Sequence[str],
    truth: Mapping[str, Floats],
    seed: int,
) -> list[dict[str, object]]:
    """A row for each landmark of each held-out series."""
    unseen_by_it = set(untrained(cohort, held_out))
    curves, features = {}, {}
    for row in cohort.store.usable():
        trained = row.patient not in unseen_by_it
        if row.patient in held_out or cohort.marks(row) or trained:
            curves[row.key], features[row.key] = read(regressor, cohort, row)
    learned = [
        (features[key], curve.series.z_mm, truth.get(cohort.names[key].removeprefix("computed/")))
        for key, curve in curves.items()
        if curve.series.patient not in unseen_by_it
    ]
    model = trained_model(learned, seed)
    marked = [c for c in curves.values() if c.marks and not is_head(cohort.names[c.series.key])]
    by_model = [dataclasses.replace(c, scores=model(features[c.series.key], c)) for c in marked]
    readings = {
        "slices": marked,
        "line": in_context(marked),
        "model": by_model,
        "line of the model": in_context(by_model),
    }
    rows: list[dict[str, object]] = []
    for reading, of_reading in readings.items():
        known = [c for c in of_reading if c.series.patient not in held_out]
        for name in LANDMARKS:
            levels = [c.scores[c.marks[name]] for c in known if name in c.marks]
            rows += [
                {
                    "reading": reading,
                    "landmark": name,
                    "kind": "bone" if name in BONE else "soft",
                    "file": cohort.names[c.series.key],
                    "error_mm": error,
                }
                for c in of_reading
                if c.series.patient in held_out
                and (error := landmark_error_mm(c, name, levels)) != ""
            ]
    return rows


@torch.inference_mode()
def read(
    regressor: Regressor, cohort: Cohort, row: SeriesRow
) -> tuple[MarkedCurve, NDArray[np.float32]]:
    """A series' scores, and its pooled features `[n, 512]`."""
    grid = to_grid(cohort.store, row, regressor.inputs)
    taken = showing(row.body, np.arange(len(grid)))
    pooled = torch.cat([regressor.pool6(part) for part in torch.split(grid[taken], 64)])
    scores = interpolated(regressor.head.score(pooled).numpy(), row.z_mm, taken)
    curve = MarkedCurve(row, scores.astype(np.float64), cohort.marks(row))
    return curve, interpolated(pooled.numpy(), row.z_mm, taken)


class Model(nn.Module):
    """Features of a series `[1, 512, n]` -> places `[n]`: each sees some 25 cm around it."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Conv1d(512, WIDTH, 1)
        self.near = nn.Conv1d(WIDTH, WIDTH, 9, padding=4)
        self.far = nn.Conv1d(WIDTH, WIDTH, 9, padding=8, dilation=2)
        self.place = nn.Conv1d(WIDTH, 1, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.reduce(self.drop(features)).relu()
        hidden = hidden + self.near(hidden).relu()
        hidden = hidden + self.far(hidden).relu()
        place: Tensor = self.place(hidden)[0, 0]
        return place


def trained_model(
    learned: Sequence[tuple[NDArray[np.float32], Floats, Floats | None]], seed: int
) -> Callable[[NDArray[np.float32], MarkedCurve], Floats]:
    """What reads a series, by a model that learned from these (features, z_mm, truth)."""
    every = np.concatenate([features for features, _, _ in learned])
    mean, std = every.mean(0), every.std(0) + 1e-3

    def prepared(features: NDArray[np.float32], z_mm: Floats, truth: Floats | None) -> Sequence512:
        at = np.arange(0, z_mm[-1] + 1e-6, STEP_MM)
        place = np.interp(at, z_mm, np.arange(len(z_mm)))
        low, share = np.floor(place).astype(int), (place % 1)[:, None]
        high = np.minimum(low + 1, len(z_mm) - 1)
        known = (features - mean) / std
        between = known[low] * (1 - share) + known[high] * share
        body = None if truth is None else np.interp(at, z_mm, truth) / MM_PER_UNIT
        return Sequence512(
            torch.from_numpy(between.T[None]).float(),
            torch.from_numpy(at / MM_PER_UNIT).float(),
            None if body is None else torch.from_numpy(body).float(),
        )

    model = _fitted([prepared(*one) for one in learned], seed)

    def reading(features: NDArray[np.float32], curve: MarkedCurve) -> Floats:
        z_mm = curve.series.z_mm
        one = prepared(features, z_mm, None)
        with torch.inference_mode():
            places = model(one.features).numpy().astype(np.float64)
        found: Floats = np.interp(z_mm / MM_PER_UNIT, one.at.numpy(), places)
        return found

    return reading


def _fitted(learned: Sequence[Sequence512], seed: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        model = Model()
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        for _ in range(EPOCHS):
            for k in rng.permutation(len(learned)):
                optimizer.zero_grad()
                _loss(model, learned[k], rng).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with warnings.catch_warnings(action="ignore"):
                schedule.step()
    return model.eval()


def _loss(model: Model, one: Sequence512, rng: np.random.Generator) -> Tensor:
    count, first = len(one.at), 0
    if count > SHORTEST and rng.random() < 0.7:
        count = int(rng.integers(SHORTEST, len(one.at) + 1))
        first = int(rng.integers(0, len(one.at) - count + 1))
    piece = slice(first, first + count)
    features = one.features[..., piece]
    places = model(features + 0.2 * torch.randn_like(features))
    known = one.truth is not None
    off: Tensor = places - (one.at[piece] if one.truth is None else one.truth[piece])
    return off.abs().mean() if known else SLOPE * (off - off.mean()).abs().mean()


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Median and 90th percentile of the errors in mm, bone and soft apart."""
    lines = [f"{'reading':<20}{'':>6}{'n':>4}{'median':>8}{'90 %':>8}"]
    for reading in dict.fromkeys(str(row["reading"]) for row in rows):
        for kind in ("bone", "soft"):
            errors = [
                float(str(row["error_mm"]))
                for row in rows
                if (row["reading"], row["kind"]) == (reading, kind)
            ]
            if errors:
                q50, q90 = np.quantile(errors, [0.5, 0.9])
                lines.append(f"{reading:<20}{kind:>6}{len(errors):>4}{q50:>8.1f}{q90:>8.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
