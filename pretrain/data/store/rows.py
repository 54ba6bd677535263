"""A row of the store: what is known of one series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digests import volume_digest
from ..volume import Volume

TAKEN, LEFT_OUT = "taken", "left out"


class StoreError(ValueError):
    """A store that cannot be used as asked. The text says in one line what to do."""


@dataclass(frozen=True, eq=False)
class SeriesRow:
    """A series in the store.

    key, patient: hashes. kind: the reader that took it. spacing_mm: (z, y, x). z_mm: `[z]` mm below
    the first slice. body: `[z, 4]` the body's box in each slice (`ubr.weights.body`). hu_min,
    hu_max: of all pixels. warnings: codes of `volume.WARNINGS` with details. digest: of pixels and
    geometry; equal for the same scan in another store.
    """

    key: str
    patient: str
    kind: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    z_mm: NDArray[np.float64]
    body: NDArray[np.int16]
    hu_min: int
    hu_max: int
    warnings: tuple[str, ...]
    digest: str

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """`[z]` area of the body's box in each slice."""
        y0, y1, x0, x1 = self.body.astype(np.float64).T
        return np.asarray((y1 - y0) * (x1 - x0) * self.spacing_mm[1] * self.spacing_mm[2])


def row_taken(
    key: str, patient: str, kind: str, volume: Volume, boxes: NDArray[np.int16]
) -> dict[str, Any]:
    """The row, as JSON holds it, of a series that was taken. boxes: `[z, 4]`."""
    slices, rows, columns = volume.hu.shape
    return {
        "key": key,
        "patient": patient,
        "status": TAKEN,
        "reason": "",
        "kind": kind,
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "spacing_z_mm": float(volume.spacing_mm[0]),
        "spacing_y_mm": float(volume.spacing_mm[1]),
        "spacing_x_mm": float(volume.spacing_mm[2]),
        "z_mm": volume.z_mm.tolist(),
        "body": boxes.ravel().tolist(),
        "hu_min": int(volume.hu.min()),
        "hu_max": int(volume.hu.max()),
        "warnings": list(volume.warnings),
        "digest": volume_digest(volume),
    }


def row_left_out(key: str, kind: str, reason: str) -> dict[str, Any]:
    """The row, as JSON holds it, of a series that was left out."""
    return {"key": key, "status": LEFT_OUT, "reason": reason, "kind": kind}
