"""Where the slices of computed scans lie in the body."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_body_mm(labels: Path) -> dict[str, NDArray[np.float64]]:
    """The place of each slice by the name of its scan, from labels.csv of a phantom run.

    mm below the vertex in a body of 1750 mm, superior to inferior.
    """
    found: dict[str, list[float]] = {}
    with labels.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["file"], []).append(float(row["body_mm"]))
    return {name: np.array(places) for name, places in found.items()}
