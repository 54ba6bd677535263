"""A finding: one fault that a score curve shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("reversed", "spacing", "gap", "repeated", "glued", "swapped", "abnormal", "out_of_range")

FACTOR = 4.5
"""A jump, a departure or a change of slope is a fault if it is this many times as large as the
largest one in the typical series.
"""


@dataclass(frozen=True)
class Finding:
    """One fault of a score curve.

    kind: one of `KINDS`. first, last: slices, 0 at the superior end, both included; a jump lies
    between the two. confidence: 0.5 at the limit, rising towards 1 beyond it; not a probability.
    reason: a sentence with the numbers.
    """

    kind: str
    first: int
    last: int
    confidence: float
    reason: str


def kinds_of(findings: Iterable[Finding]) -> str:
    """The kinds of a series' findings, as series.csv names them."""
    return "; ".join(dict.fromkeys(finding.kind for finding in findings))


def exceeding(
    kind: str, index: NDArray[np.int64], size: float, limit: float, reason: str
) -> Finding:
    """The finding of a fault whose size exceeds its limit, in the slices of these indices."""
    return Finding(
        kind, int(index.min()), int(index.max()), round(1 - limit / (2 * size), 3), reason
    )
