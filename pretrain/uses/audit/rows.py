"""The rows of an audit: what is stated, what is seen, and whether a series is intact."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...data.orient import gaps_in
from ...data.volume import LeftOut
from ...reading.context import MM_PER_UNIT, on_axis
from ...reading.deviations import rate_of
from ...reading.finding import kinds_of
from ...reading.regions import Regions
from ...scores.series import SeriesScores
from .completeness import completeness, twice
from .headers import About
from .seen import Agreement, PartSeen, agreement, parts_seen, shown

LEAST_RATE = 0.3
"""Share of the usual slope from which on a series has a direction."""
SHORT_MM = 60.0
"""Shorter series need no direction to show their part."""
OUT_OF_ORDER = {"glued", "swapped"}
"""Findings after which it is not known which parts a series shows."""
UNEVEN = 0.05
"""Share of the usual step by which steps may differ."""
NOT_CT = r"not CT|localizer|not HU|no pixel data|nor modality|cannot be HU"
"""Reasons for which something is left out because it is not a CT series."""

Row = dict[str, object]


@dataclass(frozen=True)
class Known:
    """What is known of a series before its curve is read.

    about: by its header. numbered, begins_at: of its instance numbers (`completeness`).
    """

    about: About = field(default_factory=About)
    numbered: str = ""
    begins_at: int = 0


Band = tuple[str, float, float]
"""A part, and where it begins and ends in mm below the first slice."""


def judged(
    one: SeriesScores, known: Known, regions: Regions | None, slope: float
) -> tuple[Row, list[Band]]:
    """The row of a series that was scored, but for paths and copies, and where its parts lie.

    slope: score per mm in a usual series.
    """
    complete = completeness(
        known.about.kind,
        one.z_mm,
        one.warnings,
        one.findings,
        begins_at=known.begins_at,
        images=known.about.images,
    )
    direction = direction_of(one, slope)
    kinds = kinds_of(one.findings).split("; ") if one.findings else []
    seen, agrees = _compared(one, known, regions, slope, direction)
    extent, steps = float(one.z_mm[-1]), np.diff(one.z_mm)
    stated = known.about.stated
    bands = [(part.part, part.first_mm, part.first_mm + part.mm) for part in seen]
    if direction == "reversed":
        bands = [(part, extent - last, extent - first) for part, first, last in bands[::-1]]
    row: Row = {
        "series": one.key,
        "study": known.about.study,
        "ct": "doubtful" if "out_of_range" in kinds else "yes",
        "stated": "; ".join(stated.parts),
        "stated_kind": stated.kind,
        "stated_by": stated.by,
        "seen": "; ".join(part.part for part in shown(seen, extent)),
        "agreement": agrees.verdict,
        "confidence": agrees.confidence,
        "agreement_reason": agrees.reason,
        **_part_columns(seen, regions),
        "direction": direction,
        "numbered": known.numbered,
        "slices": len(one.scores),
        "extent_mm": round(extent, 1),
        "spacing_mm": round(float(np.median(steps)), 3) if len(steps) else None,
        "step_min_mm": round(float(steps.min()), 3) if len(steps) else None,
        "step_max_mm": round(float(steps.max()), 3) if len(steps) else None,
        "uneven": _uneven(one.z_mm),
        "thickness_mm": known.about.thickness_mm,
        "kernel": known.about.kernel,
        "tilt_deg": _degrees(one.warnings, "tilt"),
        "oblique_deg": _degrees(one.warnings, "oblique"),
        "complete": complete.verdict,
        "missing": complete.missing,
        "missing_at": complete.places,
        "complete_reason": complete.reason,
        "twice": twice(one.warnings),
        "copy_of": "",
        "findings": "; ".join(kinds),
        "warnings": "; ".join(one.warnings),
        "reason": "",
    }
    return row, bands


def row_left_out(out: LeftOut, series: str, study: str, columns: Collection[str]) -> Row:
    """The row of a series that gave no scores. columns: of the other rows."""
    ct = "no" if re.search(NOT_CT, out.reason) else "unknown"
    blank: Row = dict.fromkeys(columns, None)
    said = {"series": series, "study": study, "ct": ct, "reason": out.reason}
    return {**blank, **dict.fromkeys(_texts(columns), ""), **said}


def columns_of(regions: Regions | None, *, with_paths: bool) -> dict[str, type]:
    """The columns of an audit and what they hold, in order."""
    one = SeriesScores("", np.zeros(1, np.float32), np.zeros(1), (), "")
    blank, _ = judged(one, Known(), regions, math.nan)
    found = {name: _type_of(name) for name in blank}
    return {**found, **({"path": str} if with_paths else {})}


def _type_of(name: str) -> type:
    if name in ("slices", "missing", "twice"):
        return int
    if name == "uneven":
        return bool
    return float if name.endswith(("_mm", "_deg")) or name == "confidence" else str


def _texts(columns: Collection[str]) -> list[str]:
    return [name for name in columns if _type_of(name) is str]


def _compared(
    one: SeriesScores, known: Known, regions: Regions | None, slope: float, direction: str
) -> tuple[tuple[PartSeen, ...], Agreement]:
    """The parts seen, and whether they are those stated."""
    stated = known.about.stated
    if why := _not_seen(one, regions, slope, direction):
        return (), Agreement("unknown" if stated.kind else "not stated", None, why)
    assert regions is not None
    levels, z = on_axis(regions.axis, one.scores, one.position_mm), one.z_mm
    if direction == "reversed":  # the pixels decide what lies where
        levels, z = levels[::-1], z[-1] - z[::-1]
    per_mm = slope if regions.axis == "score" else 1 / MM_PER_UNIT
    seen = parts_seen(levels, z, regions, per_mm)
    return seen, agreement(stated, seen, regions.parts, float(z[-1]))


def _not_seen(one: SeriesScores, regions: Regions | None, slope: float, direction: str) -> str:
    """Why it is not known which parts a series shows; "" where it is."""
    kinds = {finding.kind for finding in one.findings}
    if regions is None or not regions.parts:
        return "there are no regions with parts"
    if len(one.scores) < 3:
        return "fewer than three slices"
    aimless = direction == "unknown" and float(one.z_mm[-1]) >= SHORT_MM
    if not slope > 0 or "out_of_range" in kinds or aimless:
        return "the curve follows no position"
    return "slices are out of order" if kinds & OUT_OF_ORDER else ""


def _part_columns(seen: Sequence[PartSeen], regions: Regions | None) -> Row:
    """How much of each part is seen, and whether its ends lie inside the scan."""
    of = {part.part: part for part in seen}
    found: Row = {}
    for name in regions.parts if regions else ():
        part = of.get(name)
        found[f"{name}_mm"] = round(part.mm, 1) if part else 0.0
        found[f"{name}_top"] = part.top if part else ""
        found[f"{name}_bottom"] = part.bottom if part else ""
    return found


def direction_of(one: SeriesScores, slope: float) -> str:
    """Whether a series runs from head to feet, as its header says, or is "reversed".

    It is read from slices near each other: a series whose halves are swapped is not reversed.
    """
    scores, z = np.asarray(one.scores, np.float64), one.z_mm
    if len(scores) < 3 or not slope > 0:
        return "unknown"
    rate = rate_of(scores / slope, z)
    return (
        "head to feet" if rate >= LEAST_RATE else "reversed" if rate <= -LEAST_RATE else "unknown"
    )


def _uneven(z_mm: NDArray[np.float64]) -> bool:
    """Whether steps differ by more than a twentieth, gaps aside."""
    steps = np.delete(np.diff(z_mm), [gap.after for gap in gaps_in(z_mm)])
    return bool(len(steps) > 1 and np.ptp(steps) > UNEVEN * np.median(steps))


def _degrees(warnings: Sequence[str], code: str) -> float | None:
    found = [re.match(rf"{code}: ([\d.]+) degrees", text) for text in warnings]
    return next((float(match[1]) for match in found if match), None)


class Copies:
    """Which series show the very same slices as another: the same positions and scores.

    Of each series a few numbers are kept.
    """

    SAME = 2e-3
    """Scores of the same pixels differ by less."""

    def __init__(self) -> None:
        self._marks: list[tuple[tuple[float, ...], str]] = []

    def add(self, one: SeriesScores) -> None:
        """Keep what tells a series from others."""
        if len(one.scores) >= 3:
            places = np.linspace(0, len(one.scores) - 1, 9).astype(int)
            scores = one.scores.astype(np.float64)
            numbers = (len(scores), float(one.z_mm[-1]), float(scores.mean()), *scores[places])
            self._marks.append((tuple(map(float, numbers)), one.key))

    def found(self) -> Mapping[str, str]:
        """The key of a series that is a copy -> that of the first of those alike."""
        ordered = sorted(self._marks, key=lambda mark: (mark[0][0], mark[0][2]))
        copies: dict[str, str] = {}
        for k, (numbers, key) in enumerate(ordered):
            for others, other in ordered[k + 1 :]:
                if others[0] != numbers[0] or others[2] - numbers[2] > self.SAME:
                    break
                apart = np.abs(np.subtract(others, numbers))
                if apart[1] < 0.01 and apart[2:].max() < self.SAME:
                    first, second = sorted((key, other))
                    copies.setdefault(second, copies.get(first, first))
        return copies
