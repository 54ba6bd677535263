"""Boxes that become findings, beside what a hand computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ubr.downstream.metrics.matching import ious
from ubr.downstream.prediction.boxes import Boxes
from ubr.downstream.prediction.linking import Finding, link

BOX = (10.0, 20.0, 30.0, 50.0)


def linked(
    rows: list[tuple[int, float, tuple[float, float, float, float]]],
    *,
    step_mm: float = 5.0,
    n: int = 10,
    slices: Any = None,
) -> list[Finding]:
    """rows: (slice, score, box)."""
    boxes = Boxes(
        np.array([z for z, _, _ in rows], np.int32),
        np.array([box for _, _, box in rows]).reshape(-1, 4),
        np.array([score for _, score, _ in rows]),
    )
    looked_at = range(n) if slices is None else slices
    return link(boxes, np.arange(n) * step_mm, (step_mm, 0.5, 2.0), looked_at)


def test_link__a_finding_is_measured_in_mm() -> None:
    rows = [(3, 0.5, BOX), (4, 0.9, (12.0, 22.0, 32.0, 60.0)), (5, 0.6, (12.0, 24.0, 32.0, 58.0))]
    (found,) = linked(rows)
    assert (found.members, found.score) == ((0, 1, 2), 0.9)
    assert (found.first, found.best, found.last) == (3, 4, 5)
    assert found.edges == (10, 20, 32, 60)
    # Slices 3 to 5 lie at 15 to 25 mm, and each is 5 mm thick.
    assert found.z_mm == (12.5, 27.5) and found.centre == (21, 40, 20)
    assert found.size_mm == (22 * 2.0, 40 * 0.5, 15)
    # 20 columns of 2 mm without 5 mm on either side; 38 rows of 0.5 mm without 5 of them.
    assert found.diameter_mm == pytest.approx(max(40 - 10, 19 - 5))


def test_link__nothing_gives_nothing() -> None:
    assert linked([]) == []


def test_link__a_box_that_overlaps_too_little_begins_another() -> None:
    """Boxes 20 wide, moved by d: IoU is (20 - d) / (20 + d), 0.3 at d = 10.77."""
    for moved, count in ((10.7, 1), (10.8, 2)):
        there = (10.0 + moved, 20.0, 30.0 + moved, 50.0)
        assert len(linked([(3, 0.5, BOX), (4, 0.4, there)])) == count


def test_link__a_missed_slice_is_passed_over_up_to_ten_mm() -> None:
    for step_mm, gap, count in ((5.0, 2, 1), (5.0, 3, 2), (2.5, 4, 1), (2.5, 5, 2), (10.1, 1, 1)):
        assert len(linked([(2, 0.5, BOX), (2 + gap, 0.5, BOX)], step_mm=step_mm)) == count


def test_link__slices_that_were_not_looked_at_are_no_gap() -> None:
    rows = [(0, 0.5, BOX), (4, 0.5, BOX), (8, 0.5, BOX)]
    assert len(linked(rows)) == 3
    assert len(linked(rows, slices=[0, 4, 8])) == 1
    assert len(linked([rows[0], rows[2]], slices=[0, 4, 8])) == 2


def test_link__no_finding_goes_across_slices_that_the_scan_lacks() -> None:
    """Six slices, some missing, and six more; a box in the last one before, the first one after."""
    boxes = Boxes(np.array([5, 6], np.int32), np.array([BOX, BOX]), np.array([0.9, 0.8]))
    for missing_mm, slices, count in (
        (300.0, range(12), 2),
        (300.0, [1, 5, 6, 10], 2),
        (10.0, range(12), 1),
        (0.0, range(12), 1),
    ):
        z_mm = np.arange(12) * 5.0
        z_mm[6:] += missing_mm - 5.0 if missing_mm else 0.0
        assert len(link(boxes, z_mm, (5.0, 0.5, 2.0), slices)) == count


def test_link__two_lesions_side_by_side_stay_two() -> None:
    """The best pairs come first, whatever the order of scores."""
    beside = (22.0, 20.0, 42.0, 50.0)
    rows = [(1, 0.9, BOX), (1, 0.8, beside), (2, 0.9, beside), (2, 0.7, BOX)]
    found = linked(rows)
    assert [one.members for one in found] == [(0, 3), (1, 2)]
    assert [one.edges for one in found] == [BOX, beside]


def test_link__a_second_box_of_a_slice_begins_its_own() -> None:
    rows = [(1, 0.9, BOX), (2, 0.8, BOX), (2, 0.5, (11.0, 20.0, 30.0, 50.0)), (3, 0.7, BOX)]
    assert [one.members for one in linked(rows)] == [(0, 1, 3), (2,)]


def test_link__findings_come_by_score() -> None:
    far = (100.0, 100.0, 120.0, 120.0)
    found = linked([(1, 0.2, BOX), (1, 0.1, far), (5, 0.6, far), (5, 0.6, BOX)])
    assert [(one.score, one.members) for one in found] == [
        *((0.6, (2,)), (0.6, (3,)), (0.2, (0,)), (0.1, (1,)))
    ]


def test_link__balls_are_one_finding_each_with_the_size_they_have() -> None:
    """Cross-sections of a ball of 30 mm at every 3 mm, with DeepLesion's margin."""
    rows = []
    for z in range(40):
        r2 = 15**2 - (z * 3.0 - 60) ** 2
        if r2 > 0:
            r = r2**0.5
            # Half widths in columns of 2 mm and rows of 0.5 mm; the margin is 5 mm and 5 rows.
            dx, dy = r / 2 + 2.5, r / 0.5 + 5
            rows.append((z, r / 15, (50 - dx, 90 - dy, 50 + dx, 90 + dy)))
    (found,) = linked(rows, step_mm=3.0, n=40)
    assert found.centre == pytest.approx((50, 90, 60))
    assert found.diameter_mm == pytest.approx(30) and found.best == 20
    assert found.size_mm == pytest.approx((40, 35, 27))


def test_ious__of_boxes_in_space() -> None:
    a = np.array([[0.0, 0, 0, 2, 2, 2]])
    b = np.array([[1.0, 1, 1, 3, 3, 3], [0, 0, 0, 2, 2, 2], [2, 0, 0, 4, 2, 2], [1, 1, 1, 1, 1, 1]])
    assert ious(a, b)[0] == pytest.approx([1 / 15, 1, 0, 0])
    assert ious(b[3:], b[3:]).tolist() == [[0]]
