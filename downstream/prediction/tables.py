"""The tables of a folder of findings, and their end as text."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.tables import table_writer
from ubr.pretrain.data.volume import LeftOut, reasons, shown
from ubr.weights.common import doors

if TYPE_CHECKING:
    import pyarrow as pa

    from .boxes import Boxes
    from .linking import Finding

LAST = "boxes.parquet"
"""The table that is written last."""
TABLES = ("left_out.csv", "series.csv", "findings.csv", LAST)
AGAIN = "run predict again, into a new folder"
SERIES = ("series", "slices", "looked_at", "boxes", "findings", "warnings", "report")
LEFT_OUT = ("series", "reason")
FINDINGS = (
    *("series", "finding", "score", "first_slice", "best_slice", "last_slice", "boxes"),
    *("x1", "y1", "x2", "y2", "z1_mm", "z2_mm"),
    *("width_mm", "height_mm", "depth_mm", "diameter_mm", "l_mm", "p_mm", "s_mm"),
)
BEST = 5
"""Findings that the text at the end names."""


@dataclass(frozen=True, eq=False)
class SeriesFindings:
    """What was found in a series.

    key: its hash. boxes: in slices. findings: the surest first. z_mm: `[n]`, where its slices lie.
    slices: those that the detector saw. size: (rows, columns) of a slice. spacing_mm: (z, y, x).
    place: of its volume (`Volume.place`), or none. warnings: of its volume. source: where it was
    read from; it is written out only where paths were asked for. report: the file of its report, or
    why there is none. where: what is known of where in the body its slices lie, name -> `[n]`.
    pictures: WebP by name, and windows_hu those of its findings (`drawing.pictures`).
    """

    key: str
    boxes: Boxes
    findings: Sequence[Finding]
    z_mm: NDArray[np.float64]
    slices: Sequence[int]
    size: tuple[int, int]
    spacing_mm: Sequence[float]
    place: NDArray[np.float64] | None
    warnings: Sequence[str]
    source: str
    report: str = ""
    where: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    windows_hu: Sequence[Sequence[int]] = ()

    def numbers(self) -> NDArray[np.int32]:
        """`[m]`, of each box the number of its finding, 0 for none."""
        found = np.zeros(len(self.boxes), np.int32)
        for number, one in enumerate(self.findings, 1):
            found[list(one.members)] = number
        return found

    def whereabouts(self, finding: Finding) -> dict[str, str]:
        """What is known of where in the body a finding's surest slice lies, name -> text."""
        return {name: _cell(name, values[finding.best]) for name, values in self.where.items()}


def write_tables(
    folder: Path,
    series: Iterable[SeriesFindings],
    left_out: Iterable[LeftOut],
    settings: Mapping[str, object],
    where: Sequence[str] = (),
) -> None:
    """Write the tables, a series at a time.

    series: in the order of their keys. settings: what the findings depend on; `with_paths` says
    whether paths are written. where: names in `SeriesFindings.where`.
    """
    with_paths = bool(settings["with_paths"])
    path = ("path",) if with_paths else ()
    left = [(out.key, out.reason, shown(out.path))[: 2 + with_paths] for out in left_out]
    with (folder / "left_out.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(*LEFT_OUT, *path), *sorted(left)])
    schema = _box_rows(None).schema.with_metadata({"ubr": json.dumps(settings)})
    with (
        (folder / "series.csv").open("w", newline="", encoding="utf-8") as summaries,
        (folder / "findings.csv").open("w", newline="", encoding="utf-8") as findings,
        table_writer(folder / LAST, schema) as boxes,
    ):
        (a := csv.writer(summaries)).writerow((*SERIES, *path))
        (b := csv.writer(findings)).writerow((*FINDINGS, *where))
        for one in series:
            a.writerow(_series_row(one)[: len(SERIES) + with_paths])
            b.writerows(_finding_rows(one))
            boxes.write_table(_box_rows(one).cast(schema))


def _series_row(one: SeriesFindings) -> tuple[object, ...]:
    counts = len(one.z_mm), len(one.slices), len(one.boxes), len(one.findings)
    return one.key, *counts, "; ".join(one.warnings), one.report, one.source


def _finding_rows(one: SeriesFindings) -> Iterator[list[object]]:
    for number, found in enumerate(one.findings, 1):
        centre = lps(one.place, np.array([found.centre]))[0]
        yield [
            *(one.key, number, f"{found.score:.5f}"),
            *(found.first, found.best, found.last, len(found.members)),
            *(f"{edge:.2f}" for edge in found.edges),
            *(f"{mm:.2f}" for mm in (*found.z_mm, *found.size_mm, found.diameter_mm)),
            *("" if np.isnan(mm) else f"{mm:.2f}" for mm in centre),
            *one.whereabouts(found).values(),
        ]


def _cell(name: str, value: Any) -> str:
    return str(value) if name == "part" else f"{float(value):.4g}"


def lps(place: NDArray[np.float64] | None, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[n, 3]`, (x, y) in pixels and z in mm below the first slice, in the patient: mm to
    the left, back and head; NaN where the place is not known.

    Pixels are counted from the left edge of the first column; `Volume.place` counts from its
    middle.
    """
    if place is None:
        return np.full((len(points), 3), np.nan)
    middles = points - (0.5, 0.5, 0.0)
    return np.asarray(middles @ place[:, :3].T + place[:, 3])


def _box_rows(one: SeriesFindings | None) -> pa.Table:
    """Rows of boxes.parquet; without a series its columns."""
    import pyarrow as pa

    if one is None:
        keys, number, index = [], np.empty(0, np.int32), np.empty(0, np.int32)
        edges, scores, z_mm, corners = np.empty((0, 4)), np.empty(0), np.empty(0), np.empty((0, 6))
    else:
        keys, index = [one.key] * len(one.boxes), one.boxes.index
        edges, scores, z_mm = one.boxes.edges, one.boxes.scores, one.z_mm[one.boxes.index]
        number = one.numbers()
        corners = np.concatenate(
            [lps(one.place, np.column_stack([edges[:, k : k + 2], z_mm])) for k in (0, 2)], axis=1
        )
    columns: dict[str, Any] = {
        "series": pa.array(keys, pa.string()),
        "finding": pa.array(number, pa.int32(), mask=number == 0),
        "index": pa.array(index, pa.int32()),
        "z_mm": pa.array(z_mm),
        "score": pa.array(scores),
        **{name: pa.array(edges[:, k]) for k, name in enumerate(("x1", "y1", "x2", "y2"))},
    }
    for k, name in enumerate(("l1_mm", "p1_mm", "s1_mm", "l2_mm", "p2_mm", "s2_mm")):
        columns[name] = pa.array(corners[:, k], mask=np.isnan(corners[:, k]))
    return pa.table(columns)


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of one of the CSV tables.

    Raises:
        ValueError: it is damaged.
    """
    columns = {"series.csv": SERIES, "left_out.csv": LEFT_OUT, "findings.csv": FINDINGS}[name]
    kinds: dict[str, doors.Cell] = dict.fromkeys(columns, str)
    whole = ("slices", "looked_at", "boxes", "findings", "finding", "best_slice")
    kinds |= {name: int for name in columns if name in whole}
    return [row for _, row in doors.read_rows(folder / name, kinds, AGAIN)]


def _is_file(report: str) -> bool:
    return report.startswith("sr/")


@dataclass(frozen=True)
class Predicted:
    """What `predict` wrote; read from its files when asked for.

    folder: with findings.csv, boxes.parquet, series.csv and left_out.csv. already: how many series
    an earlier call had finished.
    """

    folder: Path
    already: int = 0

    def table(self) -> str:
        """Counts, the surest findings, and what was left out and why."""
        rows, found = read_table(self.folder, "series.csv"), self._findings()
        with_any = sum(row["findings"] != "0" for row in rows)
        slices = sum(int(row["looked_at"]) for row in rows)
        lines = [
            f"{len(found):,} findings in {with_any:,} of {len(rows):,} series, {slices:,} slices "
            f"looked at; in {self.folder}"
        ]
        if self.already:
            lines.append(f"{self.already:6,} series by an earlier call")
        without = [row["report"] for row in rows if row["report"] and not _is_file(row["report"])]
        lines += [f"{n:6,} without a report: {why}" for why, n in Counter(without).most_common()]
        lines += [
            f"  score {float(row['score']):.3f}  {float(row['diameter_mm']):5.1f} mm  slice "
            f"{row['best_slice']} of series {row['series']}"
            for row in sorted(found, key=lambda row: -float(row["score"]))[:BEST]
        ]
        left = [LeftOut(r.get("path", ""), r["reason"], r["series"]) for r in self._left_out()]
        return "\n".join([*lines, f"left out  {len(left):6,}", *reasons(left, 10, True)])

    def summary(self) -> dict[str, object]:
        """The same as plain values; no path."""
        rows = read_table(self.folder, "series.csv")
        left = self._left_out()
        return {
            "series": len(rows),
            "slices": sum(int(row["looked_at"]) for row in rows),
            "findings": len(self._findings()),
            "already": self.already,
            "left_out": [{"series": row["series"], "reason": row["reason"]} for row in left],
        }

    def _findings(self) -> list[dict[str, str]]:
        return read_table(self.folder, "findings.csv")

    def _left_out(self) -> list[dict[str, str]]:
        return read_table(self.folder, "left_out.csv")
