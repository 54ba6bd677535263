"""How well a trained regressor does on patients it has not seen, judged by landmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.landmarks import BONE, LANDMARKS, PARTS, parts_of
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.reading.context import MM_PER_UNIT, on_axis, positions
from ubr.pretrain.reading.curve import line_errors_mm, ordered_share, passage, pearson_r
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.parts import classify, thresholds
from ubr.pretrain.reading.reference import Reference, reference_of
from ubr.weights import Regressor
from ubr.weights.body import showing
from ubr.weights.network import interpolated
from ubr.weights.scorer import score_grid


@dataclass(frozen=True)
class MarkedCurve:
    """A series, its scores, and the slice of each landmark that it shows."""

    series: SeriesRow
    scores: NDArray[np.float64]
    marks: Mapping[str, int]

    def in_context(self, reference: Reference) -> MarkedCurve:
        """The same with positions on the body axis, read from all slices at once, as scores.

        reference: sound curves of the same model, for the findings that positions respect.
        """
        z_mm = self.series.z_mm
        found = findings(self.scores, z_mm, reference=reference)
        mm, _ = positions(self.scores, z_mm, found)
        levels = np.asarray(on_axis("position", self.scores, mm), np.float64)
        return dataclasses.replace(self, scores=levels)

    def parts(self) -> dict[int, str]:
        """The part of each slice between the landmarks."""
        return parts_of(self.marks, self.series.z_mm)


def curve_of(regressor: Regressor, cohort: Cohort, series: SeriesRow) -> MarkedCurve:
    """Score a series as `score` does."""
    grid = to_grid(cohort.store, series, regressor.inputs)
    taken = showing(series.body, np.arange(len(grid)))
    scores = interpolated(score_grid(regressor, grid[taken]), series.z_mm, taken)
    return MarkedCurve(series, scores.astype(np.float64), cohort.marks(series))


def rows_of(
    regressor: Regressor, cohort: Cohort, held_out: Sequence[str]
) -> list[dict[str, object]]:
    """One row per series of the held-out patients.

    The series of the other patients give the score of each landmark. Columns that end in `context`
    are read from positions on the body axis instead of scores; they mean nothing if the scores do
    not follow millimetres.
    """
    known: list[MarkedCurve] = []
    unseen: list[MarkedCurve] = []
    for series in cohort.store.usable():
        if cohort.marks(series) or series.patient in held_out:
            (unseen if series.patient in held_out else known).append(
                curve_of(regressor, cohort, series)
            )
    plain = _readings(known, unseen)
    positioned = in_context(unseen)
    context = _readings(in_context(known), positioned)
    line_errors = line_errors_mm([c.scores for c in unseen], [c.series.z_mm for c in unseen])
    return [
        {
            "file": cohort.names[curve.series.key],
            "region": cohort.labels(curve.series).get("region", ""),
            "slices": curve.series.slices,
            "length_mm": round(float(curve.series.z_mm[-1]), 1),
            "r": round(pearson_r(curve.scores, curve.series.z_mm), 5),
            "ordered": round(ordered_share(curve.scores), 5),
            "line_error_mm": round(float(line_error), 2),
            **{f"{n}_error_mm": errors[n] for n in LANDMARKS},
            **{f"{n}_score": _landmark_score(curve, n) for n in LANDMARKS},
            "part_slices": len(curve.parts()),
            "part_accuracy": accuracy,
            **{f"{n}_error_mm_context": errors_context[n] for n in LANDMARKS},
            **{f"{n}_score_context": _landmark_score(in_context, n) for n in LANDMARKS},
            "part_accuracy_context": accuracy_context,
        }
        for curve, in_context, line_error, (errors, accuracy), (
            errors_context,
            accuracy_context,
        ) in zip(unseen, positioned, line_errors, plain, context, strict=True)
    ]


def in_context(curves: Sequence[MarkedCurve]) -> list[MarkedCurve]:
    """Series that are scored together, with positions as scores."""
    reference = reference_of([(curve.scores, curve.series.z_mm) for curve in curves])
    return [curve.in_context(reference) for curve in curves]


def _readings(
    known: Sequence[MarkedCurve], unseen: Sequence[MarkedCurve]
) -> list[tuple[dict[str, float | str], float | str]]:
    """Errors of the landmarks, and accuracy of the parts, of each unseen series."""
    levels = {
        name: [curve.scores[curve.marks[name]] for curve in known if name in curve.marks]
        for name in LANDMARKS
    }
    return [
        (
            {name: landmark_error_mm(curve, name, levels[name]) for name in LANDMARKS},
            "" if accuracy is None else round(accuracy, 5),
        )
        for curve, accuracy in zip(unseen, part_accuracies(known, unseen), strict=True)
    ]


def part_accuracies(
    known: Sequence[MarkedCurve], unseen: Sequence[MarkedCurve]
) -> list[float | None]:
    """Share of the slices of each unseen series that two known series classify correctly.

    Each pair of known series, of two patients, that together show the three parts gives thresholds
    (the paper, Table 1). The share is the mean over all pairs, because it matters which two are
    taken. It is None if there is no such pair, or if the series has no slice of a known part.
    """
    cuts = []
    for pair in combinations([curve for curve in known if curve.parts()], 2):
        scores, parts = _labelled_scores(pair)
        if set(parts) == set(PARTS) and pair[0].series.patient != pair[1].series.patient:
            cuts.append(thresholds(scores, parts, PARTS))
    shares: list[float | None] = []
    for curve in unseen:
        scores, parts = _labelled_scores([curve])
        correct = [
            (classify(scores, of_pair, PARTS) == np.array(parts)).mean()
            for of_pair in cuts
            if parts
        ]
        shares.append(float(np.mean(correct)) if correct else None)
    return shares


def landmark_error_mm(curve: MarkedCurve, name: str, levels: Sequence[float]) -> float | str:
    """Distance in mm from a landmark to where the curve passes the landmark's score.

    A curve that does not pass it is taken to pass it in its first or last slice. Empty if the
    series does not show the landmark, or no other series does.

    Args:
        levels: the score of the landmark in other series.
    """
    if name not in curve.marks or not levels:
        return ""
    z = passage(curve.scores, curve.series.z_mm, float(np.mean(levels))).z_mm
    return round(float(abs(z - curve.series.z_mm[curve.marks[name]])), 2)


def summary(rows: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """The columns of one row per seed, from the rows of all its series.

    Trunks are counted separately, because heads are many and easy. A value is empty if there are no
    series for it.
    """
    trunk = [row for row in rows if not is_head(row["file"])]
    heads = [row for row in rows if is_head(row["file"])]
    long = [row for row in trunk if float(row["length_mm"]) > 200]
    found = {
        "trunk_series": len(trunk),
        "trunk_r_median": _quantile([float(row["r"]) for row in trunk], 4),
        "trunk_ordered_median": _quantile([float(row["ordered"]) for row in trunk], 4),
        "long_trunk_series": len(long),
        "long_trunk_r_median": _quantile([float(row["r"]) for row in long], 4),
        "long_trunk_r_lowest": min((float(row["r"]) for row in long), default=""),
        "long_trunk_r_below_0.95": sum(float(row["r"]) < 0.95 for row in long),
        "head_r_median": _quantile([float(row["r"]) for row in heads], 4),
        "landmarks": len(_errors(trunk, LANDMARKS, "")),
        **_summary_of_reading(trunk, ""),
        "long_trunk_r_below_0.99": sum(float(row["r"]) < 0.99 for row in long),
    }
    for name in LANDMARKS:
        found[f"{name}s"] = len(_errors(trunk, [name], ""))
        for reading in ("", "_context"):
            found[f"{name}_mm{reading}"] = _quantile(_errors(trunk, [name], reading), 1)
            levels = [float(v) for row in trunk if (v := row.get(f"{name}_score{reading}"))]
            apart = MM_PER_UNIT * float(np.std(levels)) if len(levels) > 1 else None
            found[f"{name}_apart_mm{reading}"] = "" if apart is None else round(apart, 1)
    soft = [name for name in LANDMARKS if name not in BONE]
    for reading in ("", "_context"):
        for kind, names in (("bone", BONE), ("soft", soft)):
            for q in (0.5, 0.9):
                column = f"{kind}_mm_q{round(100 * q)}{reading}"
                found[column] = _quantile(_errors(trunk, names, reading), 1, q)
    return found | _summary_of_reading(trunk, "_context")


def landmark_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The error of each landmark in mm, read from scores and from positions, as text."""
    told = [{name: str(value) for name, value in row.items()} for row in rows]
    lines = [f"{'landmark':<14}{'n':>4}{'score q50':>12}{'q90':>7}{'position q50':>15}{'q90':>7}"]
    for name in LANDMARKS:
        by_score, by_position = (_errors(told, [name], reading) for reading in ("", "_context"))
        if by_score:
            cells = [_quantile(by, 1, q) for by in (by_score, by_position) for q in (0.5, 0.9)]
            widths = zip(cells, (12, 7, 15, 7), strict=True)
            mm = "".join(f"{cell:>{width}}" for cell, width in widths)
            lines.append(f"{name:<14}{len(by_score):>4}{mm}")
    return "\n".join(lines)


def _summary_of_reading(rows: Sequence[Mapping[str, str]], reading: str) -> dict[str, object]:
    """Landmarks and parts, read from scores or from positions."""
    errors = _errors(rows, LANDMARKS, reading)
    column = f"part_accuracy{reading}"
    parts = [(float(row[column]), int(row["part_slices"])) for row in rows if row.get(column)]
    slices = sum(n for _, n in parts)
    accuracy = round(sum(share * n for share, n in parts) / slices, 4) if parts else ""
    return {
        f"landmark_error_mm_median{reading}": _quantile(errors, 1),
        f"landmark_error_mm_q90{reading}": _quantile(errors, 1, 0.9),
        column: accuracy,
    }


def _errors(rows: Sequence[Mapping[str, str]], names: Sequence[str], reading: str) -> list[float]:
    columns = [f"{name}_error_mm{reading}" for name in names]
    return [float(row[column]) for row in rows for column in columns if row.get(column)]


def _labelled_scores(curves: Sequence[MarkedCurve]) -> tuple[NDArray[np.float64], list[str]]:
    pairs = [(curve.scores[i], part) for curve in curves for i, part in curve.parts().items()]
    return np.array([score for score, _ in pairs]), [part for _, part in pairs]


def _landmark_score(curve: MarkedCurve, name: str) -> float | str:
    return round(float(curve.scores[curve.marks[name]]), 4) if name in curve.marks else ""


def _quantile(values: Sequence[float], digits: int, q: float = 0.5) -> float | str:
    return round(float(np.quantile(values, q)), digits) if values else ""
