"""The paper's figures as functions of rows (results/NAME.csv): each returns a Matplotlib figure.

Each raises `ValueError` if rows are missing or do not belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.common.bodies import drawn
from benchmarks.common.comparison import ORDER, by_pretraining, experiments, rank
from benchmarks.common.landmarks import PARTS
from benchmarks.common.tables import Rows, percent, together

COLOURS = {"chest": "#3b6fb6", "abdomen": "#d98c21", "pelvis": "#4f9a57"}
STARTS = ("#888888", "#3b6fb6", "#d98c21", "#4f9a57", "#7a4fa3", "#b3618c", "#4fb0b5", "#222222")
"""Colours of starts, in their order."""


def fig2(rows: Rows) -> Figure:
    """Slices of different bodies at equal scores, one line per score."""
    sound = [
        row
        for row in together(rows, "curves")
        if row["ascites"] == "False" and row["seed"] == rows[0]["seed"]
    ]
    scores = np.array([float(row["score"]) for row in sound])
    bodies = sorted({row["body"] for row in sound})
    levels = np.quantile(scores, [0.06, 0.36, 0.66, 0.94])
    figure, axes = _axes(len(levels), len(bodies), 1.5, 1.25)
    for column, body in enumerate(bodies):
        hu = drawn(int(body), False).volume.hu
        curve = np.array([float(row["score"]) for row in sound if row["body"] == body])
        for line, level in enumerate(levels):
            axes[line, column].imshow(
                hu[np.abs(curve - level).argmin()], cmap="gray", vmin=-175, vmax=275
            )
            axes[line, column].set_axis_off()
    for line, level in enumerate(levels):
        called = f"score {level:.1f}"
        axes[line, 0].text(
            -0.05, 0.5, called, transform=axes[line, 0].transAxes, ha="right", va="center"
        )
    return figure


def fig3a(rows: Rows) -> Figure:
    """Histogram of scores in each part, of the first seed.

    The scores of each training begin elsewhere.
    """
    rows = [row for row in together(rows, "histogram") if row["seed"] == rows[0]["seed"]]
    figure, axes = _axes(1, 1, 6, 3)
    edges = np.array(sorted({float(row[name]) for row in rows for name in ("from", "to")}))
    width = float(np.diff(edges).min())
    for part in PARTS:
        mine = [row for row in rows if row["part"] == part]
        middles = np.array([float(row["from"]) + width / 2 for row in mine])
        slices = np.array([float(row["slices"]) for row in mine])
        axes[0, 0].bar(middles, slices, width=width, color=COLOURS[part], alpha=0.7)
        if mine:
            top = slices.argmax()
            at = (middles[top], slices[top])
            axes[0, 0].annotate(
                part, at, (0, 2), textcoords="offset points", color=COLOURS[part], ha="center"
            )
    axes[0, 0].set(xlabel="score", ylabel="slices")
    return figure


def fig3b(rows: Rows) -> Figure:
    """Accuracy against slices per volume, with and without the distance loss.

    Shown are the mean over seeds, and each seed.
    """
    together(rows, "sampling")
    figure, axes = _axes(1, 1, 6, 3.2)
    for distance, label, colour in (
        (1.0, "with distance loss", "#3b6fb6"),
        (0.0, "without it", "#d98c21"),
    ):
        mine = [row for row in rows if float(row["distance"]) == distance]
        slices = sorted({int(row["m"]) for row in mine})
        of_m = [percent([row for row in mine if int(row["m"]) == m], "accuracy") for m in slices]
        means = [values.mean() for values in of_m]
        axes[0, 0].plot(slices, means, "-o", color=colour, markersize=4)
        if slices:
            at = (slices[-1], means[-1])
            axes[0, 0].annotate(
                label, at, (8, 0), textcoords="offset points", color=colour, va="center"
            )
        for m, values in zip(slices, of_m, strict=True):
            axes[0, 0].plot([m] * len(values), values, "_", color=colour, alpha=0.5)
    axes[0, 0].set(xlabel="slices per volume (m)", ylabel="accuracy, %")
    return figure


def fig3c(rows: Rows) -> Figure:
    """Recall of the 5 best detections on validation patients by step: mean and range over seeds.

    There is one panel per experiment, UBR training and share of the labels.
    """
    if not rows:
        raise ValueError("no rows of starts_curve")
    panels = {}
    for experiment, of_experiment in experiments(rows).items():
        for pretraining, of_line in by_pretraining(of_experiment).items():
            of = f", UBR of {pretraining.split(', ')[0]}" if pretraining else ""
            shares = {float(row["share"]) for row in of_line if row["pretraining"] == pretraining}
            for share in sorted(shares):
                title = f"{100 * share:g} % of the labels\n{experiment}{of}"
                panels[title] = [row for row in of_line if float(row["share"]) == share]
    columns = len(panels) if len(panels) <= 2 else 3
    figure, axes = _axes(
        -(-len(panels) // columns), columns, 4 if columns > 1 else 6, 3, sharey=True
    )
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    axes[0, 0].set_ylim(0, 105 * max(float(row["val_recall5"]) for row in rows))
    for panel, (title, of_panel) in zip(axes.flat, panels.items(), strict=False):
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("steps")
        panel.locator_params(axis="x", nbins=4)
        _name_curves(panel, _draw_starts(panel, of_panel))
    for panel in axes[:, 0]:
        panel.set_ylabel("recall of the 5 best, %")
    return figure


def fig4(rows: Rows) -> Figure:
    """Score against position in sound bodies, and in a body with ascites.

    The third panel shows the slice that lies farthest from the line.
    """
    mine = [row for row in together(rows, "curves") if row["seed"] == rows[0]["seed"]]
    worst = min((row for row in mine if row["ascites"] == "True"), key=lambda row: float(row["r"]))[
        "body"
    ]
    figure, axes = _axes(1, 3, 3.4, 3)
    of_sound = []
    for body in sorted({row["body"] for row in mine}):
        z, scores, r = _curve(mine, body, "False")
        axes[0, 0].plot(z, scores, linewidth=1, color=COLOURS["chest"], alpha=0.6)
        of_sound.append(r)
    z, scores, r = _curve(mine, worst, "True")
    slope, intercept = np.polyfit(z, scores, 1)
    odd = int(np.abs(scores - slope * z - intercept).argmax())
    axes[0, 1].plot(z, scores, color="#b33", linewidth=1)
    axes[0, 1].plot(z, slope * z + intercept, ":", color="#888")
    axes[0, 1].plot(z[odd], scores[odd], "o", color="#b33")
    axes[0, 2].imshow(drawn(int(worst), True).volume.hu[odd], cmap="gray", vmin=-175, vmax=275)
    axes[0, 2].set_axis_off()
    axes[0, 2].set_title("the marked slice", fontsize=9)
    low, high = min(of_sound), max(of_sound)
    titles = (f"{len(of_sound)} intact bodies, r {low:.3f} to {high:.3f}", f"ascites, r {r:.3f}")
    for panel, title in zip(axes[0], titles, strict=False):
        panel.set(xlabel="mm below the first slice", ylabel="score")
        panel.set_title(title, fontsize=9)
    return figure


FIGURES: dict[str, tuple[str, Callable[[Rows], Figure]]] = {
    "fig2": ("curves", fig2),
    "fig3a": ("histogram", fig3a),
    "fig3b": ("sampling", fig3b),
    "fig3c": ("starts_curve", fig3c),
    "fig4": ("curves", fig4),
}
"""For each figure, the rows that it is drawn from, and the function that draws it."""


def _draw_starts(panel: Axes, rows: Rows) -> dict[str, tuple[str, float]]:
    """A line and a range per start that has rows. Returns their colours and where they end."""
    names = sorted({*ORDER, *(row["start"] for row in rows)}, key=rank)
    ends = {}
    for start, colour in zip(names, cycle(STARTS), strict=False):
        mine = [row for row in rows if row["start"] == start]
        steps = sorted({int(row["step"]) for row in mine})
        if not steps:
            continue
        values = [
            percent([row for row in mine if int(row["step"]) == step], "val_recall5")
            for step in steps
        ]
        seeds = len({row["seed"] for row in mine})
        panel.plot(steps, [v.mean() for v in values], color=colour)
        low, high = [v.min() for v in values], [v.max() for v in values]
        panel.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        name = f"{start}, {seeds} seed{'s' * (seeds > 1)}"
        ends[name] = (colour, float(values[-1].mean()))
    return ends


def _name_curves(panel: Axes, ends: Mapping[str, tuple[str, float]]) -> None:
    """Write names at the right of a panel, each beside the end of its curve, none on another."""
    apart, place = 0.08 * float(np.diff(panel.get_ylim())[0]), -np.inf
    for name, (colour, end) in sorted(ends.items(), key=lambda one: one[1][1]):
        place = max(end, place + apart)
        at = (panel.get_xlim()[1], place)
        panel.annotate(name, at, color=colour, fontsize=8, va="center", annotation_clip=False)


def _curve(
    rows: Rows, body: str, ascites: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    mine = sorted(
        (row for row in rows if (row["body"], row["ascites"]) == (body, ascites)),
        key=lambda row: int(row["slice"]),
    )
    return (
        np.array([float(row["z_mm"]) for row in mine]),
        np.array([float(row["score"]) for row in mine]),
        float(mine[0]["r"]),
    )


def _axes(
    lines: int, columns: int, width: float, height: float, **more: Any
) -> tuple[Figure, NDArray[Any]]:
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    axes: NDArray[Any] = figure.subplots(lines, columns, squeeze=False, **more)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes
