"""Where a grid of HU with an affine lies in the body: what the transforms of both libraries share.

Transforms hold names of weights and regions, no networks. So they can be pickled, copied and
compared, and those of one process share what was loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.notes import note
from ubr.weights.released import NEWEST

from ...data.affine import hu_grid_to_volume
from ...data.find import find_one, read_volume, silence
from ...data.libraries import LibraryError
from ...data.volume import Volume
from ...reading.context import on_axis
from ...reading.curve import Curve
from ...reading.ranges import Range
from ...reading.regions import Regions
from ...scores.alone import Reading, Scorer
from ...scores.single import check_curve, check_slices
from ..nifti_parts import check_place, slice_axis

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """Voxels and where they lie.

    hu: `[i, j, k]`, in any order of axes. lps: `[3, 4]`, from indices to mm in DICOM's LPS.
    called: what it is called in errors.
    """

    hu: NDArray[np.generic]
    lps: NDArray[np.float64]
    called: str


@dataclass(frozen=True)
class Body:
    """A grid in the body.

    shape: of the grid. axis: along which its slices lie. indices: `[n]`, on that axis, of each
    slice from superior to inferior. reading: of the slices in this order. regions: that they were
    read by. called: what the grid is called in errors.
    """

    shape: tuple[int, ...]
    axis: int
    indices: NDArray[np.intp]
    reading: Reading
    regions: Regions | None
    called: str

    def box(self, wanted: Range) -> tuple[slice, ...]:
        """The part of the grid that `ubr-pretrain crop` keeps. Raises as `Range.kept`."""
        series = self.reading.series
        kept = wanted.kept(self._levels(), series.scores, self.regions, self.called)
        ends = sorted((int(self.indices[kept.first]), int(self.indices[kept.last])))
        box = [slice(0, side) for side in self.shape]
        box[self.axis] = slice(ends[0], ends[1] + 1)
        return tuple(box)

    def shows(self, wanted: Range) -> bool:
        """Whether `box` would find the range."""
        return wanted.missing(self._levels(), self.regions) is None

    def position_mm(self) -> NDArray[np.float32]:
        """The position on the body axis of every voxel, of the grid's shape."""
        along = np.empty(self.shape[self.axis], np.float32)
        along[self.indices] = self._positions()
        sides = [1, 1, 1]
        sides[self.axis] = -1
        return np.ascontiguousarray(np.broadcast_to(along.reshape(sides), self.shape))

    def about(self) -> dict[str, float | str]:
        """The positions of the first and the last slice from the head, and the parts covered.

        The same keys for every grid, so that batches can be made of them.
        """
        mm = self._positions()
        parts = str(self.reading.summary.get("parts", ""))
        return {"from_mm": float(mm[0]), "to_mm": float(mm[-1]), "parts": parts}

    def _levels(self) -> Curve:
        series = self.reading.series
        axis = "score" if self.regions is None else self.regions.axis
        levels = on_axis(axis, series.scores, series.position_mm)
        return Curve(np.asarray(levels, np.float64), series.z_mm)

    def _positions(self) -> NDArray[np.float64]:
        mm = self.reading.series.position_mm
        assert mm is not None  # `Reader.check_positions`
        return mm


@dataclass(frozen=True)
class Reader:
    """What reads grids.

    Args:
        weights: a file that `fit` wrote, an .onnx that `export` made, or "released".
        regions: a file that `calibrate` wrote for these weights; released weights include theirs.
    """

    weights: str | Path = NEWEST
    regions: str | Path | None = None

    @property
    def _scorer(self) -> Scorer:
        return _scorer(self.weights, self.regions)

    def check_range(self, wanted: Range) -> None:
        """Raise `ValueError` for levels that the regions do not have, before anything is read."""
        wanted.scores(self._scorer.options.regions)

    def check_positions(self) -> None:
        """Raise `ValueError` for weights that give no positions in mm."""
        if not self._scorer.options.positions:
            raise ValueError(
                f"weights {self.weights} give no positions in mm: they were trained without the "
                "position loss; give others"
            )

    def read(self, grid: Grid) -> Body:
        """Read a grid.

        Raises:
            ValueError: it holds no HU, its slices are not axial, or no level can be looked for in
                it.
        """
        volume = hu_grid_to_volume(grid.hu, grid.lps)
        check_place(volume, grid.called)
        axis, first, step = slice_axis(grid.lps, volume)
        indices = np.arange(first, first + step * grid.hu.shape[axis], step)
        return self._body(volume, grid.hu.shape, axis, indices, grid.called)

    def shows(self, scan: Grid | str | Path, wanted: Range) -> bool:
        """Whether a grid, or a scan in a file or a folder, shows a range of the body.

        One that cannot be read does not, and a note says why.
        """
        try:
            if isinstance(scan, Grid):
                return self.read(scan).shows(wanted)
            with silence():
                volume = read_volume(find_one(scan))
            indices = np.arange(len(volume.hu))
            return self._body(volume, volume.hu.shape, 0, indices, str(scan)).shows(wanted)
        except LibraryError:
            raise
        except ValueError as error:
            note(f"dropped: {error}")
            return False

    def _body(
        self,
        volume: Volume,
        shape: tuple[int, ...],
        axis: int,
        indices: NDArray[np.intp],
        called: str,
    ) -> Body:
        check_slices(volume, called)
        reading = self._scorer.read(volume)
        check_curve(reading.series.scores, volume.z_mm, called)
        return Body(shape, axis, indices, reading, self._scorer.options.regions, called)


@lru_cache(maxsize=2)
def _scorer(weights: str | Path, regions: str | Path | None) -> Scorer:
    return Scorer(weights, regions=regions)
