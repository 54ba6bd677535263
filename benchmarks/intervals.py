"""95 % intervals of the figures on real CT, and of sound series that are suspected.

    python -m benchmarks.intervals

Nothing is measured here: tables are made from the committed rows, and docs/benchmarks/results.md
holds them. Figures over series have an interval by patients: all series of a patient are drawn
together (bootstrap). Shares of single tests have Wilson's interval, which takes the tests for
independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cohort import is_head, patient_of
from benchmarks.common.commandline import new_parser
from benchmarks.common.intervals import wilson
from benchmarks.common.landmarks import LANDMARKS
from benchmarks.common.rows import read

Rows = Sequence[Mapping[str, str]]
Statistic = Callable[[Rows], float]

RUNS = {"bd81f0a2310f": "`default`", "2567a061a2f2": "half, seed 0", "763ef5ee0e2a": "half, seed 1"}
"""By configuration: trainings of `learning.csv`."""
JUDGES = {
    "da2cac739758": "sound computed series that are suspected",
    "287f6a3a1064": "the same by `released-1`",
}
"""By digest: weights of `faults.csv`."""
DRAWS = 5000
LONG_MM, LOW_R, AIM_MM = 200.0, 0.95, 20.0


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    new_parser(__doc__).parse_args(argv)
    print("\n".join([*learning_table(), "", *shares_table()]))


def learning_table() -> list[str]:
    """A line for each figure of `learning.csv`, a column for each training."""
    lines = ["| unseen series | series; patients | " + " | ".join(RUNS.values()) + " |"]
    lines.append("|---|---|" + "---|" * len(RUNS))
    of_run = [[row for row in read("learning") if row["config"] == config] for config in RUNS]
    for name, (chosen, statistic, shown) in figures().items():
        rows = [[row for row in run if chosen(row)] for run in of_run]
        count = f"{len(rows[0])}; {len({patient_of(row['file']) for row in rows[0]})}"
        cells = [as_text(*by_patients(run, statistic), shown) for run in rows]
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return lines


def figures() -> dict[str, tuple[Callable[[Mapping[str, str]], bool], Statistic, str]]:
    """By name: which series count, the figure, and how it is shown."""

    def long(row: Mapping[str, str]) -> bool:
        return not is_head(row["file"]) and float(row["length_mm"]) > LONG_MM

    def marked(row: Mapping[str, str]) -> bool:
        return not is_head(row["file"]) and errors([row]).size > 0

    def parted(row: Mapping[str, str]) -> bool:
        return not is_head(row["file"]) and bool(row["part_accuracy"])

    def shows(name: str) -> Callable[[Mapping[str, str]], bool]:
        return lambda row: bool(row[f"{name}_error_mm"]) and not is_head(row["file"])

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
        f"{names[name]}: median error, mm": (shows(name), median_error(name), "{:.0f}")
        for name in LANDMARKS
    }


def errors(rows: Rows, names: Sequence[str] = LANDMARKS) -> NDArray[np.float64]:
    """Errors in mm of all landmarks of these series."""
    columns = [f"{name}_error_mm" for name in names]
    return np.array([float(row[column]) for row in rows for column in columns if row[column]])


def median_r(rows: Rows) -> float:
    """Over series."""
    return float(np.median([float(row["r"]) for row in rows]))


def share_low(rows: Rows) -> float:
    """Of series whose r is below 0.95."""
    return float(np.mean([float(row["r"]) < LOW_R for row in rows]))


def part_accuracy(rows: Rows) -> float:
    """Over slices."""
    slices = np.array([int(row["part_slices"]) for row in rows])
    return float(np.average([float(row["part_accuracy"]) for row in rows], weights=slices))


def by_patients(rows: Rows, statistic: Statistic) -> tuple[float, float, float]:
    """A figure, and its 95 % interval from drawing patients anew."""
    of_patient: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        of_patient.setdefault(patient_of(row["file"]), []).append(row)
    patients = list(of_patient.values())
    drawn = np.random.default_rng(0).integers(0, len(patients), (DRAWS, len(patients)))
    values = [statistic([row for i in draw for row in patients[i]]) for draw in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    return statistic(rows), float(low), float(high)


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


if __name__ == "__main__":
    main()
