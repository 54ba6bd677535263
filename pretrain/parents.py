"""Continuing from weights of this project: what a recipe takes from them, and their scale.

With its head kept, a training begins at its parent's scores. But the losses compare slices of one
volume only, so nothing in them says where a volume lies on the scale, and the scores of all drift
together (by 90 mm in twenty steps). At the end they are moved back as one. What remains is measured
on series that were not learned from, so that whoever reads by the parent's regions knows what they
are worth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights.released import resolve

from .recipes import Recipe

if TYPE_CHECKING:
    from ubr.weights import Regressor, Weights

    from .data.store import SeriesRow, Store
    from .module import UBR

SERIES, SLICES = 64, 64
"""Most series that scores are compared on, and most slices of each."""

FURTHER: dict[str, Any] = {"steps": 300, "lr": 3e-5, "g": 4}
"""What a training that keeps its parent's head has instead of the recipe's. A whole training at
the recipe's rate would forget what the parent learned from more scans (`benchmarks.going_on`).
"""


def onto(recipe: Recipe, start: str, new_head: bool = False) -> Recipe:
    """A recipe that starts from weights of this project, with their backbone and input contract.

    If their head is kept, `FURTHER` makes the training short and slow. Any other start leaves the
    rest of the recipe as it is.
    """
    from ubr.weights import load
    from ubr.weights.artifact import metadata

    path, taken = resolve(start), dataclasses.replace(recipe, start=start, new_head=new_head)
    if path.suffix != ".safetensors" or not path.is_file() or metadata(path) is None:
        return taken
    weights = load(start)
    taken = dataclasses.replace(taken, backbone=weights.backbone, inputs=weights.inputs)
    return dataclasses.replace(taken, **FURTHER) if taken.keeps_head() else taken


def settle(parent: Weights, module: UBR) -> dict[str, Any] | None:
    """Move all scores of a trained regressor back to its parent's scale, and say how far they lie
    from the parent's on held-out series.

    They are moved by one number, Fc7's bias: the median difference on the series trained on.

    Returns:
        `ubr.weights.provenance.Moved`, as plain values; None if nobody was held out.
    """
    from ubr.weights import Regressor

    child, older = module.regressor.eval(), Regressor.from_weights(parent).eval().to(module.device)
    now, then, _ = _compared(child, older, module.store, module.train_rows)
    shift = float(np.median(np.concatenate(then) - np.concatenate(now)))
    child.head.fc7.bias.data += shift
    if not module.held_out:
        return None
    now, then, slopes = _compared(child, older, module.store, module.held_out)
    off, slope = np.abs(np.concatenate(now) - np.concatenate(then)), float(np.median(slopes))
    found: dict[str, Any] = {"series": len(now), "slices": len(off)}
    for name, q in (("q50", 0.5), ("q90", 0.9)):
        at = float(np.quantile(off, q))
        found[f"score_{name}"] = round(at, 4)
        found[f"mm_{name}"] = round(at / slope, 1) if slope > 0 else None
    return found


def _compared(
    child: Regressor, older: Regressor, store: Store, rows: Sequence[SeriesRow]
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], list[float]]:
    """Scores of some slices of some series by both, and the slope of each by the older, a mm."""
    from ubr.weights.scorer import score_grid

    from .data.bank import to_grid

    now, then, slopes = [], [], []
    for at in _spread(len(rows), SERIES):
        row = rows[at]
        chosen = _spread(row.slices, SLICES)
        grids = {one: to_grid(store, row, one)[chosen] for one in {child.inputs, older.inputs}}
        now.append(score_grid(child, grids[child.inputs]).astype(np.float64))
        then.append(score_grid(older, grids[older.inputs]).astype(np.float64))
        slopes.append(float(np.polyfit(row.z_mm[chosen], then[-1], 1)[0]))
    return now, then, slopes


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
