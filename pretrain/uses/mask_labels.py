"""Landmarks and body parts from masks of organs and bones, in place of labels by hand.

The ends of masks along the body's axis are landmarks: the dome of the liver is the top of its mask.
Parts lie between landmarks. A mask that reaches the end of the scan tells nothing there, for the
organ may be cut; that the border lies beyond it is known all the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common import doors
from ubr.weights.common.notes import note

from ..data.masks import MaskGrid, extent_mm, mask_name, read_mask_grid
from ..data.scans import scans_in_files
from ..data.volume import UnusableError, Volume
from ..reading.curve import Curve
from ..reading.labelled import Labelled
from ..reading.parts import PARTS, check_name
from ..scores.read import read_rows

End = Literal["top", "bottom", "middle"]
LUNGS = (
    *(f"lung_{lobe}" for lobe in ("upper_lobe_left", "lower_lobe_left", "upper_lobe_right")),
    *("lung_middle_lobe_right", "lung_lower_lobe_right", "lung_left", "lung_right", "lung"),
)
HIPS, FEMORA = ("hip_left", "hip_right"), ("femur_left", "femur_right")
VERTEBRAE = (
    *(f"C{k}" for k in range(1, 8)),
    *(f"T{k}" for k in range(1, 13)),
    *(f"L{k}" for k in range(1, 6)),
)
Rules = Mapping[str, tuple[End, tuple[str, ...]]]
"""Landmark -> which end of which masks, taken together, it is."""
RULES: Rules = {
    "vertex": ("top", ("skull",)),
    "mandible": ("bottom", ("skull", "mandible")),
    "lung_apex": ("top", LUNGS),
    "liver_dome": ("top", ("liver",)),
    "iliac_crest": ("top", HIPS),
    "femoral_head": ("top", FEMORA),
    "ischium": ("bottom", HIPS),
    "knee": ("bottom", FEMORA),
    **{name: ("middle", (f"vertebrae_{name}",)) for name in VERTEBRAE},
}
"""For masks that are named as by TotalSegmentator."""
BORDERS = ("vertex", "mandible", "lung_apex", "liver_dome", "iliac_crest", "ischium", "knee")
"""Above, between and below `PARTS`."""
REMEDY = "give the columns landmark, mask, end"


@dataclass(frozen=True)
class MaskLabels:
    """What the masks of scored series tell.

    marks: series -> landmark -> mm below the first slice; infinite where it lies above (negative)
    or below the scan; NaN where the masks are given and empty.
    """

    marks: Mapping[str, Mapping[str, float]]

    def labelled(self, curves: Mapping[str, Curve]) -> list[Labelled]:
        """The labelled volumes.

        A landmark is the nearest slice, and a border the first slice of the lower part.
        """
        found = []
        for key, marks in self.marks.items():
            z_mm = curves[key].z_mm
            at = {
                name: int(np.abs(z_mm - mm).argmin())
                for name, mm in marks.items()
                if math.isfinite(mm)
            }
            found.append(Labelled(key, curves[key], parts_between(marks, z_mm), at))
        return found


def parts_between(marks: Mapping[str, float], z_mm: NDArray[np.float64]) -> dict[int, str]:
    """The part of each slice whose part is known.

    Raises `ValueError` where the borders are out of order.
    """
    at = [marks.get(name, math.nan) for name in BORDERS]
    known = [(name, mm) for name, mm in zip(BORDERS, at, strict=True) if math.isfinite(mm)]
    for (upper, above), (lower, below) in pairwise(known):
        if above >= below:
            raise ValueError(f"{lower} lies above {upper}")
    sure = [not math.isnan(mm) for mm in at]
    for k, name in enumerate(BORDERS):
        if name in marks and not sure[k] and any(sure[:k]) != any(sure[k + 1 :]):
            at[k] = math.inf if any(sure[:k]) else -math.inf  # its masks are empty
    parts: dict[int, str] = {}
    for part, (first, last) in zip(PARTS, pairwise(at), strict=True):
        if not math.isnan(first) and not math.isnan(last):
            parts |= dict.fromkeys(np.flatnonzero((z_mm >= first) & (z_mm < last)).tolist(), part)
    return parts


def mask_labels(
    folder: str | Path, scores: str | Path, names: str | Path | None = None
) -> MaskLabels:
    """Landmarks of the scored series whose masks lie in a folder.

    Args:
        folder: of masks, one folder or one file of numbered labels for each scan.
        scores: a folder that `score` wrote with paths.
        names: a CSV file with the columns landmark, mask, end, in place of `RULES`.

    Raises:
        ValueError: no masks, scores without paths, masks that fit no scan, or a table of names that
            cannot be used.
    """
    rules = RULES if names is None else read_rules(names)
    paths = {row["series"]: row.get("path", "") for row in read_rows(Path(scores) / "series.csv")}
    if not any(paths.values()):
        raise ValueError(f"{scores} keeps no paths, which `from_masks` needs; rescore `with_paths`")
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder; give one with masks for `from_masks`")
    scans = {Path(path).resolve() for path in paths.values() if path}
    cases = _cases(Path(folder), rules, scans)
    if not cases:
        raise ValueError(f"{folder} holds no NIfTI masks named like {', '.join(_masks(rules)[:3])}")
    fitting = _fitting(cases, paths)
    marks: dict[str, Mapping[str, float]] = {}
    why = Counter[str]()
    for key, several in fitting.items():
        try:
            marks[key] = _marks(several, _volume(key, paths[key]), rules)
            parts_between(marks[key], np.zeros(0))
        except ValueError as error:
            marks.pop(key, None)
            why[str(error)] += 1
    if lone := len(cases) - sum(map(len, fitting.values())):
        why["they match no scan, or several; name their folder after the scan"] += lone
    said = "; ".join(f"{count} of {len(cases)}: {reason}" for reason, count in why.items())
    if not any(math.isfinite(mm) for one in marks.values() for mm in one.values()):
        raise ValueError(f"{folder}: no mask yields a landmark ({said or 'all are empty or cut'})")
    if said:
        note(f"masks that were left out: {said}")
    return MaskLabels(marks)


def read_rules(path: str | Path) -> Rules:
    """The rules of a table. A mask is the name of a file or label, or a label's number.

    Raises `ValueError` where it cannot be used.
    """
    columns: Mapping[str, doors.Cell] = {"landmark": str, "mask": str, "end": str}
    found: dict[str, tuple[End, tuple[str, ...]]] = {}
    for line, row in doors.read_rows(Path(path), columns, REMEDY):
        name, mask, end = (row[column].strip() for column in columns)
        kind = next((one for one in get_args(End) if one == end), None)
        before = found.get(name)
        try:
            check_name(name)
            if kind is None or not mask or (before and before[0] != kind):
                allowed = before[0] if before else ", ".join(get_args(End))
                raise ValueError(
                    f"{mask or 'a mask'} of {name}: end must be {allowed}, got {end!r}"
                )
        except ValueError as error:
            raise ValueError(f"{path} line {line}: {error}") from None
        found[name] = (kind, (*(before[1] if before else ()), mask))
    if not found:
        raise ValueError(f"{path} has no rows; {REMEDY}")
    return found


def _masks(rules: Rules) -> list[str]:
    return list(dict.fromkeys(mask for _, masks in rules.values() for mask in masks))


# Which masks belong to which scan


@dataclass(frozen=True)
class _Case:
    """Masks that lie together: a folder of files, or a file of labels.

    names: of the folders below the one given, and of the file of labels.
    """

    files: tuple[Path, ...]
    numbered: bool
    names: tuple[str, ...]


def _cases(folder: Path, rules: Rules, scans: set[Path]) -> list[_Case]:
    wanted, found = set(_masks(rules)), []
    for place in sorted({path.parent for path in folder.rglob("*") if mask_name(path)}):
        files = sorted(
            path for path in place.iterdir() if mask_name(path) and path.resolve() not in scans
        )
        names = place.relative_to(folder).parts or (folder.resolve().name,)
        single = tuple(path for path in files if mask_name(path) in wanted)
        if single:
            found.append(_Case(single, False, names))
        else:
            found += [_Case((path,), True, (*names, mask_name(path))) for path in files]
    return found


def _fitting(cases: Sequence[_Case], paths: Mapping[str, str]) -> dict[str, list[_Case]]:
    """The cases of each series: its path holds their names.

    A name that comes up in different folders, such as `ct` or `segmentations`, tells nothing.
    """
    above: dict[str, set[tuple[str, ...]]] = {}
    for case in cases:
        for k, name in enumerate(case.names):
            above.setdefault(name, set()).add(case.names[:k])
    called = {
        key: {key, mask_name(Path(path)) or Path(path).name, *Path(path).parts}
        for key, path in paths.items()
    }
    found: dict[str, list[_Case]] = {}
    for case in cases:
        own = [name for name in case.names if len(above[name]) == 1]
        fits = [{key for key, names in called.items() if name in names} for name in own]
        keys = set.intersection(*(filter(None, fits))) if any(fits) else set()
        if len(keys) == 1:
            found.setdefault(keys.pop(), []).append(case)
    return found


def _volume(key: str, path: str) -> Volume:
    """The scan that was scored. Raises `UnusableError` where it is gone or has no place."""
    try:
        unread = next((one for one in scans_in_files([path])[0] if one.key == key), None)
    except UnusableError:  # its text names the path
        unread = None
    if unread is None:
        raise UnusableError("the scan is no longer where it was scored")
    read = unread.read().volume
    if read.place is None:
        raise UnusableError("the scan's slices were resampled, or have no known place in space")
    return read


# Where their ends lie


def _marks(cases: Sequence[_Case], volume: Volume, rules: Rules) -> dict[str, float]:
    """Where the landmarks lie in a scan (`MaskLabels.marks`); those without masks are left out."""
    found = dict(_extents(cases, volume, _masks(rules)))
    marks = {}
    for name, (end, masks) in rules.items():
        given = [found[mask] for mask in masks if mask in found]
        shown = [one for one in given if one is not None]
        if shown:
            marks[name] = _joined(shown).mark(end)
        elif given:
            marks[name] = math.nan
    return marks


@dataclass(frozen=True)
class _Extent:
    """Where a mask begins and ends, and the nearest to the scan's ends that tells something."""

    top: float
    bottom: float
    first: float
    last: float

    def mark(self, end: End) -> float:
        """An end of the mask; infinite where the organ may reach beyond the scan there."""
        if end == "middle":
            ends = self.mark("top"), self.mark("bottom")
            return sum(ends) / 2 if all(map(math.isfinite, ends)) else math.inf
        mm = self.top if end == "top" else self.bottom
        return -math.inf if mm < self.first else math.inf if mm > self.last else mm


def _joined(several: Sequence[_Extent]) -> _Extent:
    return _Extent(
        min(one.top for one in several),
        max(one.bottom for one in several),
        max(one.first for one in several),
        min(one.last for one in several),
    )


def _extents(
    cases: Sequence[_Case], volume: Volume, wanted: Sequence[str]
) -> Iterator[tuple[str, _Extent | None]]:
    """The extent of each mask of a scan that is given; none where it is empty."""
    for case in cases:
        for path in case.files:
            grid = read_mask_grid(path)
            place = _Placed(grid, volume)
            if not case.numbered:
                yield mask_name(path), place.extent(None)
                continue
            numbers = {name: number for number, name in grid.names.items()}
            numbers |= {mask: int(mask) for mask in wanted if mask.isdecimal()}
            if not numbers:
                raise UnusableError("the labels in the file have no names; give `mask_names`")
            for mask in wanted:
                if mask in numbers:
                    yield mask, place.extent(numbers[mask])


@dataclass(frozen=True)
class _Placed:
    """A file of masks in the axes of a scan."""

    grid: MaskGrid
    volume: Volume

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """`[4, 4]`, from the indices of the masks to column, row and mm below the first slice."""
        below, place = [0, 0, 0, 1], self.volume.place
        assert place is not None  # `_volume` sees to it
        lps = np.vstack([self.grid.lps, below])
        return np.asarray(np.linalg.inv(np.vstack([place, below])) @ lps)

    def extent(self, label: int | None) -> _Extent | None:
        """Raises `UnusableError` where the masks do not lie in the scan."""
        corners = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(self.grid.values.shape) - 1)
        at = corners @ self.affine[:3, :3].T + self.affine[:3, 3]
        z, step = self.volume.z_mm, self._step()
        rows, columns = self.volume.hu.shape[1:]
        lows, highs = np.zeros(3), np.array([columns - 1, rows - 1, z[-1]])
        if (at.max(axis=0) < lows).any() or (at.min(axis=0) > highs).any():
            raise UnusableError("the masks do not overlap the scan: they belong to another one")
        found = extent_mm(self.grid.mask(label), self.affine[2])
        if found is None or found[1] < -step or found[0] > z[-1] + step:
            return None
        first, last = max(0.0, at[:, 2].min()), min(float(z[-1]), at[:, 2].max())
        return _Extent(*found, first + step, last - step)

    def _step(self) -> float:
        """A slice and a half: networks often leave out the very last slice of an organ."""
        own = float(np.abs(self.affine[2, :3]).max())
        return 1.5 * max(own, self.volume.spacing_mm[0])
