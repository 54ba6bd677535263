"""Figures of detectors: recall over training (the paper's Fig. 3c), FROC, detections on a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import FPS, ImageResult, matched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float, float, float]]
"""Points of a curve with their intervals: x, value, low, high.

Without an interval low and high are NaN.
"""

# Okabe and Ito's colours: told apart by colour-blind readers, and in this order also on grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
LineStyle = Literal["solid", "dashed"]
TRUTH, HIT, FALSE = "#F0E442", "#56B4E9", "#FF5A1F"


def recall_curves(curves: Mapping[str, Curve], k: int = 5) -> Figure:
    """Plot recall of the k best detections in % against training iterations.

    Each label is a line with its band; values are shares.
    """
    page, axes = _page()
    _lines(axes, curves)
    axes.set_xlabel("training iterations")
    axes.set_ylabel(f"lesions found by the {k} best detections of a slice, %")
    return page


def froc_curve(curves: Mapping[str, Curve]) -> Figure:
    """Plot sensitivity in % against false positives per image, on a logarithmic axis.

    Each label is a line with its band; values are shares.
    """
    page, axes = _page()
    _lines(axes, curves)
    axes.set_xscale("log", base=2)
    axes.set_xticks(FPS, [f"{fp:g}" for fp in FPS])
    axes.minorticks_off()
    axes.set_xlabel("false positives per image")
    axes.set_ylabel("sensitivity, %")
    return page


def drawn(
    image: NDArray[np.floating],
    truth: ArrayLike,
    predicted: ArrayLike,
    scores: ArrayLike,
    *,
    k: int = 5,
    iou: float = 0.5,
) -> Figure:
    """Draw a slice with its lesions and its k best detections.

    Each detection shows its score and whether it finds a lesion (IoU > `iou`).

    Args:
        image: `[H, W]`, 0 to 1.
        truth: lesions `[n, 4]` (x1, y1, x2, y2) in pixels; 0 is the left edge of the first pixel.
        predicted: detections `[m, 4]`.
        scores: `[m]`.
        k: detections drawn; more hide the slice.
        iou: overlap from which a lesion counts as found.

    Raises:
        ValueError: an image that is not `[H, W]`, and boxes or scores that `ImageResult` refuses.
    """
    if image.ndim != 2:
        raise ValueError(f"image has shape {list(image.shape)}, expected [H, W]: give one channel")
    lesions = np.asarray(truth)
    result = ImageResult(
        0,
        lesions,
        np.asarray(predicted),
        np.asarray(scores),
        np.full(len(lesions), -1),
        np.full(len(lesions), np.nan),
    )
    hits = matched(result, iou)
    best = result.order[:k]
    page, axes = _page(7.0, 7.0 * image.shape[0] / image.shape[1] + 0.6)
    height, width = image.shape
    axes.imshow(
        image, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="bilinear"
    )
    axes.set_axis_off()
    for box in result.truth:
        _outline(axes, box, TRUTH, "dashed")
    for index in best[::-1]:  # the best on top
        colour = HIT if hits[index] else FALSE
        x1, y1, _, y2 = result.predicted[index].tolist()
        _outline(axes, result.predicted[index], colour, "solid")
        # Numbers of hits above, of others below, so that they do not hide each other; unless the
        # number would leave the slice.
        above = y1 > 0.05 * height if hits[index] else y2 > 0.95 * height
        axes.annotate(
            f"{result.scores[index]:.2f}",
            (x1, y1 if above else y2),
            (0, 3 if above else -3),
            textcoords="offset points",
            va="bottom" if above else "top",
            color=colour,
            fontsize=9,
            bbox={
                "boxstyle": "square,pad=0.1",
                "facecolor": "black",
                "edgecolor": "none",
                "alpha": 0.6,
            },
        )
    found = int(hits[best].sum())
    entries: list[tuple[str, str, LineStyle]] = [
        (f"lesion: {found} of {len(lesions)} found", TRUTH, "dashed"),
        (f"finds a lesion (IoU > {iou:g}): {found}", HIT, "solid"),
        (f"false positive: {len(best) - found}", FALSE, "solid"),
    ]
    _key(page, entries, f"the {len(best)} best of {len(result.scores)} detections")
    return page


def _page(width: float = 6.4, height: float = 4.4) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    page = Figure(figsize=(width, height), layout="constrained")
    return page, page.subplots()


def _lines(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for i, (label, points) in enumerate(curves.items()):
        x, value, low, high = np.array(points, dtype=np.float64).reshape(-1, 4).T
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(
            x, 100 * value, color=colour, marker=marker, markersize=4, linewidth=1.5, label=label
        )
        axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 100)  # a detector that finds nothing has no scale of its own
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(loc="best", framealpha=0.9)


def _outline(axes: Axes, box: NDArray[np.float64], colour: str, style: LineStyle) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box.tolist()
    axes.add_patch(
        Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=style, linewidth=1.6
        )
    )


def _key(page: Figure, entries: Sequence[tuple[str, str, LineStyle]], title: str) -> None:
    """A legend under the picture, on a dark ground so that colours look as on the slice."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2, label=label)
        for label, colour, style in entries
    ]
    legend = page.legend(
        handles=lines,
        loc="outside lower center",
        ncols=len(lines),
        title=title,
        facecolor="0.2",
        labelcolor="white",
        fontsize=9,
    )
    legend.get_title().set_color("white")
