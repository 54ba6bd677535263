"""Whether slices are missing from a series: by positions, by numbers, and by its curve."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.dicom import Header
from ...data.orient import Gap, gaps_in
from ...reading.finding import Finding

DOUBTS = {"gap", "glued", "swapped", "repeated", "spacing"}
"""Findings after which even positions are not believed."""


@dataclass(frozen=True)
class Completeness:
    """Whether slices are missing.

    verdict: "complete", "missing" or "unknown". missing: how many, as far as it is known. places:
    how many after which slice, "4 after 37". reason: in one sentence.
    """

    verdict: str
    reason: str
    missing: int = 0
    places: str = ""


def completeness(
    kind: str,
    z_mm: NDArray[np.float64],
    warnings: Collection[str],
    findings: Sequence[Finding],
    *,
    begins_at: int = 0,
    images: int = 0,
) -> Completeness:
    """Judge a series.

    Args:
        kind: of its files; of "dicom" each slice has a position of its own.
        z_mm: `[n]` mm below the first slice.
        warnings: of its volume.
        findings: faults of its curve.
        begins_at: the first number of its slices (`begins_at`); 0 where they have none.
        images: how many images its acquisition has, as its header says; 0 where it does not.
    """
    lost = _unread(warnings)
    if gaps := gaps_in(z_mm):
        return _by_positions(gaps, z_mm, lost)
    if lost:
        return Completeness("missing", f"{lost} files are missing or cannot be read", lost)
    n = len(z_mm)
    if doubts := [found for found in findings if found.kind in DOUBTS]:
        first = doubts[0]
        where = f"{first.kind} at slices {first.first} to {first.last}"
        return Completeness("unknown", f"positions are even, but the curve shows: {where}")
    if n < 3:
        return Completeness("unknown", f"{n} slice{'s' * (n != 1)} are too few to tell")
    if kind != "dicom":
        return Completeness("unknown", "this format gives no slice a position of its own")
    there = n + twice(warnings)
    # The header's count may be that of several stacks, so too few in one of them mean nothing.
    if there < images and not any(text.startswith(("mixed", "joined")) for text in warnings):
        reason = f"{there} of {images} images of the acquisition"
        return Completeness("missing", reason, images - there)
    if begins_at > 1 and not 0 < images <= there:
        reason = f"instance numbers begin at {begins_at}: slices may be missing at an end"
        return Completeness("unknown", reason)
    return Completeness("complete", "no gap between positions")


def _by_positions(gaps: Sequence[Gap], z_mm: NDArray[np.float64], lost: int) -> Completeness:
    counts = [max(1, round(gap.step_mm / gap.usual_mm) - 1) for gap in gaps]
    places = "; ".join(f"{n} after {gap.after}" for n, gap in zip(counts, gaps, strict=True))
    widest = max(gaps, key=lambda gap: gap.step_mm)
    reason = (
        f"a step of {widest.step_mm:.1f} mm at {z_mm[widest.after]:.0f} mm, usual "
        f"{widest.usual_mm:.1f} mm"
    )
    unread = f"; {lost} files are missing or cannot be read" if lost else ""
    return Completeness("missing", reason + unread, sum(counts), places)


def _unread(warnings: Collection[str]) -> int:
    """How many files of the series are missing or could not be read, as its volume warns."""
    lost = 0
    for text in warnings:
        if found := re.match(r"unreadable: (\d+) of", text):
            lost += int(found[1])
        elif found := re.match(r"gap: (\d+) of (\d+) files", text):
            lost += int(found[2]) - int(found[1])
    return lost


def twice(warnings: Collection[str]) -> int:
    """How many slices lay at a position that was taken, as the volume warns."""
    found = [re.match(r"duplicate: (\d+) of", text) for text in warnings]
    return sum(int(match[1]) for match in found if match)


def begins_at(headers: Sequence[Header]) -> int:
    """The place of a series' lowest instance number in the count from 1; 0 where they tell nothing.

    Numbers may go up by more than one.
    """
    numbers = sorted(one.instance for header in headers for one in header.slices)
    if len(numbers) < 3 or len({*numbers}) < len(numbers) or numbers[0] < 1:
        return 0
    return (numbers[0] - 1) // int(np.median(np.diff(numbers))) + 1


def numbered(headers: Sequence[Header]) -> str:
    """In which order slices are numbered: "head to feet", "feet to head", or "" for neither."""
    slices = sorted((one for header in headers for one in header.slices), key=lambda one: one.at())
    numbers = np.array([one.instance for one in slices])
    if len(numbers) < 3:
        return ""
    (a, b, _), (c, d, _) = slices[0].right, slices[0].down
    steps = np.diff(numbers) * (1 if a * d - b * c > 0 else -1)  # positions may grow to the feet
    if (steps > 0).all():
        return "feet to head"
    return "head to feet" if (steps < 0).all() else ""
