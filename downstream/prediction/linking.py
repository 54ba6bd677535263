"""Boxes in slices become findings in space.

Slices are gone through from head to foot. A box continues a finding if it overlaps the finding's
last box by more than `OVERLAP` (IoU, which is the same in pixels and in mm), and if that box lies
in the slice looked at before, or at most `GAP_MM` above: a detector may miss a slice. No finding
goes across slices that the scan lacks (`orient.gaps_in`), unless its boxes are at most `GAP_MM`
apart. Pairs are taken in order of their overlap, each box and each finding once. Any other box
begins a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.orient import gaps_in

from ..metrics.matching import ious
from ..planting.measurement import MARGIN
from .boxes import Boxes

OVERLAP = 0.3
GAP_MM = 10.0
MIN_SCORE = 0.3
"""Score that a box has at least, if nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A finding in a scan.

    members: of the scan's boxes, by slice. score: of its surest box. first, best, last: slices of
    the first, the surest and the last box. edges: (x1, y1, x2, y2) around all boxes, in pixels as
    those of `Boxes`. z_mm: where it begins and ends; a slice reaches half a step to either side.
    size_mm: its extent (x, y, z). diameter_mm: the longer side of the surest box, without the
    margin that DeepLesion's boxes have; a slanting lesion is up to 1.4 times as long.
    """

    members: tuple[int, ...]
    score: float
    first: int
    best: int
    last: int
    edges: tuple[float, float, float, float]
    z_mm: tuple[float, float]
    size_mm: tuple[float, float, float]
    diameter_mm: float

    @property
    def centre(self) -> tuple[float, float, float]:
        """(x, y) in pixels as the edges, and z in mm below the first slice."""
        x1, y1, x2, y2 = self.edges
        return (x1 + x2) / 2, (y1 + y2) / 2, sum(self.z_mm) / 2


def surest(finding: Finding, boxes: Boxes) -> int:
    """Which of a scan's boxes is a finding's surest."""
    members = np.array(finding.members)
    return int(members[int(boxes.scores[members].argmax())])


def link(
    boxes: Boxes,
    z_mm: NDArray[np.float64],
    spacing_mm: Sequence[float],
    slices: Sequence[int],
    *,
    overlap: float = OVERLAP,
    gap_mm: float = GAP_MM,
) -> list[Finding]:
    """The findings of a scan, the surest first.

    Args:
        boxes: in its slices.
        z_mm: `[n]`, where all slices lie.
        spacing_mm: (z, y, x).
        slices: those that were looked at, ascending.
        overlap: IoU above which a box continues a finding.
        gap_mm: how far apart two boxes of a finding may lie where slices between have none.
    """
    chains = _chains(boxes, z_mm, slices, overlap, gap_mm)
    found = [_finding(chain, boxes, z_mm, spacing_mm) for chain in chains]
    return sorted(found, key=lambda one: (-one.score, one.members))


def _chains(
    boxes: Boxes,
    z_mm: NDArray[np.float64],
    slices: Sequence[int],
    overlap: float,
    gap_mm: float,
) -> list[list[int]]:
    """The boxes of each finding, by slice."""
    chains: list[list[int]] = []
    near: list[list[int]] = []
    lacking = np.array([gap.after for gap in gaps_in(z_mm)])
    before = -1
    for z in slices:
        here = np.flatnonzero(boxes.index == z)
        goes_on = not ((before <= lacking) & (lacking < z)).any()
        near = [
            chain
            for chain in near
            if (boxes.index[chain[-1]] == before and goes_on)
            # Positions are sums of steps: 4 x 2.5 mm may come out above 10 mm.
            or z_mm[z] - z_mm[boxes.index[chain[-1]]] <= gap_mm + 1e-3
        ]
        shared = ious(boxes.edges[[chain[-1] for chain in near]], boxes.edges[here])
        new = {one: [int(here[one])] for one in range(len(here))}
        for chain, one in _pairs(shared, overlap):
            near[chain] += new.pop(one)
        chains += new.values()
        near += new.values()
        before = z
    return chains


def _pairs(shared: NDArray[np.float64], overlap: float) -> Iterable[tuple[int, int]]:
    """Rows and columns of the largest overlaps, each row and column once."""
    rows, columns = set(), set()
    for flat in np.argsort(-shared, axis=None, kind="stable").tolist():
        row, column = divmod(flat, shared.shape[1])
        if not shared[row, column] > overlap:
            return
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            yield row, column


def _finding(
    members: Sequence[int],
    boxes: Boxes,
    z_mm: NDArray[np.float64],
    spacing_mm: Sequence[float],
) -> Finding:
    step, y_mm, x_mm = spacing_mm
    chain = np.array(members)
    edges, scores, index = boxes.edges[chain], boxes.scores[chain], boxes.index[chain]
    best = int(scores.argmax())
    x1, y1 = edges[:, :2].min(0).tolist()
    x2, y2 = edges[:, 2:].max(0).tolist()
    ends = float(z_mm[index[0]]) - step / 2, float(z_mm[index[-1]]) + step / 2
    sides = (edges[best, 2:] - edges[best, :2]) * (x_mm, y_mm)
    margins = 2 * np.minimum(MARGIN * np.array([x_mm, y_mm]), MARGIN)
    return Finding(
        tuple(int(one) for one in members),
        float(scores[best]),
        int(index[0]),
        int(index[best]),
        int(index[-1]),
        (x1, y1, x2, y2),
        ends,
        ((x2 - x1) * x_mm, (y2 - y1) * y_mm, ends[1] - ends[0]),
        float((sides - margins).max().clip(0)),
    )
