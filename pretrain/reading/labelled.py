"""Labelled volumes, and what they teach: the levels of borders and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .curve import Curve, passage
from .parts import thresholds
from .regions import Level


@dataclass(frozen=True)
class Labelled:
    """A labelled volume. series: its key. parts: slice -> part. landmarks: name -> slice."""

    series: str
    curve: Curve
    parts: dict[int, str] = field(default_factory=dict)
    landmarks: dict[str, int] = field(default_factory=dict)

    def pool(self) -> tuple[NDArray[np.float64], list[str]]:
        """Scores and parts of the labelled slices."""
        return self.curve.scores[list(self.parts)], list(self.parts.values())

    def gap(self, above: str, below: str) -> tuple[int, int] | None:
        """The last slice of a part and the first slice of the next, between which their border
        lies; none where one of the two has no label.
        """
        last = max((i for i, part in self.parts.items() if part == above), default=None)
        first = min((i for i, part in self.parts.items() if part == below), default=None)
        return None if last is None or first is None else (last, first)


def pool(labelled: Sequence[Labelled]) -> tuple[NDArray[np.float64], list[str]]:
    """Scores and parts of the labelled slices of several volumes."""
    pools = [one.pool() for one in labelled]
    return np.concatenate([scores for scores, _ in pools]), [
        name for _, names in pools for name in names
    ]


def landmark_level(shown: Sequence[tuple[Curve, int]]) -> Level:
    """A landmark's level from the volumes that show it, each with its slice."""
    scores = np.array([curve.scores[index] for curve, index in shown])
    k = len(scores)
    without = (scores.sum() - scores) / (k - 1) if k > 1 else np.array([])
    places = [(float(curve.z_mm[index]),) * 2 for curve, index in shown]
    return _level(float(scores.mean()), scores, [curve for curve, _ in shown], places, without)


def pairs_mm(labelled: Sequence[Labelled]) -> tuple[float, ...]:
    """How far apart labelled volumes see the same landmark (`Regions.pairs_mm`)."""
    found = []
    for one, other in permutations(labelled, 2):
        for name in one.landmarks.keys() & other.landmarks.keys():
            score = float(one.curve.scores[one.landmarks[name]])
            found.append(
                abs(
                    passage(*other.curve, score).z_mm
                    - float(other.curve.z_mm[other.landmarks[name]])
                )
            )
    return tuple(sorted(found))


def border_level(labelled: Sequence[Labelled], order: Sequence[str], border: int) -> Level:
    """The level between `order[border]` and the next part.

    Its residuals come from the volumes that have both parts. Where slices between the parts are
    not labelled, the border may be anywhere among them, and the residual is the largest possible.
    """

    def threshold(volumes: Sequence[Labelled]) -> float:
        scores, names = pool(volumes)
        sides = ["below" if order.index(name) > border else "above" for name in names]
        return float(thresholds(scores, sides, ("above", "below"))[0])

    everything, names = pool(labelled)
    score = float(thresholds(everything, names, order)[border])
    shown, scores, places, without = [], [], [], []
    for one in labelled:
        gap = one.gap(order[border], order[border + 1])
        if gap is not None:
            between = slice(gap[0], gap[1] + 1)
            middles = one.curve.z_mm[between][:-1] + np.diff(one.curve.z_mm[between]) / 2
            shown.append(one.curve)
            scores.append(float(one.curve.scores[between].mean()))
            places.append((float(middles[0]), float(middles[-1])))
            try:
                without.append(threshold([other for other in labelled if other is not one]))
            except ValueError:  # no other volume shows both sides
                return _level(score, np.array(scores), [], [], np.array([]))
    return _level(score, np.array(scores), shown, places, np.array(without))


def _level(
    score: float,
    scores: NDArray[np.float64],
    curves: Sequence[Curve],
    places_mm: Sequence[tuple[float, float]],
    without: NDArray[np.float64],
) -> Level:
    """A level from the scores of volumes, with each volume's distance to it in mm.

    places_mm: where each volume's labels allow the level, from and to. The distance is that to the
    further end.
    """
    residuals = [
        max(abs(passage(*curve, level).z_mm - z) for z in place)
        for curve, place, level in zip(curves, places_mm, without, strict=False)
    ]
    std = float(scores.std(ddof=1)) if len(scores) > 1 else None
    return Level(score, std, len(scores), tuple(map(float, without)), tuple(residuals))
