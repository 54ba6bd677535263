"""Some slices of a DICOM series: geometry from all headers, pixels of those that are wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..orient import Stack, to_volume
from ..volume import Series, UnusableError
from .headers import NotDicomError, Slice, read_header
from .phases import SAME_MM
from .pixels import read_series
from .series import alike, first_at_each_position

Pick = Callable[[NDArray[np.float64]], NDArray[np.intp]]
OF_PIXELS = ("clipped", "rescale", "unreadable")
"""Warnings that come from pixels; all others come from the headers."""


@dataclass(frozen=True)
class Some:
    """Some slices of a volume.

    hu: `[k, y, x]` of those wanted. spacing_mm, z_mm `[n]`, warnings: of the whole volume, as in
    `Volume`.
    """

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Frame:
    file: int
    number: int
    slice: Slice


def read_some(series: Series, pick: Pick) -> Some | None:
    """Decode some slices of a series that `group_series` made.

    pick: positions `[n]` of all slices -> ascending indices of those wanted.

    None where the series has to be read as a whole: slices are resampled or moved, all are wanted,
    or something cannot be read, and what to make of it shows when all of it is.

    Raises `UnusableError` when the headers say that the slices are no volume.
    """
    frames = _frames(series)
    if not frames or not all(alike(frames[0].slice, frame.slice) for frame in frames):
        return None
    keep = first_at_each_position([frame.slice for frame in frames])
    first = frames[keep[0]].slice
    # One pixel that holds its slice's number: where it comes to lie is the order of the slices.
    numbers = np.arange(len(keep), dtype=np.int16)[:, None, None]
    corners = np.array([frames[k].slice.corner for k in keep])
    stack = Stack(numbers, np.array(first.right), np.array(first.down), first.pixel_mm, corners)
    notes = series.warnings
    if len(keep) < len(frames):
        notes += (f"duplicate: {len(frames) - len(keep)} of {len(frames)} slices",)
    whole = to_volume(stack, thickness_mm=first.thickness_mm, warnings=notes)
    if whole.place is None or whole.hu.shape[1:] != (1, 1):
        return None
    wanted = pick(whole.z_mm)
    if len(wanted) == len(keep):
        return None
    chosen = [frames[keep[k]] for k in whole.hu[wanted, 0, 0]]
    try:
        found = read_series(_part(series, frames, chosen))
    except UnusableError:
        return None
    if len(found.hu) != len(wanted):
        return None
    of_pixels = (text for text in found.warnings if text.split(":")[0] in OF_PIXELS)
    return Some(found.hu, whole.spacing_mm, whole.z_mm, (*whole.warnings, *of_pixels))


def _frames(series: Series) -> list[_Frame]:
    """Every slice of the series, none where a header cannot be read."""
    frames = []
    for file, path in enumerate(series.files):
        try:
            header = read_header(path)
        except (NotDicomError, UnusableError, OSError):
            return []
        if header.fault:
            return []
        numbers = series.frames[file] if series.frames else range(len(header.slices))
        frames += [_Frame(file, number, header.slices[number]) for number in numbers]
    return frames


def _part(series: Series, frames: Sequence[_Frame], chosen: Sequence[_Frame]) -> Series:
    """The series with the slices chosen, and with others at the same positions.

    Which of those stays, and whether they contradict each other, is for the reader to say.
    """
    at = np.sort([frame.slice.at() for frame in chosen])
    by_file: dict[int, list[int]] = defaultdict(list)
    for frame in frames:
        near = np.searchsorted(at, frame.slice.at() - SAME_MM)
        if near < len(at) and at[near] < frame.slice.at() + SAME_MM:
            by_file[frame.file].append(frame.number)
    return replace(
        series,
        files=tuple(series.files[file] for file in by_file),
        frames=tuple(map(tuple, by_file.values())),
        warnings=(),
    )
