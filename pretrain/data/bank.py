"""How training reads a store: slices on the contract's grid, by row number.

Decompressing and resampling full slices costs more than a small backbone's training step, and is
the same work in every epoch. So it is done once per store and grid: `prepare` writes
`STORE/grids/<grid>/<content>.npy` (int16 HU), and every fit with that grid reads them. They are
kept in GPU memory, in RAM or in their files; the same bytes come out of all three.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...weights import InputSpec
from ...weights.common import disk
from ...weights.common.checks import check_choice
from ...weights.common.checksums import say_unverified
from ...weights.common.execution import Place
from ...weights.common.memory import available_bytes
from ...weights.common.progress import progress_bar
from .gridfiles import open_grid, write_grid
from .store import SeriesRow, Store


def to_grid(store: Store, row: SeriesRow, inputs: InputSpec, size_px: int | None = None) -> Tensor:
    """All slices of a stored series on the contract's grid.

    `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours.
    """
    hu = store.read(row.key, digest=row.digest)
    grid = inputs.to_grid(hu, row.spacing_mm[1:], row.body, size_px=size_px)
    return torch.from_numpy(inputs.with_neighbours(grid, row.z_mm))


def grid_folder(store: Store, inputs: InputSpec, size_px: int | None = None) -> Path:
    """Where a store keeps its slices on this grid.

    Window and normalisation do not matter: the grid holds HU.
    """
    return store.path / "grids" / hashlib.sha256(_about(inputs, size_px).encode()).hexdigest()[:12]


def _about(inputs: InputSpec, size_px: int | None) -> str:
    field = "body, air around it" if inputs.field == "body" else inputs.field
    geometry = {
        "field": field,
        "field_px": inputs.size_px,
        "mm_per_px": inputs.mm_per_px,
        "size_px": size_px or inputs.size_px,
    }
    geometry |= {"neighbours_mm": inputs.neighbours_mm} if inputs.neighbours_mm else {}
    return json.dumps(geometry, sort_keys=True)


def prepare(
    store: Store,
    rows: Sequence[SeriesRow],
    inputs: InputSpec,
    size_px: int | None = None,
    *,
    workers: int = 0,
    progress: bool = False,
) -> Path:
    """Write the series that this grid still lacks; returns the grid's folder.

    Interrupted and called again, it resumes.
    """
    size, folder = size_px or inputs.size_px, grid_folder(store, inputs, size_px)
    for made in (folder.parent, folder):
        disk.make_folder(made)
    disk.sweep(folder)
    disk.write_text(folder / "grid.json", _about(inputs, size_px) + "\n")
    missing = missing_rows(store, rows, inputs, size_px)
    if not missing:
        return folder
    # Threads: decompressing and resampling leave the interpreter, and processes take longer to
    # start than most stores to prepare.
    with ThreadPoolExecutor(max(1, workers)) as pool:
        jobs = [pool.submit(_prepare_one, store, row, inputs, size, folder) for row in missing]
        for job in progress_bar(
            as_completed(jobs),
            total=len(jobs),
            title=f"prepare {size} px",
            unit="series",
            show=progress,
        ):
            job.result()
    return folder


def missing_rows(
    store: Store, rows: Sequence[SeriesRow], inputs: InputSpec, size_px: int | None = None
) -> list[SeriesRow]:
    """The series that this grid lacks."""
    folder = grid_folder(store, inputs, size_px)
    return [row for row in rows if not _file(folder, row).exists()]


def grid_bytes(row: SeriesRow, inputs: InputSpec, size_px: int | None = None) -> int:
    """Size of a series on the grid."""
    planes = 3 if inputs.neighbours_mm else 1
    return 2 * planes * row.slices * (size_px or inputs.size_px) ** 2


def _prepare_one(store: Store, row: SeriesRow, inputs: InputSpec, size: int, folder: Path) -> None:
    grid = to_grid(store, row, inputs, size)
    with disk.whole(_file(folder, row)) as part:
        write_grid(part, grid.numpy())


def _file(folder: Path, row: SeriesRow) -> Path:
    """Named by content: a series that was ingested anew with other pixels is resampled anew."""
    return folder / f"{row.digest}.npy"


class SliceBank:
    """Slices of several series by row number; series i holds the rows `offsets[i]..offsets[i+1]`.

    Args:
        folder: what `prepare` returned.
        rows: the series, in the order that gives them their numbers.
        place: where slices are kept: "gpu", "ram" or "file"; "auto" takes the first of these in
            which the slices need at most half of the free memory.
        device: the GPU, where there is one.
        share: how many processes of this machine keep a bank of their own in RAM.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[SeriesRow],
        *,
        place: Place = "auto",
        device: torch.device | None = None,
        share: int = 1,
    ) -> None:
        check_choice("place", place, Place)
        self.files = [open_grid(_file(folder, row)) for row in rows]
        self.offsets = np.cumsum([0] + [row.slices for row in rows])
        self.shape = self.files[0].shape[1:]
        """Of a slice: (S, S), or (3, S, S) with neighbours."""
        for file, row in zip(self.files, rows, strict=True):
            file.check((row.slices, *self.shape))
        if any(file.crc32 is None for file in self.files):
            say_unverified("slices in grids/ of the store")
        self.place = (
            _choose(2 * math.prod(self.shape) * int(self.offsets[-1]), device, share)
            if place == "auto"
            else place
        )
        if self.place == "gpu" and (device is None or device.type != "cuda"):
            raise ValueError("place 'gpu' needs a GPU; use 'ram' or 'file'")
        self._slices: Tensor | None = None
        if self.place != "file":
            home = device if self.place == "gpu" else torch.device("cpu")
            self._slices = torch.empty(
                int(self.offsets[-1]), *self.shape, dtype=torch.int16, device=home
            )
            for file, first, last in zip(self.files, self.offsets, self.offsets[1:], strict=False):
                self._slices[first:last] = torch.from_numpy(file.read()).to(home)

    def gather(self, rows: Tensor) -> Tensor:
        """Slices `[..., *shape]` int16 HU of row numbers `[...]`, on the device of the bank."""
        if self._slices is not None:
            return self._slices[rows.to(self._slices.device)]
        flat = rows.reshape(-1).numpy()
        out = np.empty((len(flat), *self.shape), np.int16)
        series = np.searchsorted(self.offsets, flat, side="right") - 1
        for s in np.unique(series):
            mine = series == s
            out[mine] = self.files[s].read(flat[mine] - self.offsets[s])
        return torch.from_numpy(out).view(*rows.shape, *self.shape)


def _choose(size_bytes: int, device: torch.device | None, share: int) -> Place:
    if (
        device is not None
        and device.type == "cuda"
        and size_bytes < torch.cuda.mem_get_info(device)[0] / 2
    ):
        return "gpu"
    return "ram" if size_bytes < available_bytes() / 2 / share else "file"
