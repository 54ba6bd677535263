"""The result of a scoring: its folder, read on demand, and its summary as text."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ..data.volume import WARNINGS, LeftOut, reasons
from ..reading.context import Context
from ..reading.finding import KINDS
from ..reading.line import PAPER_R
from ..reading.reference import ENOUGH
from .read import read_findings, read_rows, read_slices, read_summaries
from .series import SeriesScores

RUNTIMES = {"torch": "torch", "openvino": "OpenVINO", "onnx": "ONNX Runtime"}


@dataclass(frozen=True)
class Scored:
    """What `score` wrote; read from its files when asked for.

    folder: with the tables. sources: where each series was read from, by its key; for the caller
    only. already: how many series an earlier call had scored. notes: what the regions could not
    give, and why a runtime was not used. runtime: what computed the scores.
    """

    folder: Path
    sources: Mapping[str, str]
    already: int = 0
    notes: tuple[str, ...] = ()
    runtime: str = "torch"

    @property
    def series(self) -> tuple[SeriesScores, ...]:
        """The scores of all series, in the order of their keys; all of them in memory."""
        slices, _ = read_slices(self.folder)
        rows = read_summaries(self.folder, slices)
        found = read_findings(self.folder, slices, rows)
        return tuple(
            SeriesScores(
                row["series"],
                slices[row["series"]]["score"],
                slices[row["series"]]["z_mm"],
                warnings_in(row["warnings"]),
                self.sources[row["series"]],
                findings=found.get(row["series"], ()),
                interpolated=slices[row["series"]].get("interpolated"),
                position_mm=slices[row["series"]].get("position_mm"),
                context=cast(Context | None, row.get("context")),
            )
            for row in rows.values()
        )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What was not scored, and why; with paths if they were asked for."""
        rows = read_rows(self.folder / "left_out.csv")
        return tuple(LeftOut(row.get("path", ""), row["reason"], row["series"]) for row in rows)

    def table(self) -> str:
        """The summary of a scoring as text.

        It holds counts, quality, the least straight curves, findings, and what was left out and
        why.
        """
        rows = self._rows()
        left_out = self.left_out
        return "\n".join(
            [
                *self._quality(rows),
                *_findings(rows),
                *_contexts(rows),
                *_parts(rows),
                *_warned(rows),
                f"left out  {len(left_out):6,}",
                *reasons(left_out, 10, with_paths=True),
                *self.notes,
            ]
        )

    def summary(self) -> dict[str, object]:
        """The summary of a scoring as plain values, without paths."""
        rows = self._rows()
        return {
            "series": len(rows),
            "slices": sum(int(row["slices"]) for row in rows),
            "already": self.already,
            "runtime": self.runtime,
            "findings": sum(bool(row["findings"]) for row in rows),
            "left_out": [{"series": out.key, "reason": out.reason} for out in self.left_out],
            "notes": list(self.notes),
        }

    def _rows(self) -> list[dict[str, str]]:
        return list(read_rows(self.folder / "series.csv"))

    def _quality(self, rows: Sequence[Mapping[str, str]]) -> list[str]:
        """How many series were scored, how straight they are, and which are the least so."""
        r = {row["series"]: float(row["pearson_r"]) for row in rows}
        defined = [value for value in r.values() if not math.isnan(value)]
        median = np.median(defined) if defined else math.nan
        slices = sum(int(row["slices"]) for row in rows)
        lines = [
            f"scored    {len(rows):6,} series, {slices:,} slices; median r {median:.4f}; in "
            f"{self.folder}",
            f"{'':10}computed by {RUNTIMES[self.runtime]}",
        ]
        if self.already:
            lines.append(f"{'':10}{self.already:6,} series were scored by an earlier call")
        least = heapq.nsmallest(
            5, rows, key=lambda row: -2.0 if math.isnan(r[row["series"]]) else r[row["series"]]
        )
        return lines + [
            f"{'' if i else 'lowest r':<10}  {r[row['series']]:.4f}  series {row['series']}, "
            f"{row['slices']} slices"
            for i, row in enumerate(least)
        ]


def _findings(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """How many series have findings, of which kinds, and how many the paper's rule suspects."""
    kinds = [row["findings"].split("; ") for row in rows if row["findings"]]
    counts = ", ".join(
        f"{kind} {n}" for kind in KINDS if (n := sum(kind in found for found in kinds))
    )
    suspect = sum(row["paper_rule"] == "True" for row in rows)
    few = (
        f"{'':10}fewer than {ENOUGH} series: built-in limits are used, wrong spacing may be missed"
    )
    found = (
        f"findings  {len(kinds):6,} series{f': {counts}' if counts else ''}; r below "
        f"{PAPER_R}: {suspect}"
    )
    return [*([few] if len(rows) < ENOUGH else []), found]


def _contexts(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """How many series have positions from all slices together, where there are positions."""
    if not rows or "context" not in rows[0]:
        return []
    counts = Counter(row["context"] for row in rows)
    said = {
        "series": "series on one line of score by mm",
        "pieces": "series on several lines, one for each intact piece",
        "slices": "series without a line: each slice has the position of its own score",
    }
    return [
        f"{'' if i else 'positions':10}{counts[name]:6,} {said[name]}"
        for i, name in enumerate(name for name in said if counts[name])
    ]


def _parts(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """How many series show each part of the body, where regions tell it."""
    if not rows or "parts" not in rows[0]:
        return []
    counts = Counter(part for row in rows for part in row["parts"].split("; ") if part)
    shown = ", ".join(f"{part} {n}" for part, n in counts.items()) or "none that the regions know"
    return [f"parts     {len(rows):6,} series: {shown}"]


def _warned(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """How many series were read with which warning."""
    counts = Counter(
        code for row in rows for code in {w.split(":")[0] for w in warnings_in(row["warnings"])}
    )
    return [f"warning   {count:6,} series: {code}" for code, count in sorted(counts.items())]


def warnings_in(cell: str) -> tuple[str, ...]:
    """The warnings in a cell of series.csv; a warning can hold a semicolon itself."""
    return tuple(filter(None, re.split(rf"; (?=(?:{'|'.join(WARNINGS)}):)", cell)))
