"""Which DICOM files belong together.

A series is a patient's SeriesInstanceUID, whatever folder its files lie in; a UID alone is not
trusted, some writers give the same to everybody. It may hold several stacks (other orientation,
size or pixel spacing, another phase): each is a series of its own here, with the warning `mixed`.
Where the UID is empty, as some anonymisers leave it, the files of one folder with one series number
belong together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..digests import UnreadableError, files_digest
from ..orient import step_warnings
from ..volume import LeftOut, Series
from .headers import LEAST, Header, Slice
from .phases import SAME_MM, rank, split

SAME = 1e-3
"""Directions (cosines) and pixel spacings (mm) closer than this are the same."""


@dataclass
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


class Headers(Protocol):
    """The DICOM files that a search found, which need not fit in memory (`index.Index`)."""

    def by_series(self) -> Iterator[list[Header]]:
        """The files of each patient's SeriesInstanceUID, in the order of their paths."""

    def shared_uids(self) -> dict[str, int]:
        """How many patients or studies have a SeriesInstanceUID, where there are several."""

    def set_apart(self, stage: str, key: object, path: str) -> None:
        """Keep a file for later, with the others of its stage and key."""

    def apart(self, stage: str) -> Iterator[list[Header]]:
        """The files of a stage that have a key in common, in the order of their paths."""


def group_series(headers: Headers) -> Iterator[Series | LeftOut]:
    """The series that files make up, and what made none, one entry per reason.

    One series at a time is in memory. What is found does not depend on the order of the files.
    """
    shared = headers.shared_uids()
    for members in headers.by_series():
        usable, left = _usable(members)
        yield from left
        if len(usable) == 1 == len(usable[0].slices):
            headers.set_apart("study", _scan_of(usable[0]), usable[0].path)
        elif usable:
            yield from _volumes(_group(usable, shared))
    yield from _single_slices(headers, shared)


def _group(members: list[Header], shared: Mapping[str, int]) -> _Group:
    """A group with the warning where several patients or studies have its UID, which then names
    none of them.
    """
    if (sharers := shared.get(members[0].series, 1)) == 1:
        return _Group(members)
    warning = f"mixed: {sharers} patients or studies have this series' UID"
    return _Group(members, [warning], own_uid=False)


def _volumes(group: _Group) -> Iterator[Series | LeftOut]:
    """The series of a group, one per stack, and what is none."""
    stacks, left = _stacks(group.members)
    yield from left
    try:
        uid = _uid(group)
    except UnreadableError as error:
        yield error.of_series()
        return
    for number, stack in enumerate(stacks, 1):
        of = f"#{number}/{len(stacks)}" if len(stacks) > 1 else ""
        mixed = [f"mixed: stack {number} of {len(stacks)} of the series"] if of else []
        yield _series(uid + of, stack, (*mixed, *group.warnings))


def _usable(members: list[Header]) -> tuple[list[Header], list[LeftOut]]:
    """The members that are CT slices, each once.

    A copy has equal content: a UID may be given to many slices. What cannot be read may be one.
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
            try:
                digest = files_digest([header.path]) if len(rivals) > 1 else ""
            except UnreadableError as error:
                left[str(error)].append(header.path)
                continue
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


def _single_slices(headers: Headers, shared: Mapping[str, int]) -> Iterator[Series | LeftOut]:
    """Groups of one slice each, as one where patient, study and series number are the same and the
    slices make an even stack. Others that would make a stack stay apart, and are warned of.
    """
    for members in headers.apart("study"):
        if _is_stack(members) and not step_warnings(_places(members)):
            joined = f"joined: {len(members)} series of one slice each"
            yield from _volumes(_Group(members, [joined], own_uid=False))
        else:
            for header in members:
                whose = header.patient or str(Path(header.path).parent)
                headers.set_apart("patient", whose, header.path)
    for members in headers.apart("patient"):
        warned = _is_stack(members)
        for header in members:
            group = _group([header], shared)
            if warned:
                group.warnings.append(f"single: one of {len(members)} series of one slice each")
            yield from _volumes(group)


def _scan_of(header: Header) -> tuple[str, ...]:
    """What files of one scan have in common where each has a series UID of its own."""
    return header.series if "|" in header.series else "", *header.whose, header.number


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
    """The SeriesInstanceUID; where it is empty or names several, a digest of the files' bytes.

    Raises `UnreadableError` where there is no such digest.
    """
    uid = group.members[0].series
    if group.own_uid and "|" not in uid:
        return uid
    return "content-" + files_digest(h.path for h in group.members)
