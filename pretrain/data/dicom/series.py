"""Which DICOM files belong together.

A series is a SeriesInstanceUID, whatever folder its files lie in. It may hold several stacks (other
orientation, size or pixel spacing, another phase): each is a series of its own here, with the
warning `mixed`. Where the UID is empty, as some anonymisers leave it, the files of one folder with
one series number belong together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ..digests import files_digest
from ..volume import LeftOut, Series
from .headers import Header, Slice

SAME_MM = 0.01
"""Slices closer than this are at the same position."""
SAME = 1e-3
"""Directions (cosines) and pixel spacings (mm) closer than this are the same."""


def group_series(headers: Iterable[Header]) -> tuple[list[Series], list[LeftOut]]:
    """The series that files make up, and what made none, one line per reason.

    The order does not depend on the order of the files.
    """
    by_series: dict[str, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.path):
        by_series[header.series].append(header)
    found: list[Series] = []
    left: list[LeftOut] = []
    for key, members in sorted(by_series.items(), key=lambda item: item[1][0].path):
        usable, out = _usable(members)
        left += out
        stacks, out = _stacks(usable)
        left += out
        uid = _uid(key, usable)
        for number, stack in enumerate(stacks, 1):
            name = uid if len(stacks) == 1 else f"{uid}#{number}/{len(stacks)}"
            found.append(Series("dicom", tuple(h.path for h in stack), name, stack[0].patient))
    return found, left


def _usable(members: list[Header]) -> tuple[list[Header], list[LeftOut]]:
    """The members that are CT slices, each object once."""
    left: dict[str, list[str]] = defaultdict(list)
    usable: list[Header] = []
    seen: set[str] = set()
    for header in members:
        if header.fault:
            left[header.fault].append(header.path)
        elif header.sop and header.sop in seen:
            left["a copy of another file"].append(header.path)
        else:
            seen.add(header.sop)
            usable.append(header)
    return usable, [_left(paths, reason) for reason, paths in left.items()]


def _left(paths: Sequence[str], reason: str) -> LeftOut:
    more = f" (and {len(paths) - 1} more files of the series)" if len(paths) > 1 else ""
    return LeftOut(paths[0], reason + more)


def _stacks(members: list[Header]) -> tuple[list[list[Header]], list[LeftOut]]:
    """One series' files by size, orientation, pixel spacing and phase; the largest stack first."""
    stacks: list[list[Header]] = []
    for header in members:
        for stack in stacks:
            single = len(stack[0].slices) == 1 == len(header.slices)
            if single and alike(stack[0].slices[0], header.slices[0]):
                stack.append(header)
                break
        else:
            stacks.append([header])
    stacks = sorted(
        (phase for stack in stacks for phase in _phases(stack)),
        key=lambda s: (-len(s), s[0].slices[0].acquisition),
    )
    kept: list[list[Header]] = []
    left: list[LeftOut] = []
    for stack in stacks:
        paths = [h.path for h in stack]
        slices = sum(len(h.slices) for h in stack)
        if slices > 1 and len(first_at_each_position([s for h in stack for s in h.slices])) == 1:
            left.append(_left(paths, f"{slices} slices at one position"))
        elif slices < 3 and len(stacks) > 1:
            left.append(
                _left(
                    paths,
                    f"{slices} of {len(members)} slices, unlike the series' others in size, "
                    "orientation or pixel spacing",
                )
            )
        else:
            kept.append(stack)
    return kept, left


def alike(a: Slice, b: Slice) -> bool:
    """Whether two slices may belong to one stack: the same size, orientation and pixel spacing."""
    pairs = zip((*a.right, *a.down, *a.pixel_mm), (*b.right, *b.down, *b.pixel_mm), strict=True)
    return a.size == b.size and all(abs(one - other) < SAME for one, other in pairs)


def _phases(stack: list[Header]) -> list[list[Header]]:
    """Split a stack by acquisition, if that makes each position unique.

    Every position must be taken equally often; else the stack stays as it is.
    """
    if len(stack[0].slices) > 1:
        return [stack]
    at = [round(h.slices[0].at() / SAME_MM) for h in stack]
    times = set(Counter(at).values())
    by_acquisition: dict[tuple[int, int], list[Header]] = defaultdict(list)
    for header in stack:
        by_acquisition[header.slices[0].acquisition].append(header)
    if (
        len(times) != 1
        or times == {1}
        or len(set(at)) == 1
        or {len(p) for p in by_acquisition.values()} != {len(set(at))}
    ):
        return [stack]
    phases = [by_acquisition[number] for number in sorted(by_acquisition)]
    clean = all(
        len(first_at_each_position([h.slices[0] for h in phase])) == len(phase) for phase in phases
    )
    return phases if clean else [stack]


def first_at_each_position(slices: Sequence[Slice]) -> list[int]:
    """Indices of the slices that stay when each position along the normal is taken once.

    Of several at one position the lowest acquisition and instance number stays.
    """
    at = np.array([s.at() for s in slices])
    order = sorted(
        range(len(slices)), key=lambda k: (at[k], slices[k].acquisition, slices[k].instance)
    )
    keep: list[int] = []
    start = -np.inf
    for k in order:
        if at[k] - start < SAME_MM:
            rivals = keep[-1], k
            keep[-1] = min(rivals, key=lambda r: (slices[r].acquisition, slices[r].instance))
        else:
            keep.append(k)
            start = at[k]
    return keep


def _uid(key: str, members: list[Header]) -> str:
    """The SeriesInstanceUID; where it is empty, a digest of the files' bytes."""
    if "|" not in key:
        return key
    return "content-" + files_digest(h.path for h in members)
