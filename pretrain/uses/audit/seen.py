"""The body parts that a series shows, by its scores, and whether they are what its header states.

A stated part counts as seen if the scan covers at least half of its usual length, or if it makes up
at least half of the scan. Technicians scan some way beyond what was asked for, so an unstated part
may be shown up to the same amount, and a short one up to 50 mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ...reading.curve import passage
from ...reading.line import fit_line
from ...reading.parts import PARTS
from ...reading.regions import COVERED_MM, Level, Regions
from .stated import Stated

OUTER_MM = 100.0
"""Half of the usual length of the outermost parts, which have one border."""
MARGIN_MM = 50.0
"""As much of a part that is not stated may be shown, where half of it is shorter."""
ERROR_MM = 20.0
"""Standard error of a border where the labelled volumes do not give one."""
LEAST_ERROR_MM = 10.0
"""No border is known better in a new patient, however well two or three volumes happen to agree."""
SURE = 0.8
"""Probability from which on an end of a part is said to lie inside or outside."""
TRUNK = {"chest", "abdomen", "pelvis"}
"""What "whole body" states at least: many such scans begin at the skull base and end at the hips.
"""


@dataclass(frozen=True)
class PartSeen:
    """A part in a series.

    part: its name in the regions. first_mm: where it begins, below the first slice. mm: how much of
    it the series shows. half_mm: half of its usual length, or of the scan. error_mm: standard error
    of `mm`. top, bottom: whether its upper and lower end lie inside the scan: "yes", "no",
    "unsure", or "" where that is not known.
    """

    part: str
    first_mm: float
    mm: float
    half_mm: float
    error_mm: float
    top: str
    bottom: str

    def beyond(self, mm: float) -> float:
        """The probability that more of it is shown."""
        return 1 - NormalDist(self.mm, max(self.error_mm, 1e-3)).cdf(mm)


@dataclass(frozen=True)
class Agreement:
    """Whether the parts seen are those stated.

    verdict: "yes", "partly", "no", "not stated" or "unknown". confidence: the probability of the
    least sure of the comparisons behind it, none where there was none. reason: in a few words.
    """

    verdict: str
    confidence: float | None = None
    reason: str = ""


def parts_seen(
    scores: NDArray[np.floating], z_mm: NDArray[np.floating], regions: Regions, slope: float
) -> tuple[PartSeen, ...]:
    """What a series shows of each part of the regions that it shows at all.

    scores, z_mm: `[n]`, superior to inferior. slope: score per mm in a usual series.
    """
    curve, z = np.asarray(scores, np.float64), np.asarray(z_mm, np.float64)
    vertex = regions.landmarks.get("vertex")
    levels = [vertex if regions.parts[:1] == ("head",) else None, *regions.borders, None]
    ends = [_End.of(level, curve, z, slope) for level in levels]
    found = []
    for part, (upper, lower), (top, bottom) in zip(
        regions.parts, pairwise(levels), pairwise(ends), strict=True
    ):
        first = 0.0 if top is None else top.z_mm
        last = float(z[-1]) if bottom is None else bottom.z_mm
        if last - first <= 0:
            continue
        half = (lower.score - upper.score) / slope / 2 if upper and lower else OUTER_MM
        near = [end.error_mm for end in (top, bottom) if end is not None and end.matters]
        found.append(
            PartSeen(
                part,
                first,
                last - first,
                min(half, float(z[-1]) / 2),
                math.hypot(*near),
                "" if top is None else top.inside,
                "" if bottom is None else bottom.inside,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _End:
    """An end of a part: where it lies, within the scan, and how far inside or outside of it.

    inside_mm: distance to the nearer end of the scan, negative where it lies beyond it.
    """

    z_mm: float
    inside_mm: float
    error_mm: float

    @classmethod
    def of(
        cls, level: Level | None, scores: NDArray[np.float64], z: NDArray[np.float64], slope: float
    ) -> _End | None:
        if level is None:
            return None
        at, outside = passage(scores, z, level.score)
        if not outside:
            return cls(at, min(at, float(z[-1]) - at), error_of(level, slope))
        line = fit_line(scores, z)
        nearest = line.first_score if outside == "superior" else line.last_score
        beyond = abs(level.score - nearest) / slope if math.isfinite(nearest) else 0.0
        return cls(at, -beyond, error_of(level, slope))

    @property
    def inside(self) -> str:
        share = NormalDist(0, self.error_mm).cdf(self.inside_mm)
        return "yes" if share >= SURE else "no" if share <= 1 - SURE else "unsure"

    @property
    def matters(self) -> bool:
        """Whether its error changes how much is shown."""
        return self.inside_mm > -self.error_mm


def error_of(level: Level, slope: float) -> float:
    """Standard error in mm with which a level is found in a new series."""
    if len(level.residuals_mm) > 1:
        return max(float(np.sqrt(np.mean(np.square(level.residuals_mm)))), LEAST_ERROR_MM)
    return max(level.std / slope, LEAST_ERROR_MM) if level.std else ERROR_MM


def shown(seen: Sequence[PartSeen], extent_mm: float) -> tuple[PartSeen, ...]:
    """The parts of which more than a stray slice is shown; the longest of a short series."""
    least = min(COVERED_MM, extent_mm / 2)
    return tuple(part for part in seen if part.mm >= least)


def agreement(
    stated: Stated, seen: Sequence[PartSeen], known: Sequence[str], extent_mm: float
) -> Agreement:
    """Compare what is stated with what is seen.

    known: the parts of the regions. A stated part that they lack cannot be judged.
    """
    if stated.kind == "elsewhere":
        return Agreement("unknown", None, "the regions do not know the stated part")
    if not stated.parts:
        return Agreement("not stated")
    named = {part.lower() for part in known}
    if foreign := [part for part in stated.parts if part not in named]:
        if stated.parts != PARTS or not named >= TRUNK:
            return Agreement("unknown", None, f"the regions do not know {', '.join(foreign)}")
    wanted = TRUNK if stated.parts == PARTS else {*stated.parts}
    allowed = {*stated.parts}
    mm = {part.part.lower(): part for part in seen}
    full = {name: part.beyond(part.half_mm) for name, part in mm.items()}
    margin = min(MARGIN_MM, extent_mm / 2)
    more = {name: part.beyond(max(part.half_mm, margin)) for name, part in mm.items()}
    some = {name: part.beyond(min(COVERED_MM, extent_mm / 2)) for name, part in mm.items()}
    lacking = {name: 1 - full.get(name, 0.0) for name in wanted}
    extra = {name: share for name, share in more.items() if name not in allowed}
    any_of_it = max(some.get(name, 0.0) for name in wanted)
    unlike = max([*lacking.values(), *extra.values()])
    if any_of_it < 0.5:
        return Agreement("no", round(1 - any_of_it, 3), "none of what is stated is seen")
    if unlike < 0.5:
        return Agreement("yes", round(1 - unlike, 3))
    return Agreement("partly", round(min(any_of_it, unlike), 3), _unlike(lacking, extra))


def _unlike(lacking: Mapping[str, float], extra: Mapping[str, float]) -> str:
    """What is stated and not seen, and what is seen and not stated."""
    missed = [part for part in PARTS if lacking.get(part, 0) >= 0.5]
    more = [part for part in PARTS if extra.get(part, 0) >= 0.5]
    texts = [
        f"{what}: {', '.join(parts)}"
        for what, parts in (("little or nothing of", missed), ("also", more))
        if parts
    ]
    return "; ".join(texts)
