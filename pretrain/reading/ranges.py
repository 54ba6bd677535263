"""Which slices of a scan lie between two levels of the body."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curve import Curve, Passage, passage, pearson_r
from .regions import Regions, number


@dataclass(frozen=True)
class Kept:
    """The slices of a range. first, last: of those kept, both included. top, bottom: where the
    curve passes the ends.
    """

    first: int
    last: int
    top: Passage
    bottom: Passage


@dataclass(frozen=True)
class Range:
    """The body from one level down to another.

    Args:
        start: where it begins: a landmark, a part (its upper border), or a number: a score, or
            position_mm / 50 with regions that read positions. None: it has no upper end.
        end: likewise where it ends; of a part, its lower border.
        margin_mm: length kept beyond both ends.
        partial: keep what a scan shows of the range. Without it, a scan that does not show all of
            the range is refused.
    """

    start: str | None
    end: str | None
    margin_mm: float = 0.0
    partial: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin_mm) and self.margin_mm >= 0):
            raise ValueError(f"margin_mm must be at least 0, got {self.margin_mm:g}")

    def scores(self, regions: Regions | None) -> tuple[float, float]:
        """The scores of both ends.

        Raises `ValueError` for levels that the regions do not have, or that lie in wrong order.
        """
        above = -math.inf if self.start is None else _score(regions, self.start, upper=True)
        below = math.inf if self.end is None else _score(regions, self.end, upper=False)
        if not above < below:
            raise ValueError(
                f"{self.start} ({_unit(regions)} {above:.3g}) must lie above {self.end} "
                f"({below:.3g}); swap the two"
            )
        return above, below

    def missing(self, levels: Curve, regions: Regions | None) -> tuple[str, str] | None:
        """The ends that a scan must show and does not, and a hint; None where it shows enough.

        levels: what the regions read of the scan.
        """
        ends = self.scores(regions)
        top, bottom = (passage(*levels, score) for score in ends)
        named = zip((self.start, self.end), ends, (top, bottom), strict=True)
        missing = [str(name) for name, score, at in named if at.outside and math.isfinite(score)]
        apart = _apart(top, bottom)
        if not missing or (self.partial and not apart):
            return None
        hint = "nothing of the range is in it" if apart else "use `partial` to cut to what is there"
        return " and ".join(missing), hint

    def kept(
        self, levels: Curve, scores: NDArray[np.floating], regions: Regions | None, called: str
    ) -> Kept:
        """The slices of a scan that are kept.

        Args:
            levels: what the regions read of the scan.
            scores: its scores, `[n]`.
            regions: that know the levels by name; None between two scores.
            called: what the scan is called in errors.

        Raises:
            ValueError: as `scores`, or the scan does not show the range.
        """
        above, below = self.scores(regions)
        if refusal := self.missing(levels, regions):
            shown = _shown(scores, levels, regions)
            raise ValueError(f"{called} does not show {refusal[0]}: {shown}; {refusal[1]}")
        top, bottom = passage(*levels, above), passage(*levels, below)
        between = self._between(top, bottom, levels)
        if not len(between):
            raise ValueError(
                f"no slice of {called} lies between {self.start} and {self.end}, both at "
                f"{top.z_mm:.1f} mm; give a `margin_mm`"
            )
        return Kept(int(between[0]), int(between[-1]), top, bottom)

    def within(self, levels: Curve, regions: Regions | None) -> NDArray[np.intp]:
        """Indices of a scan's slices that lie in the range; none where it shows nothing of it.

        Arguments as of `missing`.
        """
        top, bottom = (passage(*levels, score) for score in self.scores(regions))
        if _apart(top, bottom):
            return np.empty(0, np.intp)
        return self._between(top, bottom, levels)

    def _between(self, top: Passage, bottom: Passage, levels: Curve) -> NDArray[np.intp]:
        z_mm = levels.z_mm
        above, below = top.z_mm - self.margin_mm, bottom.z_mm + self.margin_mm
        return np.flatnonzero((z_mm >= above) & (z_mm <= below))


def _score(regions: Regions | None, level: str, *, upper: bool) -> float:
    """`Regions.level_score`; without regions the level must be a number."""
    if regions is not None:
        return regions.level_score(level, upper=upper)
    if (score := number(level)) is None:
        raise ValueError(
            f"{level!r} is not a score; give `regions`, which have the names of parts and landmarks"
        )
    return score


def _unit(regions: Regions | None) -> str:
    """What numbers of levels are."""
    return "score" if regions is None or regions.axis == "score" else "position_mm / 50"


def _apart(top: Passage, bottom: Passage) -> bool:
    """Whether a scan ends before a range begins, or begins after it ends."""
    return top.outside == "inferior" or bottom.outside == "superior"


def _shown(scores: NDArray[np.floating], levels: Curve, regions: Regions | None) -> str:
    """What of the body a scan shows, in the words of the regions and in what they read."""
    low, high = np.percentile(levels.scores, [2, 98])
    r = pearson_r(scores, levels.z_mm)
    of = f"it shows {low:.2f} to {high:.2f} ({_unit(regions)}, r {r:.2f})"
    if regions is None:
        return of
    places = {name: passage(*levels, level.score) for name, level in regions.levels().items()}
    shown = ", ".join(
        f"{name} at {place.z_mm:.0f} mm" for name, place in places.items() if not place.outside
    )
    return f"{of}, {shown or 'none of the levels known'}"
