"""The best series of each study for a range of the body, from the rows of an audit.

Series are compared by, in this order: how much of the range they show; severe faults (missing
slices, slices out of order, reversed, no body that is known); the kernel, if one is asked for;
uneven steps; the distance of slices; other faults; the thickness of slices.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from ubr.weights.common.checks import check_choice
from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import whole

from ..data.find import find_series
from ..data.scans import unread_scan
from ..data.volume import Series, UnusableError
from .audit.rows import Row
from .audit.stated import PARTS, parts_in
from .audit.tables import read_rows

Kernel = Literal["soft", "sharp"]
Form = Literal["list", "links", "copies"]
Covers = Literal["yes", "unsure", "partly", "no"]
SAME_MM = 20.0
"""Lengths of a range that differ by less are told by the scores' errors."""
SEVERE = {"reversed", "gap", "glued", "swapped", "repeated", "out_of_range", "spacing"}
"""Findings that come before the distance of slices; "abnormal" may be what was looked for."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen in a study.

    study: its key, "" where the header names none. series: the best one's key, "" where none shows
    the range. covers: whether it shows all of the range. reason: what it has. runner_up: the key of
    the second best, "" where there is none. runner_up_reason: what it has less of. path: where the
    best was read from, where the audit kept paths.
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
    """What `select` chose. want: parts of the range. chosen: one for each study. out: where it was
    written, if anywhere.
    """

    want: tuple[str, ...]
    chosen: tuple[Chosen, ...]
    out: Path | None = None

    def table(self) -> str:
        """The choice as text: a line for each study."""
        found = [one for one in self.chosen if one.series]
        lines = [
            f"{len(found):,} of {len(self.chosen):,} studies show {' and '.join(self.want)}"
            + (f"; in {self.out}" if self.out else "")
        ]
        for one in self.chosen if self.out is None else ():
            second = f"; then {one.runner_up}: {one.runner_up_reason}" if one.runner_up else ""
            lines.append(f"{one.study or '-':16}  {one.series or '-':16}  {one.reason}{second}")
        return "\n".join(lines)


@claiming("out")
def select(
    audit: str | Path,
    *,
    want: str,
    per: Literal["study"] = "study",
    kernel: Kernel | None = None,
    partial: bool = False,
    out: str | Path | None = None,
    form: Form = "list",
) -> Selection:
    """Choose the best series of each study for a range of the body.

    Args:
        audit: a folder that `audit` wrote with regions.
        want: the parts that the series must show, as "abdomen and pelvis"; between the first and
            the last all are wanted.
        per: of what the best is chosen. Series whose header names no study are studies of their
            own.
        kernel: prefer series of this kind of kernel.
        partial: also choose series that show only a part of the range, where none shows all of it.
        out: a new .csv file for the list, or a new folder for links or copies; without it the
            choice is only returned.
        form: what is written: the list; or also links to the files of each chosen series, or
            copies of them. Both need an audit that kept paths.

    Raises:
        ValueError: no audit, one without the parts wanted or without paths that are needed, a range
            that names no part, an option that is none, files that have changed, or `out` exists.
    """
    check_choice("per", per, Literal["study"])
    check_choice("kernel", kernel, Kernel | None)
    check_choice("form", form, Form)
    target = None if out is None else Path(out)
    if target is not None and target.exists():
        raise ValueError(f"{target} exists; give a new `out`")
    if form != "list" and target is None:
        raise ValueError(f"`form` {form} needs a folder; give `out`")
    rows = [row for row in read_rows(audit) if row["ct"] == "yes"]
    parts = _wanted(want, rows)
    if form != "list" and not any(row.get("path") for row in rows):
        raise ValueError(f"{audit} keeps no paths, which {form} need; audit again `with_paths`")
    chosen = tuple(
        _best(study, several, parts, kernel, partial) for study, several in _studies(rows)
    )
    if target is not None:
        _write(target, chosen, form)
    return Selection(parts, chosen, target)


def _wanted(want: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The parts of a range. Raises `ValueError` for a text that names none, or one not audited."""
    named = parts_in(want).parts
    if not named:
        raise ValueError(f"want names no part, got {want!r}; allowed: {', '.join(PARTS)}")
    first, last = PARTS.index(named[0]), PARTS.index(named[-1])
    parts = PARTS[first : last + 1]
    known = [part for part in PARTS if rows and f"{part}_mm" in rows[0]]
    if rows and (foreign := [part for part in parts if part not in known]):
        raise ValueError(
            f"want {foreign[0]}, which the audit's regions do not know; they know "
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
    most = max(_mm(row, parts) for row in rows)
    ranked = sorted(rows, key=lambda row: _rank(row, parts, kernel, most))
    first, *others = ranked
    covers = _covers(first, parts)
    if covers == "no" or (covers == "partly" and not partial):
        shown = f"; {first['series']} shows {_mm(first, parts):.0f} mm" if covers != "no" else ""
        reason = f"no series shows {' and '.join(parts)}{shown}"
        return Chosen(study, "", covers, reason, "", "")
    second = next((row for row in others if _covers(row, parts) != "no"), None)
    return Chosen(
        study,
        str(first["series"]),
        covers,
        _has(first, parts),
        str(second["series"]) if second else "",
        _lacks(second, first, parts, kernel, most) if second else "",
        str(first.get("path") or ""),
    )


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


COMPARED = ("range", "length", "severe", "kernel", "uneven", "spacing", "faults", "thickness")
"""What `_rank` compares, in order."""


def _rank(
    row: Row, parts: Sequence[str], kernel: Kernel | None, most_mm: float
) -> tuple[float | str, ...]:
    """What series are sorted by, the best first."""
    lacking = most_mm - _mm(row, parts)
    return (
        get_args(Covers).index(_covers(row, parts)),
        lacking // SAME_MM,
        len(_severe(row)),
        0 if kernel is None or row["kernel"] == kernel else 1 if not row["kernel"] else 2,
        bool(row["uneven"]),
        round(_number(row, "spacing_mm") or float("inf"), 2),
        len(_minor(row)),
        _number(row, "thickness_mm"),
        str(row["series"]),
    )


def _severe(row: Row) -> list[str]:
    kinds = str(row["findings"]).split("; ")
    found = [kind.replace("_", " ") for kind in kinds if kind in SEVERE]
    if row["complete"] == "missing":
        found.append(f"{row['missing']} slices missing")
    if row["direction"] == "reversed" and "reversed" not in found:
        found.append("reversed")
    return found


def _minor(row: Row) -> list[str]:
    said = {
        "abnormal": "abnormal" in str(row["findings"]),
        "slices twice": bool(row["twice"]),
        "tilted": bool(row["tilt_deg"]),
        "a copy": bool(row["copy_of"]),
        "completeness unknown": row["complete"] == "unknown",
    }
    return [what for what, holds in said.items() if holds]


def _has(row: Row, parts: Sequence[str]) -> str:
    """What a series has, in a few words."""
    covers = {"yes": "shows all of it", "unsure": "shows it but for an end that is not sure"}
    said = [
        covers.get(_covers(row, parts), f"shows {_mm(row, parts):.0f} mm of it"),
        f"{'uneven' if row['uneven'] else 'even'} steps of {_number(row, 'spacing_mm'):.2f} mm",
        *([f"{row['kernel']} kernel"] if row["kernel"] else []),
        *_severe(row),
        *_minor(row),
    ]
    return ", ".join(said)


def _lacks(row: Row, best: Row, parts: Sequence[str], kernel: Kernel | None, most_mm: float) -> str:
    """The first thing in which a series is behind the best one."""
    ranks = zip(
        COMPARED,
        _rank(row, parts, kernel, most_mm),
        _rank(best, parts, kernel, most_mm),
        strict=False,
    )
    behind = next((name for name, one, other in ranks if one != other), "")
    less = _mm(best, parts) - _mm(row, parts)
    said: Mapping[str, str] = {
        "range": f"shows {max(less, 0):.0f} mm less" if less >= 1 else "an end is not sure",
        "length": f"shows {less:.0f} mm less",
        "severe": ", ".join(_severe(row)),
        "kernel": f"{row['kernel'] or 'unknown'} kernel",
        "uneven": "uneven steps",
        "spacing": f"steps of {_number(row, 'spacing_mm'):.2f} mm",
        "faults": ", ".join(_minor(row)),
        "thickness": f"slices of {_number(row, 'thickness_mm'):.2f} mm",
    }
    return said.get(behind, "alike")


# Written


def _write(target: Path, chosen: Sequence[Chosen], form: Form) -> None:
    """The list as a file; or a folder with it and the files of each series."""
    with whole(target) as part:
        if form == "list":
            _write_list(part, chosen)
            return
        part.mkdir()
        _write_list(part / "selection.csv", chosen)
        for one in chosen:
            if one.series:
                _place(_files(one), part / (one.study or "no-study") / one.series, form)


def _write_list(path: Path, chosen: Sequence[Chosen]) -> None:
    columns = [*Chosen.__dataclass_fields__]
    if not any(one.path for one in chosen):
        columns.remove("path")
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(vars(one) for one in chosen)


def _files(one: Chosen) -> Series:
    """The files of a chosen series, found again where it was read from: a folder may hold more."""
    try:
        found, _ = find_series([one.path])
    except UnusableError:
        found = []
    for series in found:
        if unread_scan(series).key == one.series:
            return series
    raise ValueError(f"series {one.series} is no longer where it was audited; audit again")


def _place(series: Series, folder: Path, form: Form) -> None:
    """Put links to files, or copies of them, into a new folder.

    Those of DICOM are numbered: they may come from several folders.
    """
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(series.files), 1):
        name = f"{number:05d}.dcm" if series.kind == "dicom" else Path(file).name
        if form == "links":
            (folder / name).symlink_to(Path(file).resolve())
        else:
            shutil.copyfile(file, folder / name)
