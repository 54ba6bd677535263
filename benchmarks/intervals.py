"""95 % intervals of the figures on real CT, and of intact series that are flagged.

    python -m benchmarks.intervals

Nothing is measured here: tables are made from the committed rows, and docs/benchmarks/results.md
holds them. Figures over series have an interval by patients: all series of a patient are drawn
together (bootstrap). Where one line stands for several seeds, the figure is their mean, and seeds
are drawn as well. Shares of single tests have Wilson's interval, which takes the tests for
independent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cohort import is_head, patient_of
from benchmarks.common.commandline import new_parser
from benchmarks.common.folds import DEVELOPMENT
from benchmarks.common.intervals import wilson
from benchmarks.common.landmarks import BONE, LANDMARKS
from benchmarks.common.rows import read
from ubr.pretrain.reading.context import MM_PER_UNIT

Rows = Sequence[Mapping[str, str]]
Statistic = Callable[[Rows], float]

RUNS = {"bd81f0a2310f": "`default`", "2567a061a2f2": "half, seed 0", "763ef5ee0e2a": "half, seed 1"}
"""By configuration: trainings of `learning.csv`."""
RELEASED = "ct+144, licensed, without OpenKBP"
"""The data of `learning.csv` that released weights are trained on."""
READINGS = {"scores": "", "positions": "_context"}
"""How landmarks and parts are told, and how such columns of `learning.csv` end."""
JUDGES = {
    "da2cac739758": "intact synthetic series that are flagged",
    "287f6a3a1064": "the same by `released-1`",
}
"""By digest: weights of `faults.csv`."""
DRAWS = 1000
LONG_MM, LOW_R, AIM_MM = 200.0, 0.95, 20.0


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    new_parser(__doc__).parse_args(argv)
    print("\n\n".join("\n".join(table()) for table in TABLES))


def learning_table() -> list[str]:
    """A line for each figure of `learning.csv`, a column for each training."""
    lines = ["| unseen series | series; patients | " + " | ".join(RUNS.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(RUNS))
    of_run = [[row for row in read("learning") if row["config"] == config] for config in RUNS]
    for name, (chosen, statistic, shown) in figures().items():
        rows = [[row for row in run if chosen(row)] for run in of_run]
        count = f"{len(rows[0])}; {len({patient_of(row['file']) for row in rows[0]})}"
        cells = [as_text(*by_patients([run], statistic), shown) for run in rows]
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return lines


def released_runs() -> list[Rows]:
    """The rows of the outer folds by the recipe of the released weights, a list for each seed."""
    rows = [r for r in read("learning") if r["data"] == RELEASED and r["fold"] != DEVELOPMENT]
    return [[r for r in rows if r["seed"] == seed] for seed in sorted({r["seed"] for r in rows})]


def released_series_table() -> list[str]:
    """A line for each figure over whole series."""
    runs = released_runs()
    lines = [f"| unseen series | series; patients | mean of {len(runs)} seeds | single seeds |"]
    lines.append("|---|---|---|---|")
    names = ("heads: median r", "torsos longer than 20 cm: median r", "of these, r below 0.95")
    of_series = {name: figures()[name] for name in names}
    parted = figures()["three parts, thresholds from two volumes"][0]
    for by, reading in READINGS.items():
        of_series[f"three parts by {by}, thresholds from two volumes"] = (
            parted,
            functools.partial(part_accuracy, reading=reading),
            "{:.1%}",
        )
    for name, (chosen, statistic, shown) in of_series.items():
        taken = [[row for row in run if chosen(row)] for run in runs]
        count = f"{len(taken[0])}; {len({patient_of(row['file']) for row in taken[0]})}"
        each = ", ".join(shown.format(statistic(run)) for run in taken).replace("%", " %")
        found = as_text(*by_patients(taken, statistic), shown)
        lines.append(f"| {name} | {count} | {found} | {each} |")
    return lines


def released_landmark_table() -> list[str]:
    """A line for each landmark, and for bone and soft ones together."""
    columns = [f"by {by}: {name}" for by in READINGS for name in ("median", "nine of ten within")]
    columns.append("scores of patients apart (SD)")
    lines = ["| error in mm | landmarks; patients | " + " | ".join(columns) + " |"]
    lines.append("|---|---|" + "---|" * len(columns))
    kinds: dict[str, Sequence[str]] = {"bone": BONE}
    kinds["soft"] = [name for name in LANDMARKS if name not in BONE]
    kinds |= {name.replace("_", " "): [name] for name in LANDMARKS}
    for name, names in kinds.items():
        taken = [[row for row in run if _shows(names)(row)] for run in released_runs()]
        count = f"{errors(taken[0], names).size}; {len({patient_of(r['file']) for r in taken[0]})}"
        cells = [
            as_text(*by_patients(taken, _error_at(names, reading, q)), "{:.0f}")
            for reading in READINGS.values()
            for q in (0.5, 0.9)
        ]
        cells.append(
            as_text(*by_patients(taken, functools.partial(apart_mm, names=names)), "{:.0f}")
        )
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return lines


def _error_at(names: Sequence[str], reading: str, q: float) -> Statistic:
    return lambda rows: float(np.quantile(errors(rows, names, reading), q))


def _shows(names: Sequence[str]) -> Callable[[Mapping[str, str]], bool]:
    """Whether a series of a torso has an error of one of these landmarks."""
    return lambda row: not is_head(row["file"]) and errors([row], names).size > 0


def figures() -> dict[str, tuple[Callable[[Mapping[str, str]], bool], Statistic, str]]:
    """By name: which series count, the figure, and how it is shown."""

    def long(row: Mapping[str, str]) -> bool:
        return not is_head(row["file"]) and float(row["length_mm"]) > LONG_MM

    marked = _shows(LANDMARKS)

    def parted(row: Mapping[str, str]) -> bool:
        return not is_head(row["file"]) and bool(row["part_accuracy"])

    def median_error(name: str) -> Statistic:
        return lambda rows: float(np.median(errors(rows, [name])))

    found = {
        "heads: median r": (lambda row: is_head(row["file"]), median_r, "{:.3f}"),
        "torsos longer than 20 cm: median r": (long, median_r, "{:.3f}"),
        "of these, r below 0.95": (long, share_low, "{:.0%}"),
        "landmarks: median error, mm": (marked, lambda r: float(np.median(errors(r))), "{:.0f}"),
        "nine of ten within, mm": (marked, lambda r: float(np.quantile(errors(r), 0.9)), "{:.0f}"),
        "errors above 20 mm": (marked, lambda r: float(np.mean(errors(r) > AIM_MM)), "{:.0%}"),
        "three parts, thresholds from two volumes": (parted, part_accuracy, "{:.1%}"),
    }
    names = {name: name.replace("_", " ") for name in LANDMARKS}
    return found | {
        f"{names[name]}: median error, mm": (_shows([name]), median_error(name), "{:.0f}")
        for name in LANDMARKS
    }


def errors(rows: Rows, names: Sequence[str] = LANDMARKS, reading: str = "") -> NDArray[np.float64]:
    """Errors in mm of all landmarks of these series, by scores or (`_context`) by positions."""
    columns = [f"{name}_error_mm{reading}" for name in names]
    return np.array([float(row[column]) for row in rows for column in columns if row[column]])


def apart_mm(rows: Rows, names: Sequence[str]) -> float:
    """Standard deviation of the scores at a landmark, in mm, within the folds: each fold has a
    network of its own, and so another zero.
    """
    off: list[float] = []
    for name in names:
        for fold in {row["fold"] for row in rows}:
            scores = [
                float(v) for row in rows if row["fold"] == fold and (v := row[f"{name}_score"])
            ]
            off += [score - float(np.mean(scores)) for score in scores]
    return MM_PER_UNIT * float(np.sqrt(np.mean(np.square(off))))


def median_r(rows: Rows) -> float:
    """Over series."""
    return float(np.median([float(row["r"]) for row in rows]))


def share_low(rows: Rows) -> float:
    """Of series whose r is below 0.95."""
    return float(np.mean([float(row["r"]) < LOW_R for row in rows]))


def part_accuracy(rows: Rows, reading: str = "") -> float:
    """Over slices."""
    slices = np.array([int(row["part_slices"]) for row in rows])
    shares = [float(row[f"part_accuracy{reading}"]) for row in rows]
    return float(np.average(shares, weights=slices))


def by_patients(runs: Sequence[Rows], statistic: Statistic) -> tuple[float, float, float]:
    """A figure, as the mean over runs that differ in their seed, and its 95 % interval.

    Patients are drawn anew, the same for all runs, and so are the runs.
    """
    found: list[dict[str, list[Mapping[str, str]]]] = []
    for rows in runs:
        found.append({})
        for row in rows:
            found[-1].setdefault(patient_of(row["file"]), []).append(row)
    patients, rng = list(found[0]), np.random.default_rng(0)
    drawn = rng.integers(0, len(patients), (DRAWS, len(patients)))
    seeds = rng.integers(0, len(runs), (DRAWS, len(runs)))
    values = [
        np.mean([statistic([row for i in draw for row in found[s][patients[i]]]) for s in chosen])
        for draw, chosen in zip(drawn, seeds, strict=True)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(np.mean([statistic(rows) for rows in runs])), float(low), float(high)


def shares_table() -> list[str]:
    """A line for each share of single tests."""
    lines = ["| share | counted | 95 % |", "|---|---|---|"]
    for name, hits, tests in shares():
        value, low, high = (f"{100 * part:.1f} %" for part in wilson(hits, tests))
        lines.append(f"| {name} | {hits} of {tests}: {value} | {low} to {high} |")
    return lines


def shares() -> list[tuple[str, int, int]]:
    """What is counted, how often, and of how many, from `faults.csv` and `coverage.csv`."""
    found = []
    for config, name in JUDGES.items():
        sound = [r for r in read("faults") if r["kind"] == "none" and r["config"] == config]
        hits = sum(float(row["suspected"]) * int(row["n"]) for row in sound)
        if sound:
            found.append((name, hits, sum(int(row["n"]) for row in sound)))
    for row in read("coverage"):
        enough = int(row["tests"]) >= 10 and row["volumes_from"] == "unseen"
        if enough and row["config"] in RUNS:
            name = f"{RUNS[row['config']]}: {row['landmark'].replace('_', ' ')} in its interval"
            about = f"{name} of {100 * float(row['nominal']):.0f} %"
            found.append((about, float(row["covered"]) * int(row["tests"]), int(row["tests"])))
    return [(name, round(hit), tests) for name, hit, tests in found]


def as_text(value: float, low: float, high: float, shown: str) -> str:
    """A figure with its interval, and the unit once."""
    text = f"{shown.format(value)} ({shown.format(low)} to {shown.format(high)})"
    return text.replace("%", " %")


TABLES = (learning_table, released_series_table, released_landmark_table, shares_table)

if __name__ == "__main__":
    main()
