"""Faults are put into series, the series are scored, and what was found is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.painting import Rng
from benchmarks.common.series_faults import FAULTS, ComputedSeries
from ubr.pretrain.reading.finding import Finding
from ubr.weights import Regressor
from ubr.weights.scorer import score_slices

Case = tuple[str, str, ComputedSeries]
"""Kind of fault ("none" of sound series), what it is in words, and the series."""


def faulty(
    bodies: Sequence[ComputedSeries], each: int, rng: Rng, kinds: Iterable[tuple[str, str]] = FAULTS
) -> list[Case]:
    """So many series with each fault, of any body that is long enough for it."""
    made = []
    for kind, strength in kinds:
        fault = FAULTS[kind, strength]
        done: list[Case] = []
        for i in rng.permutation(np.repeat(np.arange(len(bodies)), 2)):
            other = bodies[int(rng.choice(np.delete(np.arange(len(bodies)), i)))]
            if len(done) < each and (scan := fault(bodies[i], other, rng)) is not None:
                done.append((kind, strength, scan))
        made += done
    return made


def scored(regressor: Regressor, scan: ComputedSeries) -> NDArray[np.float32]:
    """Scores of a series' slices."""
    spacing_mm = (scan.step, scan.pixel_mm, scan.pixel_mm)
    return score_slices(regressor, np.ascontiguousarray(scan.hu), spacing_mm, scan.z_mm)


def counted(scans: Sequence[Case], found: Sequence[tuple[Finding, ...]]) -> list[dict[str, object]]:
    """One row per fault and strength: how many were suspected, and by their name.

    `precision` is that of the kind over all series that it is found in. q50_mm and q90_mm are
    between the slice that is named first and the one where the fault begins, in the header's z.
    """
    correct: dict[str, list[bool]] = {}
    for (kind, *_), those in zip(scans, found, strict=True):
        for named in {f.kind for f in those}:
            correct.setdefault(named, []).append(named == kind)
    rows = []
    for kind, strength in dict.fromkeys((k, s) for k, s, _ in scans):
        here = [
            (scan, those)
            for (k, s, scan), those in zip(scans, found, strict=True)
            if (k, s) == (kind, strength)
        ]
        off = [
            min(abs(scan.z_mm[f.first] - scan.z_mm[scan.first]) for f in those if f.kind == kind)
            for scan, those in here
            if scan.first is not None and any(f.kind == kind for f in those)
        ]
        recall = np.mean([any(f.kind == kind for f in those) for _, those in here])
        precision = np.mean(correct.get(kind, [False]))
        rows.append(
            {
                "kind": kind,
                "strength": strength,
                "n": len(here),
                "suspected": share_in_row(np.mean([bool(those) for _, those in here])),
                "recall": "" if kind == "none" else share_in_row(recall),
                "precision": "" if kind == "none" else share_in_row(precision),
                "q50_mm": round(float(np.quantile(off, 0.5)), 1) if off else "",
                "q90_mm": round(float(np.quantile(off, 0.9)), 1) if off else "",
            }
        )
    return rows


def share_in_row(share: float | np.floating) -> float:
    """As rows hold it."""
    return round(float(share), 4)
