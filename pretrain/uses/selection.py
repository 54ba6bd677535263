"""The best series of each study for a range of the body, from the rows of an audit.

Series are compared by, in this order: how much of the range they show, with a margin at both ends;
severe faults (missing slices, slices out of order, reversed, no recognisable body); the kernel, if
one is asked for; uneven steps; the distance of slices; other faults; whether an end of the range
may lie outside; the thickness of slices. Lengths that differ by less than 20 mm are equal, since
scores err by as much. For the same reason, a series that ends at the very end of the range may
lack some of it, hence the margin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from ubr.weights.common.checks import check_choice
from ubr.weights.common.claims import claiming

from ..reading.parts import PARTS
from .audit.rows import Row
from .audit.stated import parts_in
from .audit.tables import read_rows
from .selected_files import Form, write_selection

Kernel = Literal["soft", "sharp"]
Covers = Literal["yes", "unsure", "partly", "no"]
SAME_MM = 20.0
"""Lengths of a range that differ by less differ by the scores' errors."""
MARGIN_MM = 10.0
"""Of what lies beyond an end of the range as much counts as if it were wanted."""
SEVERE = {"reversed", "gap", "glued", "swapped", "repeated", "out_of_range", "spacing"}
"""Findings that come before the distance of slices; "abnormal" may be what was looked for."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen in a study.

    study: its key, "" where the header names none. series: the best one's key, "" where none shows
    the range. covers: whether it shows all of the range. reason: what it has. runner_up: the key of
    the second best, "" where there is none. runner_up_reason: where it falls short. path: where the
    best was read from, if the audit kept paths.
    """

    study: str
    series: str
    covers: Covers
    reason: str
    runner_up: str
    runner_up_reason: str
    path: str = ""


@dataclass(frozen=True)
class Selection:
    """What `select` chose.

    want: parts of the range. chosen: one for each study. out: where it was written, if anywhere.
    passed_over: series that the audit does not call CT.
    """

    want: tuple[str, ...]
    chosen: tuple[Chosen, ...]
    out: Path | None = None
    passed_over: int = 0

    def table(self) -> str:
        """The choice as text: a line for each study."""
        found = [one for one in self.chosen if one.series]
        alone = sum(not one.study for one in self.chosen)
        said = f"{len(found):,} of {len(self.chosen):,} studies show {' and '.join(self.want)}"
        if alone:
            said += f" ({alone:,} of the {len(self.chosen):,} are series without a study)"
        if self.passed_over:
            said += f"; left out {self.passed_over:,} series that may not be CT"
        lines = [f"{said}; in {self.out}" if self.out else said]
        for one in self.chosen if self.out is None else ():
            second = f"; then {one.runner_up}: {one.runner_up_reason}" if one.runner_up else ""
            lines.append(
                f"{one.study or 'without a study':16}  {one.series or '-':16}  {one.reason}{second}"
            )
        return "\n".join(lines)


@claiming("out")
def select(
    audit: str | Path,
    *,
    want: str,
    kernel: Kernel | None = None,
    partial: bool = False,
    out: str | Path | None = None,
    form: Form = "list",
) -> Selection:
    """Choose the best series of each study for a range of the body.

    A series whose header names no study is a study of its own.

    Args:
        audit: a folder that `audit` wrote with regions.
        want: the parts that the series must show, e.g. "abdomen and pelvis"; between the first and
            the last all are wanted.
        kernel: prefer series of this kind of kernel.
        partial: also choose series that show only a part of the range, where none shows all of it.
        out: a new .csv file for the list, or a new folder for links or copies; without it the
            choice is only returned.
        form: what is written: the list; or also links to the files of each chosen series, or
            copies of them. Both need an audit that kept paths.

    Raises:
        ValueError: no audit, one without the parts wanted or without paths that are needed, a range
            that names no part, an option that has no such value, files that have changed, or an
            `out` that exists.
    """
    check_choice("kernel", kernel, Kernel | None)
    check_choice("form", form, Form)
    target = None if out is None else Path(out)
    if target is not None and target.exists():
        raise ValueError(f"{target} exists; give a new `out`")
    if form != "list" and target is None:
        raise ValueError(f"`form` {form} needs a folder; give `out`")
    audited = list(read_rows(audit))
    rows = [row for row in audited if row["ct"] == "yes"]
    parts = _wanted(want, rows)
    if form != "list" and not any(row.get("path") for row in rows):
        raise ValueError(f"{audit} keeps no paths, which {form} need; audit again `with_paths`")
    chosen = tuple(
        _best(study, several, parts, kernel, partial) for study, several in _studies(rows)
    )
    if target is not None:
        write_selection(target, chosen, form)
    return Selection(parts, chosen, target, len(audited) - len(rows))


def _wanted(want: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The parts of a range. Raises `ValueError` for a text that names none, or one not audited."""
    named: list[str] = []
    for words in re.split(r",|\band\b|\bto\b|\+|/", want):
        found = parts_in(words).parts
        if not found:
            raise ValueError(
                f"want must name body parts, got {words.strip()!r}; allowed: {', '.join(PARTS)}"
            )
        named += found
    named.sort(key=PARTS.index)
    first, last = PARTS.index(named[0]), PARTS.index(named[-1])
    parts = PARTS[first : last + 1]
    known = [part for part in PARTS if rows and f"{part}_mm" in rows[0]]
    if rows and (foreign := [part for part in parts if part not in known]):
        raise ValueError(
            f"want names {foreign[0]}, which the audit's regions do not know; they know "
            f"{', '.join(known) or 'no part'}"
        )
    return parts


def _studies(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The series of each study, in the order of their keys."""
    ordered = sorted(rows, key=lambda row: (str(row["study"]), str(row["series"])))
    for study, several in groupby(ordered, key=lambda row: str(row["study"])):
        if study:
            yield study, list(several)
        else:
            yield from (("", [row]) for row in several)


def _best(
    study: str, rows: Sequence[Row], parts: Sequence[str], kernel: Kernel | None, partial: bool
) -> Chosen:
    """The best series of a study."""
    candidates = _candidates(rows, parts)
    least = min(one.lacks_mm for one in candidates)
    first, *others = sorted(candidates, key=lambda one: [*one.rank(kernel, least).values()])
    if first.covers == "no" or (first.covers == "partly" and not partial):
        shown = f"; {first.key} shows {first.mm:.0f} mm of it; use `partial` to choose it"
        reason = f"no series shows all of {' and '.join(parts)}{shown if first.mm else ''}"
        return Chosen(study, "", first.covers, reason, "", "")
    second = next((one for one in others if one.covers != "no"), None)
    return Chosen(
        study,
        first.key,
        first.covers,
        first.has(),
        second.key if second else "",
        second.lacks(first, kernel, least) if second else "",
        str(first.row.get("path") or ""),
    )


def _candidates(rows: Sequence[Row], parts: Sequence[str]) -> list[_Candidate]:
    """The series of a study.

    One that shows as much of the range as another that shows all, but for the error of scores, is
    not surely cut.
    """
    most = max(_mm(row, parts) for row in rows)
    found = [
        _Candidate(row, _covers(row, parts), _mm(row, parts), _lacks_mm(row, parts, most))
        for row in rows
    ]
    whole = [one.lacks_mm for one in found if one.covers in ("yes", "unsure")]
    return [
        replace(one, covers="unsure")
        if one.covers == "partly" and any(one.lacks_mm - mm < SAME_MM for mm in whole)
        else one
        for one in found
    ]


def _lacks_mm(row: Row, parts: Sequence[str], most: float) -> float:
    """How much of the range and of the margins a series does not show.

    most: of the range that a series of the study shows. Where both ends lie inside the scan nothing
    is missing: that the range then seems shorter than elsewhere is an error of scores.
    """
    known = [part for part in PARTS if f"{part}_mm" in row]
    beyond = known[: known.index(parts[0])], known[known.index(parts[-1]) + 1 :]
    spare = [_mm(row, several) if several else None for several in beyond]
    inside = all(mm is not None and mm > 0 for mm in spare)
    margins = sum(max(MARGIN_MM - mm, 0.0) for mm in spare if mm is not None)
    return margins + (0.0 if inside else most - _mm(row, parts))


def _covers(row: Row, parts: Sequence[str]) -> Covers:
    """Whether a series shows all of a range, as far as its ends are known."""
    shown = [_number(row, f"{part}_mm") > 0 for part in parts]
    if not any(shown):
        return "no"
    ends = [row[f"{parts[0]}_top"], row[f"{parts[-1]}_bottom"]]
    if not all(shown) or "no" in ends:
        return "partly"
    return "unsure" if "unsure" in ends else "yes"


def _mm(row: Row, parts: Sequence[str]) -> float:
    return sum(_number(row, f"{part}_mm") for part in parts)


def _number(row: Row, name: str) -> float:
    value: Any = row.get(name)
    return float(value or 0)


@dataclass(frozen=True)
class _Candidate:
    """A series of a study.

    covers, mm: whether it shows the range, and how much of it. lacks_mm: see `_lacks_mm`.
    """

    row: Row
    covers: Covers
    mm: float
    lacks_mm: float

    @property
    def key(self) -> str:
        return str(self.row["series"])

    def rank(self, kernel: Kernel | None, least_mm: float) -> dict[str, float | str]:
        """What series are sorted by, the smaller the better. least_mm: that any of them lacks."""
        of_kernel = self.row["kernel"]
        return {
            "range": {"partly": 1, "no": 2}.get(self.covers, 0),
            "length": (self.lacks_mm - least_mm) // SAME_MM,
            "severe": len(self.severe()),
            "kernel": 0 if kernel in (None, of_kernel) else 1 if not of_kernel else 2,
            "uneven": bool(self.row["uneven"]),
            "spacing": round(_number(self.row, "spacing_mm") or math.inf, 2),
            "faults": len(self.minor()),
            "unsure": self.covers == "unsure",
            "thickness": _number(self.row, "thickness_mm"),
            "key": self.key,
        }

    def severe(self) -> list[str]:
        """Faults that come before the distance of slices."""
        kinds = str(self.row["findings"]).split("; ")
        found = [kind.replace("_", " ") for kind in kinds if kind in SEVERE]
        if self.row["complete"] == "missing":
            found.append(f"{self.row['missing']} slices missing")
        if self.row["direction"] == "reversed" and "reversed" not in found:
            found.append("reversed")
        return found

    def minor(self) -> list[str]:
        """Other faults."""
        said = {
            "abnormal": "abnormal" in str(self.row["findings"]),
            "slices twice": bool(self.row["twice"]),
            "tilted": bool(self.row["tilt_deg"]),
            "a copy": bool(self.row["copy_of"]),
            "completeness unknown": self.row["complete"] == "unknown",
        }
        return [what for what, holds in said.items() if holds]

    def has(self) -> str:
        """What it has, in a few words."""
        shown = {"yes": "shows all of it", "unsure": "shows all of it, but one end is uncertain"}
        steps = "uneven" if self.row["uneven"] else "even"
        said = [
            shown.get(self.covers, f"shows {self.mm:.0f} mm of it"),
            f"{steps} steps of {_number(self.row, 'spacing_mm'):.2f} mm",
            *([f"{self.row['kernel']} kernel"] if self.row["kernel"] else []),
            *self.severe(),
            *self.minor(),
        ]
        return ", ".join(said)

    def lacks(self, best: _Candidate, kernel: Kernel | None, least_mm: float) -> str:
        """The first thing in which it is behind the best one."""
        mine, its = (one.rank(kernel, least_mm) for one in (self, best))
        less = self.lacks_mm - best.lacks_mm
        said = {
            "range": f"shows {less:.0f} mm less" if less >= 1 else "an end is cut",
            "length": f"shows {less:.0f} mm less",
            "severe": ", ".join(self.severe()),
            "kernel": f"{self.row['kernel'] or 'unknown'} kernel",
            "unsure": "an end is uncertain",
            "uneven": "uneven steps",
            "spacing": f"steps of {_number(self.row, 'spacing_mm'):.2f} mm",
            "faults": ", ".join(self.minor()),
            "thickness": f"slices of {_number(self.row, 'thickness_mm'):.2f} mm",
            "key": "alike",
        }
        return next(said[name] for name in mine if mine[name] != its[name])
