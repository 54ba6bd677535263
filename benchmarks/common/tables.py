"""The paper's tables as functions of rows (results/NAME.csv): each returns lines of cells.

Each raises `ValueError` if rows are missing or do not belong together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, str]
Rows = Sequence[Row]

TABLE1_HEAD = (
    "method",
    "labelled volumes",
    "pairs",
    "network",
    "accuracy %",
    "95 %",
    "seeds",
    "paper %",
)
ABLATION_HEAD = ("change", "accuracy %", "difference, a seed each", "median r", "seeds")
PAPER_TABLE1 = {
    "supervised": 98.84,
    "pair ordering, many labelled volumes": 95.28,
    "pair ordering, two labelled volumes": 72.05,
    "UBR, two labelled volumes": 95.99,
    "UBR with the paper's losses, two labelled volumes": 95.99,
    "UBR (AlexNet), two labelled volumes": 95.61,
    "UBR, pooled features, many labelled volumes": 98.41,
}
"""Accuracy in %; VGG-16, 800 volumes without labels, 88 with, 18,195 tested slices."""


def together(rows: Rows, what: str) -> Rows:
    """Return the same rows, if they belong together.

    Raises:
        ValueError: there are none, or those of one line are of several data or configurations,
            apart from their seeds.
    """
    if not rows:
        raise ValueError(f"no rows of {what}")
    for column in ("data_sha256", "recipe", "start"):
        if len(values := {row[column] for row in rows}) > 1:
            raise ValueError(
                f"rows of {what} have several {column} ({', '.join(sorted(values))}); choose "
                "one, or move the others away"
            )
    configs: dict[tuple[str, ...], set[str]] = {}
    for row in rows:
        variant = tuple(row.get(column, "") for column in ("method", "pairs", "m", "distance"))
        configs.setdefault(variant, set()).add(row["config"])
    for found in configs.values():
        if len(found) > 1:
            raise ValueError(
                f"rows of {what} that belong to one line have the configurations "
                f"{', '.join(sorted(found))}; move one away"
            )
    return rows


def table1(rows: Rows) -> list[list[str]]:
    """Lines of Table 1, with the cells of `TABLE1_HEAD`.

    Accuracy is the mean over seeds, with their range. Rows without an accuracy are of trainings
    that diverged.
    """
    together(rows, "table1")
    lines = []
    for method, paper in PAPER_TABLE1.items():
        of_method = [row for row in rows if row["method"] == method]
        for pairs in sorted({row["pairs"] for row in of_method}):
            found = [row for row in of_method if row["pairs"] == pairs]
            first = found[0]
            about = [method, first["labelled"], pairs, first["backbone"]]
            lines.append([*about, *_shown(found), str(len(found)), f"{paper:.2f}"])
    return lines


def _shown(found: Rows) -> tuple[str, str]:
    """Accuracy and interval of the rows of a line."""
    finite = [row for row in found if row["accuracy"]]
    shown, interval = [], ""
    if finite:
        accuracy = percent(finite, "accuracy")
        shown.append(
            f"{accuracy.mean():.1f}"
            + (f" ({accuracy.min():.1f} to {accuracy.max():.1f})" if len(finite) > 1 else "")
        )
        interval = f"{percent(finite, 'low').mean():.1f} to {percent(finite, 'high').mean():.1f}"
    if len(found) > len(finite):
        shown.append(f"{len(found) - len(finite)} diverged")
    return "; ".join(shown), interval


def ablation(rows: Rows) -> list[list[str]]:
    """Lines of the ablation, with the cells of `ABLATION_HEAD`.

    Accuracy and r are means over seeds; the difference to no change is given for each seed.
    """
    together(rows, "ablation")
    plain = {row["seed"]: float(row["accuracy"]) for row in rows if row["method"] == "none"}
    lines = []
    for change in dict.fromkeys(row["method"] for row in rows):
        found = [row for row in rows if row["method"] == change]
        apart = [
            100 * (float(row["accuracy"]) - plain[row["seed"]])
            for row in found
            if row["seed"] in plain
        ]
        shown = "" if change == "none" or not apart else " ".join(f"{one:+.1f}" for one in apart)
        r = np.mean([float(row["r"]) for row in found])
        lines.append(
            [
                change,
                f"{percent(found, 'accuracy').mean():.1f}",
                shown,
                f"{r:.4f}",
                str(len(found)),
            ]
        )
    return lines


def percent(rows: Rows, column: str) -> NDArray[np.float64]:
    """The values of a column in %."""
    return 100 * np.array([float(row[column]) for row in rows])
