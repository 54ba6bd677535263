"""Labelled volumes, and what they teach: the order of parts, levels of borders and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations

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


def pool(labelled: Sequence[Labelled]) -> tuple[NDArray[np.float64], list[str]]:
    """Scores and parts of the labelled slices of several volumes."""
    pools = [one.pool() for one in labelled]
    return np.concatenate([scores for scores, _ in pools]), [
        name for _, names in pools for name in names
    ]


def order_of_parts(labelled: Sequence[Labelled], parts: Sequence[str] | None) -> tuple[str, ...]:
    """The parts from superior to inferior, as given or by median score.

    Raises `ValueError` where a volume contradicts it.
    """
    scores, names = pool(labelled)
    of_part = {part: scores[np.array(names) == part] for part in dict.fromkeys(names)}
    order = (
        tuple(parts)
        if parts is not None
        else tuple(sorted(of_part, key=lambda part: float(np.median(of_part[part]))))
    )
    if len(set(order)) != len(order):
        raise ValueError(f"parts must differ, got {', '.join(order)}")
    if order and len(order) < 2:
        given = "is given (names are set apart by spaces)" if parts is not None else "is labelled"
        raise ValueError(f"only the part {order[0]} {given}; a border needs two")
    if order:
        thresholds(scores, names, order)  # refuses absent and foreign parts
    for one in labelled:
        ranked = [(order.index(one.parts[i]), i) for i in sorted(one.parts)]
        for (above, i), (below, j) in pairwise(ranked):
            if above > below:
                raise ValueError(
                    f"a volume has {order[above]} at slice {i} above {order[below]} at slice "
                    f"{j}, against the order {', '.join(order)}; "
                    "correct the labels, or give `parts` from superior to inferior"
                )
    return order


def landmark_level(shown: Sequence[tuple[Curve, int]]) -> Level:
    """A landmark's level from the volumes that show it, each with its slice."""
    scores = np.array([curve.scores[index] for curve, index in shown])
    k = len(scores)
    without = (scores.sum() - scores) / (k - 1) if k > 1 else np.array([])
    labels = [float(curve.z_mm[index]) for curve, index in shown]
    return _level(float(scores.mean()), scores, [curve for curve, _ in shown], labels, without)


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

    Its residuals come from volumes whose labels show it between two slices.
    """

    def threshold(volumes: Sequence[Labelled]) -> float:
        scores, names = pool(volumes)
        sides = ["below" if order.index(name) > border else "above" for name in names]
        return float(thresholds(scores, sides, ("above", "below"))[0])

    everything, names = pool(labelled)
    score = float(thresholds(everything, names, order)[border])
    shown, scores, labels, without = [], [], [], []
    for one in labelled:
        last = next(
            (
                i
                for i, part in one.parts.items()
                if part == order[border] and one.parts.get(i + 1) == order[border + 1]
            ),
            None,
        )
        if last is not None:
            shown.append(one.curve)
            scores.append(float(one.curve.scores[last : last + 2].mean()))
            labels.append(float(one.curve.z_mm[last : last + 2].mean()))
            try:
                without.append(threshold([other for other in labelled if other is not one]))
            except ValueError:  # no other volume shows both sides
                return _level(score, np.array(scores), [], [], np.array([]))
    return _level(score, np.array(scores), shown, labels, np.array(without))


def _level(
    score: float,
    scores: NDArray[np.float64],
    curves: Sequence[Curve],
    labels_mm: Sequence[float],
    without: NDArray[np.float64],
) -> Level:
    """A level from the scores of volumes, with each volume's distance to it in mm."""
    residuals = [
        abs(passage(*curve, level).z_mm - z)
        for curve, z, level in zip(curves, labels_mm, without, strict=False)
    ]
    std = float(scores.std(ddof=1)) if len(scores) > 1 else None
    return Level(score, std, len(scores), tuple(map(float, without)), tuple(residuals))
