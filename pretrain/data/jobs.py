"""Series to score: where each is read from, and its slices on the grid of the weights' contract.

What reads runs in other processes, which start sooner without the networks; so nothing here needs
one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ubr.weights import InputSpec
from ubr.weights.body import body_boxes

from .bank import to_grid
from .find import find, read, silence
from .store import SeriesRow, Store, StoreError
from .volume import LeftOut, Series, UnusableError, Volume
from .workers import Workers


@dataclass(frozen=True)
class Job:
    """A series to score.

    source: the file, or the folder that holds several; for a store the key, unless paths are asked
    for.
    """

    key: str
    source: str = field(repr=False)
    what: tuple[Path, SeriesRow] | Series


@dataclass(frozen=True)
class Slices:
    """A series on the grid.

    grid: `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours; z_mm: `[n]`; warnings: of its
    volume.
    """

    grid: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store, of whatever version."""
    return (Path(path) / "store.json").is_file()


def in_store(path: str | Path, with_paths: bool) -> tuple[list[Job], list[LeftOut]]:
    """The series of a store."""
    store = Store.open(Path(path).absolute())  # a cluster's workers stand elsewhere
    files = store.sources() if with_paths else {}
    return [
        Job(row.key, _place(files.get(row.key, ())) or row.key, (store.path, row))
        for row in store.usable()
    ], []


def in_scans(
    sources: Sequence[str | Path], workers: Workers, progress: bool
) -> tuple[list[Job], list[LeftOut]]:
    """The series in files and folders, and what gave none."""
    found, bad = find(sources, workers=workers, progress=progress)
    return [Job(Store.key(s), _place(s.files), s) for s in found], bad


def slices_of(inputs: InputSpec, job: Job) -> Slices | str:
    """A series on the contract's grid, or the reason why not."""
    what = job.what
    try:
        if isinstance(what, Series):
            with silence():
                volume = read(what)
            return Slices(grid_of(inputs, volume).numpy(), volume.z_mm, volume.warnings)
        path, row = what
        return Slices(to_grid(Store(path), row, inputs).numpy(), row.z_mm, row.warnings)
    except (UnusableError, StoreError) as error:
        return str(error)
    except MemoryError:
        return "not enough memory to read it"
    except Exception as error:  # one series must not end the others
        return f"could not be read ({type(error).__name__})"


def grid_of(inputs: InputSpec, volume: Volume) -> Tensor:
    """A volume's slices on the contract's grid, `[n, S, S]` int16 HU, or `[n, 3, S, S]` with
    neighbours.
    """
    grid = inputs.to_grid(
        torch.from_numpy(volume.hu), volume.spacing_mm[1:], body_boxes(volume.hu, volume.spacing_mm)
    )
    return inputs.with_neighbours(grid, volume.z_mm)


def _place(files: Sequence[str]) -> str:
    """The file, or the folder that holds several."""
    return os.path.commonpath(files) if files else ""
