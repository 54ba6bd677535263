"""Pictures: slices, score curves, and slices at equal scores (the paper's Fig. 4a and Fig. 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from ..scores.series import SeriesScores

WINDOW_HU = (-300, 400)
"""Shows lung borders, soft tissue and bone at once."""


class HasScores(Protocol):
    """A series with one score per slice."""

    @property
    def scores(self) -> NDArray[Any]: ...


Shown = TypeVar("Shown", bound=HasScores)

ReadSlice = Callable[[str, int], NDArray[np.int16]]
"""Gives the pixels of slice `index` of series `key`, `[y, x]` HU; they are shown as square."""


def spread(first: int, last: int, count: int) -> list[int]:
    """At most `count` slices at equal distances, the first and the last among them."""
    chosen = np.linspace(first, last, min(count, last - first + 1)).round().astype(int)
    return sorted({int(index) for index in chosen})


def slice_picture(hu: NDArray[np.int16], spacing_yx: tuple[float, float], longer_px: int) -> Image:
    """A slice `[y, x]` in grey levels of `WINDOW_HU`, with square pixels.

    longer_px: length of its longer side.
    """
    from PIL import Image

    low, high = WINDOW_HU
    grey = (np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    mm = hu.shape[0] * spacing_yx[0], hu.shape[1] * spacing_yx[1]
    height, width = (max(1, round(longer_px * side / max(mm))) for side in mm)
    return Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)


def curves(axes: Axes, series: Sequence[SeriesScores], levels: Sequence[float] = ()) -> None:
    """Score against position, one line per volume, with dotted lines at `levels`.

    A curve is nearly straight where the regressor is sure.
    """
    for one in series:
        axes.plot(one.z_mm, one.scores, linewidth=1, alpha=0.8)
    for level in levels:
        axes.axhline(level, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("mm below the first slice")
    axes.set_ylabel("score")
    axes.invert_yaxis()  # the head at the top, as in the body
    axes.set_title(f"{len(series)} volumes: score against position")


def at_levels(
    series: Sequence[Shown], levels: Sequence[float], columns: int
) -> list[list[tuple[Shown, int]]]:
    """For each level up to `columns` slices of different series, nearest first.

    No slice is further off than a twentieth of the range of all scores.
    """
    span = max(float(s.scores.max()) for s in series) - min(float(s.scores.min()) for s in series)
    rows = []
    for level in levels:
        nearest = [(s, int(np.abs(s.scores - level).argmin())) for s in series]
        near = [(s, i) for s, i in nearest if abs(float(s.scores[i]) - level) <= span / 20]
        rows.append(
            sorted(near, key=lambda found: abs(float(found[0].scores[found[1]]) - level))[:columns]
        )
    return rows


def figure(
    series: Sequence[SeriesScores],
    read_slice: ReadSlice,
    *,
    levels: Sequence[float] | None = None,
    columns: int = 6,
) -> Figure:
    """Draw curves on the left, and on the right a row of slices for each level.

    Args:
        series: scored volumes.
        read_slice: gives the pixels of a slice.
        levels: scores of the rows; by default six, evenly spaced between the 2nd and 98th
            percentile of all scores.
        columns: slices per row.
    """
    from matplotlib.figure import Figure

    everything = np.concatenate([s.scores for s in series])
    chosen = (
        list(levels)
        if levels is not None
        else np.linspace(np.percentile(everything, 2), np.percentile(everything, 98), 6).tolist()
    )
    rows = at_levels(series, chosen, columns)
    page = Figure(figsize=(5 + 1.5 * columns, 1.55 * len(chosen)), layout="constrained")
    left, right = page.subfigures(1, 2, squeeze=False, width_ratios=[5, 1.5 * columns])[0]
    curves(left.subplots(), series, chosen)
    grid = right.subplots(len(chosen), columns, squeeze=False)
    for level, cells, axes_row in zip(chosen, rows, grid, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        axes_row[0].text(
            -0.06, 0.5, f"{level:.1f}", transform=axes_row[0].transAxes, ha="right", va="center"
        )
        for (one, index), axes in zip(cells, axes_row, strict=False):
            axes.imshow(
                read_slice(one.key, index),
                cmap="gray",
                vmin=WINDOW_HU[0],
                vmax=WINDOW_HU[1],
                interpolation="bilinear",
            )
            axes.set_title(f"{one.scores[index]:.1f}", fontsize=7, pad=2)
    right.suptitle("slices at equal scores, one column per volume", fontsize=10)
    return page
