"""The regions of released weights: levels of the final network, errors of the outer folds'.

A level's score is the mean of the final network's scores at a landmark. How far off it is comes
from the folds: each fold's network, which did not see the fold's patients, reads the level from the
other patients and looks for it in these. So no error rests on a scan that its network saw. Of
several series of a patient, the longest that shows the landmark counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.common.cohort import Cohort, may_be_released
from benchmarks.common.judging import MarkedCurve, curve_of, in_context
from benchmarks.common.landmarks import LANDMARKS, PARTS, THIGH_MM
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.reading.context import Axis
from ubr.pretrain.reading.curve import Curve, passage
from ubr.pretrain.reading.labelled import Labelled, pairs_mm
from ubr.pretrain.reading.parts import classify
from ubr.pretrain.reading.regions import Level, Regions
from ubr.weights import Regressor, Weights

THIGH = "thigh"
"""Where the thigh begins: `THIGH_MM` below the femoral head."""
BORDERS = {
    ("head", "neck"): "mandible",
    ("neck", "chest"): "lung_apex",
    ("chest", "abdomen"): "liver_dome",
    ("abdomen", "pelvis"): "iliac_crest",
    ("pelvis", "thigh"): THIGH,
}
"""The landmark at which a part ends and the next begins.

The paper has those of the abdomen. The thigh begins below the femoral head: with the head itself as
the border, an ordinary scan of the pelvis, which ends some centimetres below it, would show thighs.
"""


@dataclass(frozen=True)
class Fold:
    """The network that was trained without some patients."""

    regressor: Regressor
    held_out: Collection[str]


@dataclass(frozen=True)
class Made:
    """Regions, and the share of correctly classified slices in series that no network had seen."""

    regions: Regions
    slices: int
    accuracy: float


def regions_by(
    weights: Weights, final: Regressor, folds: Sequence[Fold], cohort: Cohort, axis: Axis
) -> Made:
    """Make the regions of weights.

    Args:
        weights: the final ones.
        final: their network, ready to score.
        folds: the networks of the outer folds.
        cohort: whose labelled series may be used if their terms let weights be given away.
        axis: what levels are told by: scores, or positions from all slices of a series.
    """
    rows = [row for row in cohort.store.usable() if usable_label(cohort, row)]
    curves = read(final, cohort, rows, axis)
    by_fold = [read(fold.regressor, cohort, rows, axis) for fold in folds]
    levels = {
        name: level_of(name, curves, by_fold, folds)
        for name in (*LANDMARKS, THIGH)
        if len(shown(name, curves)) > 1
    }
    borders = dict(BORDERS)
    while borders and BORDERS[next(reversed(borders))] not in levels:
        borders.popitem()
    if missing := [name for name in borders.values() if name not in levels]:
        raise SystemExit(f"fewer than two patients show {missing[0]}, and parts need it")
    found = Regions(
        weights.sha256(),
        ("head", *(below for _, below in borders)),
        tuple(levels[name] for name in borders.values()),
        {name: level for name, level in levels.items() if name != THIGH},
        pairs_mm=tuple(
            sorted(mm for fold, own in zip(folds, by_fold, strict=True) for mm in _pairs(fold, own))
        ),
        axis=axis,
    )
    return Made(found, *_accuracy(folds, by_fold))


def usable_label(cohort: Cohort, row: SeriesRow) -> bool:
    """Whether a series shows a landmark, and its terms let something be given away."""
    return bool(cohort.marks(row)) and may_be_released(cohort.labels(row)["terms"])


def read(
    regressor: Regressor, cohort: Cohort, rows: Sequence[SeriesRow], axis: Axis
) -> dict[str, MarkedCurve]:
    """The curves that levels are looked for in, by series, with marks where thighs begin."""
    curves = [with_thigh(curve_of(regressor, cohort, row)) for row in rows]
    on_axis = curves if axis == "score" else in_context(curves)
    return {curve.series.key: curve for curve in on_axis}


def with_thigh(curve: MarkedCurve) -> MarkedCurve:
    """The same with a mark where the thigh begins, if the series shows it."""
    z_mm = curve.series.z_mm
    if "femoral_head" not in curve.marks:
        return curve
    begins = int(np.searchsorted(z_mm, z_mm[curve.marks["femoral_head"]] + THIGH_MM))
    if begins == len(z_mm):
        return curve
    return dataclasses.replace(curve, marks={**curve.marks, THIGH: begins})


def shown(name: str, curves: Mapping[str, MarkedCurve]) -> list[MarkedCurve]:
    """The series that show a landmark, the longest of each patient."""
    return longest(curve for curve in curves.values() if name in curve.marks)


def longest(curves: Iterable[MarkedCurve]) -> list[MarkedCurve]:
    """The longest series of each patient."""
    by_length = sorted(curves, key=lambda curve: float(curve.series.z_mm[-1]))
    return list({curve.series.patient: curve for curve in by_length}.values())


def level_of(
    name: str,
    curves: Mapping[str, MarkedCurve],
    by_fold: Sequence[Mapping[str, MarkedCurve]],
    folds: Sequence[Fold],
) -> Level:
    """A level: the final network's scores, and in each held-out series the fold's error."""
    volumes = shown(name, curves)
    scores = np.array([score_at(name, curve) for curve in volumes])
    without, residuals = [], []
    for fold, own in zip(folds, by_fold, strict=True):
        known = [c for c in shown(name, own) if c.series.patient not in fold.held_out]
        if not known:
            continue
        level = float(np.mean([score_at(name, curve) for curve in known]))
        for curve, score in zip(volumes, scores, strict=True):
            if curve.series.patient in fold.held_out:
                z_mm, unseen = curve.series.z_mm, own[curve.series.key]
                found = passage(unseen.scores, z_mm, level).z_mm
                residuals.append(float(abs(found - z_mm[curve.marks[name]])))
                without.append(float((scores.sum() - score) / (len(scores) - 1)))
    return Level(
        float(scores.mean()),
        float(scores.std(ddof=1)),
        len(scores),
        tuple(without),
        tuple(residuals),
    )


def score_at(name: str, curve: MarkedCurve) -> float:
    """The score of a landmark's slice."""
    return float(curve.scores[curve.marks[name]])


def _pairs(fold: Fold, own: Mapping[str, MarkedCurve]) -> tuple[float, ...]:
    """How far apart the fold's network sees the same landmark in two series that are new to it."""
    unseen = longest(curve for curve in own.values() if curve.series.patient in fold.held_out)
    return pairs_mm(
        [
            Labelled(
                curve.series.key,
                Curve(curve.scores, curve.series.z_mm),
                landmarks={n: i for n, i in curve.marks.items() if n != THIGH},
            )
            for curve in unseen
        ]
    )


def _accuracy(
    folds: Sequence[Fold], by_fold: Sequence[Mapping[str, MarkedCurve]]
) -> tuple[int, float]:
    """Slices of held-out series in the three parts, and the share that their fold's network tells
    right, with borders from the patients that it saw.
    """
    right: list[bool] = []
    for fold, own in zip(folds, by_fold, strict=True):
        known = {k: c for k, c in own.items() if c.series.patient not in fold.held_out}
        levels = [shown(name, known) for name in ("liver_dome", "iliac_crest")]
        if not all(levels):
            continue
        cuts = [
            np.mean([score_at(name, curve) for curve in curves])
            for name, curves in zip(("liver_dome", "iliac_crest"), levels, strict=True)
        ]
        for curve in own.values():
            if curve.series.patient in fold.held_out and (truth := curve.parts()):
                told = classify(curve.scores[list(truth)], np.array(cuts), PARTS)
                right += (told == np.array(list(truth.values()))).tolist()
    return len(right), float(np.mean(right)) if right else float("nan")
