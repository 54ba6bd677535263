"""Labels and scores that contradict each other, and which of the two is at fault.

Regions learned from them would look like any others and give nonsense: positions far outside
0..100, or a part that no slice is ever given. So `calibrate` refuses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from .labelled import Labelled, pool
from .line import fit_line
from .parts import classify, thresholds
from .regions import Level

SCALE_MM = 30.0
"""The landmarks of a scale must lie this far apart, by the labels and by the scores.

Landmarks are found within some 12 mm, so positions on a shorter scale would be all error.
"""


def check_scale(
    labelled: Sequence[Labelled], landmarks: Mapping[str, Level], scale: tuple[str, str]
) -> None:
    """Raise `ValueError` where two landmarks cannot be positions 0 and 100, and say why.

    They can where the first lies above the second in every volume that shows both, and both labels
    and scores set them at least `SCALE_MM` apart. A landmark that has no label is not judged here.
    """
    zero, hundred = scale
    if not {*scale} <= landmarks.keys() or zero == hundred:
        return
    apart = [
        float(one.curve.z_mm[one.landmarks[hundred]] - one.curve.z_mm[one.landmarks[zero]])
        for one in labelled
        if {*scale} <= one.landmarks.keys()
    ]
    if apart and max(apart) < 0:
        raise ValueError(
            f"the `scale` goes from superior to inferior, and {zero} is labelled below {hundred} "
            f"in {_volumes(len(apart))}; give `scale` as {hundred} {zero}"
        )
    if apart and min(apart) < 0:
        reversed_ = sum(mm < 0 for mm in apart)
        raise ValueError(
            f"the labels contradict each other: {zero} lies below {hundred} in "
            f"{_volumes(reversed_)} and above it in {len(apart) - reversed_}; correct them"
        )
    by_labels = float(np.median(apart)) if apart else None
    if by_labels is not None and by_labels < SCALE_MM:
        raise ValueError(
            f"{zero} and {hundred} are labelled {by_labels:.0f} mm apart; a `scale` needs "
            f"landmarks at least {SCALE_MM:.0f} mm apart, give two others"
        )
    by_scores = (landmarks[hundred].score - landmarks[zero].score) / _slope(labelled)
    if by_scores < SCALE_MM:
        what = (
            f"the scores put {zero} and {hundred} {by_scores:.0f} mm apart, and a `scale` needs "
            f"at least {SCALE_MM:.0f} mm"
        )
        if by_labels is None:
            raise ValueError(
                f"{what}; no labelled volume shows both, so whether labels or weights are at fault "
                "is unknown: label both in one volume"
            )
        raise ValueError(
            f"{what}; the labels put them {by_labels:.0f} mm apart in {_volumes(len(apart))}, so "
            f"{_blame(labelled)}"
        )


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
        given = "is given (separate names by spaces)" if parts is not None else "is labelled"
        raise ValueError(f"only the part {order[0]} {given}; a border needs two")
    if order:
        thresholds(scores, names, order)  # refuses absent and foreign parts
    for one in labelled:
        ranked = [(order.index(one.parts[i]), i) for i in sorted(one.parts)]
        for (above, i), (below, j) in pairwise(ranked):
            if above > below:
                raise ValueError(
                    f"a volume has {order[above]} at slice {i} above {order[below]} at slice "
                    f"{j}, against the order {', '.join(order)} "
                    f"{'given' if parts is not None else 'of their scores'}; "
                    f"{_order_fault(labelled, order[above], order[below], parts is not None)}"
                )
    return order


def check_parts(labelled: Sequence[Labelled], order: Sequence[str]) -> None:
    """Raise `ValueError` where a part's labelled slices are mostly called another part."""
    if not order:
        return
    scores, names = pool(labelled)
    called = classify(scores, thresholds(scores, names, order), order)
    for part in order:
        found = Counter(called[np.array(names) == part].tolist())
        other, most = max(found.items(), key=lambda item: (item[1], item[0] == part))
        if other != part:
            raise ValueError(
                f"the scores do not separate {part} from {other}: of {sum(found.values())} slices "
                f"labelled {part}, {most} are classified as {other}, {found[part]} as {part}; "
                f"{_whose_fault(labelled, part, other, order)}"
            )


def _order_fault(labelled: Sequence[Labelled], above: str, below: str, given: bool) -> str:
    """Whose fault it is that a volume has the part `above` over `below` against the order."""
    gaps = [gap for one in labelled if (gap := one.gap(above, below)) is not None]
    if given or any(last > first for last, first in gaps):
        return "correct the labels, or give `parts` from superior to inferior"
    return (
        f"this order is labelled in {_volumes(len(gaps))}: if that is right, "
        f"{_blame(labelled)}; correct the labels, or give `parts` from superior to inferior"
    )


def _whose_fault(labelled: Sequence[Labelled], part: str, other: str, order: Sequence[str]) -> str:
    """Whether each volume by itself tells two parts apart; then its labels are at fault."""
    shown = [one for one in labelled if {part, other} <= {*one.parts.values()}]
    if not shown:
        return (
            "no labelled volume shows both, so whether labels or weights are at fault is unknown: "
            "label both in one volume"
        )
    pair = tuple(name for name in order if name in (part, other))
    if all(_told_apart(one, pair, part) for one in shown):
        if len(labelled) == 1:
            return "label more of its slices"
        return (
            "each volume by itself tells them apart, so the volumes are labelled differently: "
            "correct the labels"
        )
    return _blame(shown)


def _told_apart(one: Labelled, pair: Sequence[str], part: str) -> bool:
    """Whether a volume's own threshold gives most slices of a part to it."""
    kept = [i for i, name in one.parts.items() if name in pair]
    scores, names = one.curve.scores[kept], [one.parts[i] for i in kept]
    called = classify(scores, thresholds(scores, names, pair), pair)
    return bool((called[np.array(names) == part] == part).mean() > 0.5)


def _blame(labelled: Sequence[Labelled]) -> str:
    """Curves that fall towards the feet, or else the weights."""
    falling = [one.series for one in labelled if fit_line(*one.curve).robust_slope < 0]
    if falling and len(falling) < len(labelled):
        return (
            f"the scores are at fault: those of series {falling[0]} fall towards the feet; leave "
            "it out if it lies upside-down"
        )
    return "the weights are at fault, not the labels: train longer, or on more such scans"


def _slope(labelled: Sequence[Labelled]) -> float:
    """Score per mm in the typical labelled volume, without its sign; infinite where none rises."""
    slopes = [abs(fit_line(*one.curve).robust_slope) for one in labelled]
    return float(np.median([slope for slope in slopes if slope > 0] or [np.inf]))


def _volumes(count: int) -> str:
    return f"{count} labelled volume{'s' * (count != 1)}"
