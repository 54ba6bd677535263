"""A series' slices on the grid of the weights' contract, which is what scoring reads.

Reading may run in other processes, which start sooner without the networks. Nothing here needs one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...weights.body import body_boxes, showing
from ...weights.inputs import InputSpec
from .dicom import Some, read_some
from .find import silence
from .overviews import rows_of
from .scans import UnreadScan, is_store, why_unread
from .store import SeriesRow, Store
from .volume import Series, Volume
from .workers import Workers, held


@contextmanager
def readers(sources: Sequence[str | Path], staff: Workers) -> Iterator[Workers]:
    """The workers that read the sources. Processes for files start while the caller imports."""
    if any(map(is_store, sources)):  # threads read it
        yield staff
        return
    with held(staff, _imported) as staff:
        yield staff


def _imported() -> None:
    """Nothing: a process that calls this has imported this module."""


@dataclass(frozen=True)
class Slices:
    """A series on the grid.

    grid: `[k, S, S]` int16 HU, or `[k, 3, S, S]` with neighbours. z_mm: `[n]`, of all slices.
    warnings: of its volume, and how many slices show no body. taken: `[k]`, which of its slices are
    in `grid`, ascending: those that were asked for and show a body (all if none does). overview:
    `[k, w]` of the slices that were taken (`overviews.rows_of`), if asked for.
    """

    grid: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]
    taken: NDArray[np.intp]
    overview: NDArray[np.int16] | None = None


def slices_of(
    inputs: InputSpec, every_mm: float | None, unread: UnreadScan, *, overview: bool = False
) -> Slices | str:
    """A series on the contract's grid, or the reason why not.

    every_mm: read and resample only as many slices as lie at most so far apart. overview: also what
    a coronal overview is made of.
    """
    try:
        if isinstance(unread.origin, tuple):
            path, row = unread.origin
            return _stored(inputs, every_mm, Store(path), row, overview)
        if every_mm is not None and unread.origin.kind == "dicom":
            with silence():
                return _of_dicom(inputs, every_mm, unread, unread.origin, overview)
        return of_volume(inputs, every_mm, unread.read().volume, overview)
    except Exception as error:  # one series must not end the others
        return why_unread(error)


def spaced(z_mm: NDArray[np.float64], every_mm: float | None) -> NDArray[np.intp]:
    """Indices of the first slice, the last one, and as few between as lie at most `every_mm` apart.

    Where the slices themselves lie further apart than that, all of them. Without `every_mm` all.
    """
    if every_mm is None:
        return np.arange(len(z_mm))
    taken = [0]
    while taken[-1] < len(z_mm) - 1:
        # Positions are sums of steps: 4 x 2.5 mm may come out above 10 mm.
        reach = np.searchsorted(z_mm, z_mm[taken[-1]] + every_mm + 1e-3, side="right") - 1
        taken.append(max(int(reach), taken[-1] + 1))
    return np.array(taken)


def _stored(
    inputs: InputSpec, every_mm: float | None, store: Store, row: SeriesRow, overview: bool
) -> Slices:
    """Only the slices that are needed are decompressed."""
    asked = spaced(row.z_mm, every_mm)
    taken = showing(row.body, asked)
    needed = inputs.needed(row.z_mm, taken)
    some = None if len(needed) == len(row.z_mm) else needed
    hu = store.read(row.key, None if some is None else some.tolist(), digest=row.digest)
    grid = inputs.to_grid(hu, row.spacing_mm[1:], row.body, slices=some)
    grid = inputs.with_neighbours(grid, row.z_mm, taken)
    shown = rows_of(hu[np.isin(needed, taken)], row.spacing_mm[2]) if overview else None
    warnings = (*row.warnings, *_blank(asked, taken))
    return Slices(grid, row.z_mm, warnings, taken, shown)


def _of_dicom(
    inputs: InputSpec, every_mm: float, unread: UnreadScan, series: Series, overview: bool
) -> Slices:
    """Only the slices that are needed are decoded, where each stands for itself."""
    some = read_some(series, lambda z_mm: inputs.needed(z_mm, spaced(z_mm, every_mm)))
    if some is None:
        return of_volume(inputs, every_mm, unread.read().volume, overview)
    return _of_needed(inputs, some, spaced(some.z_mm, every_mm), overview)


def of_volume(
    inputs: InputSpec, every_mm: float | None, volume: Volume, overview: bool = False
) -> Slices:
    """A volume's slices, as `slices_of`."""
    taken = spaced(volume.z_mm, every_mm)
    needed = inputs.needed(volume.z_mm, taken)
    hu = volume.hu if len(needed) == len(volume.hu) else volume.hu[needed]
    some = Some(hu, volume.spacing_mm, volume.z_mm, volume.warnings)
    return _of_needed(inputs, some, taken, overview)


def _of_needed(inputs: InputSpec, some: Some, taken: NDArray[np.intp], overview: bool) -> Slices:
    """The body is looked for in the slices that are needed."""
    read = inputs.needed(some.z_mm, taken)
    boxes = body_boxes(some.hu, some.spacing_mm)
    asked, taken = taken, read[showing(boxes, np.searchsorted(read, taken))]
    held = np.searchsorted(read, inputs.needed(some.z_mm, taken))
    hu = some.hu if len(held) == len(read) else some.hu[held]
    grid = inputs.to_grid(hu, some.spacing_mm[1:], boxes, slices=held)
    grid = inputs.with_neighbours(grid, some.z_mm, taken)
    shown = rows_of(hu[np.isin(read[held], taken)], some.spacing_mm[2]) if overview else None
    warnings = (*some.warnings, *_blank(asked, taken))
    return Slices(grid, some.z_mm, warnings, taken, shown)


def _blank(asked: NDArray[np.intp], taken: NDArray[np.intp]) -> tuple[str, ...]:
    """The warning that some slices show no body."""
    few = len(asked) - len(taken)
    said = f"blank: {few} slice{'s' * (few > 1)} without a body; scores come from those around"
    return (said,) if few else ()
