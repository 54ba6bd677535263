"""Which DICOM files belong together.

A series is a patient's SeriesInstanceUID, whatever folder its files lie in; a UID alone is not
trusted, some writers give the same to everybody. It may hold several stacks (other orientation,
size or pixel spacing, another phase): each is a series of its own here, with the warning `mixed`.
Where the UID is empty, as some anonymisers leave it, the files of one folder with one series number
belong together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..digests import files_digest
from ..orient import step_warnings
from ..volume import LeftOut, Series
from .headers import Header, Slice
from .phases import LEAST, SAME_MM, rank, split

SAME = 1e-3
"""Directions (cosines) and pixel spacings (mm) closer than this are the same."""


@dataclass(eq=False)
class _Group:
    """The files of one series, and what its volumes are warned of."""

    members: list[Header]
    warnings: list[str] = field(default_factory=list)
    own_uid: bool = True


@dataclass(frozen=True)
class _Frame:
    """One slice of a series: its file, and its number among the file's slices."""

    header: Header
    number: int

    @property
    def slice(self) -> Slice:
        return self.header.slices[self.number]


def group_series(headers: Iterable[Header]) -> tuple[list[Series], list[LeftOut]]:
    """The series that files make up, and what made none, one line per reason.

    The order does not depend on the order of the files.
    """
    by_series: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.path):
        by_series[header.series, *header.whose].append(header)
    groups: list[_Group] = []
    left: list[LeftOut] = []
    for members in by_series.values():
        usable, out = _usable(members)
        left += out
        if usable:
            groups.append(_Group(usable))
    _mark_shared_uids(groups)
    found: list[Series] = []
    for group in _join_single_slices(groups):
        stacks, out = _stacks(group.members)
        left += out
        uid = _uid(group)
        for number, stack in enumerate(stacks, 1):
            of = f"#{number}/{len(stacks)}" if len(stacks) > 1 else ""
            mixed = [f"mixed: stack {number} of {len(stacks)} of the series"] if of else []
            found.append(_series(uid + of, stack, (*mixed, *group.warnings)))
    return sorted(found, key=lambda s: s.files[0]), left


def _usable(members: list[Header]) -> tuple[list[Header], list[LeftOut]]:
    """The members that are CT slices, each once.

    A copy has equal content: a UID may be given to many slices.
    """
    left: dict[str, list[str]] = defaultdict(list)
    alike: dict[tuple[Slice, ...], list[Header]] = defaultdict(list)
    for header in members:
        if header.fault:
            left[header.fault].append(header.path)
        else:
            key = tuple(
                replace(s, whole="") if s.whole == header.path else s for s in header.slices
            )
            alike[key].append(header)
    usable: list[Header] = []
    for rivals in alike.values():
        seen: set[str] = set()
        for header in rivals:
            digest = files_digest([header.path]) if len(rivals) > 1 else ""
            if digest in seen:
                left["a copy of another file"].append(header.path)
            else:
                seen.add(digest)
                usable.append(header)
    usable.sort(key=lambda h: h.path)
    return usable, [_left(paths, reason) for reason, paths in left.items()]


def _left(paths: Sequence[str], reason: str) -> LeftOut:
    more = f" (and {len(paths) - 1} more files of the series)" if len(paths) > 1 else ""
    return LeftOut(paths[0], reason + more)


def _mark_shared_uids(groups: list[_Group]) -> None:
    """Warn of several patients or studies under one UID, which then names none of them."""
    sharing: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        sharing[group.members[0].series].append(group)
    for sharers in sharing.values():
        for group in sharers if len(sharers) > 1 else ():
            group.own_uid = False
            group.warnings.append(
                f"mixed: {len(sharers)} patients or studies have this series' UID"
            )


def _join_single_slices(groups: list[_Group]) -> list[_Group]:
    """Groups of one slice each as one, where patient, study and series number are the same and the
    slices make an even stack. Others that would make a stack stay apart, and are warned of.
    """
    single = {g: None for g in groups if len(g.members) == 1 == len(g.members[0].slices)}
    kept = [g for g in groups if g not in single]
    for apart in _by(single, lambda h: (h.series if "|" in h.series else "", *h.whose, h.number)):
        members = [group.members[0] for group in apart]
        if _is_stack(members) and not step_warnings(_places(members)):
            kept.append(_Group(members, [f"joined: {len(apart)} series of one slice each"], False))
            for group in apart:
                del single[group]
    for apart in _by(single, lambda h: (h.patient or str(Path(h.path).parent),)):
        if _is_stack([group.members[0] for group in apart]):
            for group in apart:
                group.warnings.append(f"single: one of {len(apart)} series of one slice each")
    return [*kept, *single]


def _by(groups: Iterable[_Group], key: Callable[[Header], Hashable]) -> list[list[_Group]]:
    found: dict[Hashable, list[_Group]] = defaultdict(list)
    for group in groups:
        found[key(group.members[0])].append(group)
    return [*found.values()]


def _places(members: Sequence[Header]) -> NDArray[np.float64]:
    return np.sort([header.slices[0].at() for header in members])


def _is_stack(members: Sequence[Header]) -> bool:
    """Whether files of one slice each, of one grid, lie at as many places."""
    return (
        len(members) >= LEAST
        and all(alike(members[0].slices[0], header.slices[0]) for header in members)
        and float(np.diff(_places(members)).min()) > SAME_MM
    )


def _stacks(members: list[Header]) -> tuple[list[list[_Frame]], list[LeftOut]]:
    """One series' slices by size, orientation, pixel spacing and phase; the largest stack first."""
    grids: list[list[_Frame]] = []
    frames = [_Frame(header, number) for header in members for number in range(len(header.slices))]
    for frame in frames:
        for grid in grids:
            first = grid[0].slice
            if first.whole == frame.slice.whole and alike(first, frame.slice):
                grid.append(frame)
                break
        else:
            grids.append([frame])
    stacks = [
        [place[k] for k in part]
        for grid in grids
        for place in _by_frame_of_reference(grid)
        for part in split([frame.slice for frame in place])
    ]
    stacks.sort(key=lambda stack: (-len(stack), min(rank(frame.slice) for frame in stack)))
    kept: list[list[_Frame]] = []
    left: list[LeftOut] = []
    for stack in stacks:
        paths = list(dict.fromkeys(frame.header.path for frame in stack))
        if len(stack) > 1 and len(first_at_each_position([f.slice for f in stack])) == 1:
            left.append(_left(paths, f"{len(stack)} slices at one position"))
        elif len(stack) < LEAST and len(stacks) > 1:
            same_grid = any(alike(stack[0].slice, s[0].slice) for s in stacks if s is not stack)
            what = "acquisition" if same_grid else "size, orientation or pixel spacing"
            unlike = f"{len(stack)} of {len(frames)} slices, unlike the series' others in {what}"
            left.append(_left(paths, unlike))
        else:
            kept.append(stack)
    return kept, left


def _by_frame_of_reference(frames: list[_Frame]) -> list[list[_Frame]]:
    """Slices whose coordinates have one origin, unless every slice names an origin of its own."""
    by_origin: dict[str, list[_Frame]] = defaultdict(list)
    for frame in frames:
        by_origin[frame.slice.frame_of_reference].append(frame)
    stacks = [*by_origin.values()]
    return stacks if max(map(len, stacks)) >= LEAST else [frames]


def _series(uid: str, stack: Sequence[_Frame], warnings: Sequence[str]) -> Series:
    by_file: dict[str, list[_Frame]] = defaultdict(list)
    for frame in sorted(stack, key=lambda frame: (frame.header.path, frame.number)):
        by_file[frame.header.path].append(frame)
    headers = [frames[0].header for frames in by_file.values()]
    all_of_all = len(stack) == sum(len(header.slices) for header in headers)
    parts = max(header.parts for header in headers)
    lacking = all_of_all and len(headers) < parts
    gap = (f"gap: {len(headers)} of {parts} files of the object",) if lacking else ()
    return Series(
        "dicom",
        tuple(by_file),
        uid,
        headers[0].patient,
        () if all_of_all else tuple(tuple(f.number for f in frames) for frames in by_file.values()),
        (*warnings, *gap),
    )


def alike(a: Slice, b: Slice) -> bool:
    """Whether two slices may belong to one stack: the same size, orientation and pixel spacing."""
    pairs = zip((*a.right, *a.down, *a.pixel_mm), (*b.right, *b.down, *b.pixel_mm), strict=True)
    return a.size == b.size and all(abs(one - other) < SAME for one, other in pairs)


def first_at_each_position(slices: Sequence[Slice]) -> list[int]:
    """Indices of the slices that stay when each position along the normal is taken once.

    Of several at one position the lowest acquisition and instance number stays.
    """
    at = np.array([s.at() for s in slices])
    order = sorted(range(len(slices)), key=lambda k: (at[k], rank(slices[k])))
    keep: list[int] = []
    start = -np.inf
    for k in order:
        if at[k] - start < SAME_MM:
            keep[-1] = min((keep[-1], k), key=lambda r: rank(slices[r]))
        else:
            keep.append(k)
            start = at[k]
    return keep


def _uid(group: _Group) -> str:
    """The SeriesInstanceUID; where it is empty or names several, a digest of the files' bytes."""
    uid = group.members[0].series
    if group.own_uid and "|" not in uid:
        return uid
    return "content-" + files_digest(h.path for h in group.members)
