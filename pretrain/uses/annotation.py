"""Writing what scores say about DICOM series as DICOM: a Structured Report of the parts and
landmarks of each, and copies that name the body part.

    OUT/sr.dcm, OUT/copies/    of one series; of several each has a folder OUT/KEY/ in place of OUT
    OUT/annotated.json         the outcome of each series; it appears last

**A report identifies the patient.** DICOM files it in the study that it is about. So it repeats the
study's patient and the UIDs of the images, and so do the copies. Everything is written to a new
folder; the series themselves are only read. Writing needs highdicom (the extra `[dicom]`).

All UIDs derive from the images, the weights and the regions. If the process is killed between a
report and its note, the same report replaces it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ubr.weights.common import doors
from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import scratch, whole, write_text
from ubr.weights.common.optional import optional
from ubr.weights.common.progress import progress_bar
from ubr.weights.common.working import Working
from ubr.weights.released import check_there

from ..data.find import silence
from ..data.scans import UnreadScan, scans_of
from ..reading.regions import BODY_PART_EXAMINED, Regions
from .dicom_copies import write_copies
from .reported import Reported, opened, reported

if TYPE_CHECKING:
    from ubr.weights import Weights

LAST = "annotated.json"
"""Where it is, all series are done."""
TERMS = {term: set(parts) for parts, term in BODY_PART_EXAMINED.items()}
"""The parts that a term of BodyPartExamined names."""


@dataclass(frozen=True)
class Report:
    """What is reported of a series.

    series: its key. folder: with sr.dcm, and copies/ if asked for. parts: those that the series
    covers. landmarks: those that it shows. body_part: the term proposed for BodyPartExamined, ""
    where DICOM has none. stated: the term in the files, "" where there is none or it is not one of
    `TERMS`. copies: number of images copied.
    """

    series: str
    folder: Path
    parts: tuple[str, ...]
    landmarks: tuple[str, ...]
    body_part: str
    stated: str
    copies: int

    def line(self) -> str:
        """All of it as one line."""
        what = (
            f"parts {', '.join(self.parts) or 'none'}; landmarks "
            f"{', '.join(self.landmarks) or 'none'}"
        )
        proposed = (
            f"BodyPartExamined {self.body_part or 'none'} proposed, "
            f"{self.stated or 'no known term'} in the files"
        )
        return f"{self.folder}: sr.dcm ({what}); {proposed}; {self.copies} images copied"


@dataclass(frozen=True)
class Annotated:
    """What `annotate` wrote.

    folder: of all reports. reports: in the order of the files. left_out: of the series without a
    report, the key and the reason.
    """

    folder: Path
    reports: tuple[Report, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def table(self) -> str:
        """A line for each report, or a count if there are many; and why other series have none."""
        if len(self.reports) + len(self.left_out) == 1:
            return self.reports[0].line()
        lines = [
            f"{len(self.reports):,} of {len(self.reports) + len(self.left_out):,} series reported "
            f"on; in {self.folder}"
        ]
        terms = Counter(one.body_part or "no term of DICOM" for one in self.reports)
        lines += [f"{count:7,}  {term}" for term, count in terms.most_common()]
        return "\n".join([*lines, *(f"{key:16}  left out: {why}" for key, why in self.left_out)])


@claiming("out", fills=True)
def annotate(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    weights: str | Path | Weights,
    regions: str | Path | Regions | None,
    out: str | os.PathLike[str],
    *,
    copies: bool,
    progress: bool = True,
) -> Annotated:
    """Write a Structured Report of the body parts and landmarks of each DICOM series.

    It repeats the study's patient, as DICOM requires. Repeat an interrupted call to resume
    it: a series that has its report is not read again.

    Args:
        sources: files and folders with DICOM series, which stay as they are.
        weights: a file that `fit` wrote, or "released".
        regions: a file that `calibrate` wrote for these weights; None for released weights, which
            come with their own.
        out: a new folder for sr.dcm and copies/ of one series (with several, each gets a folder in
            it, named by its key), or one that the same call began.
        copies: also write copies of the images, in a new series, with BodyPartExamined set; pixels
            as they are.
        progress: show progress bars.

    Raises:
        ValueError: highdicom is not installed, no series is DICOM or can be reported on, or `out`
            holds something else or was begun with other options. Of several series those without a
            report are left out.
    """
    optional("highdicom", extra="dicom", purpose="annotate")
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    check_there(*map(Path, given))
    weights, regions = opened(weights, regions)
    settings = {"weights_sha256": weights.sha256(), "regions_sha256": regions.sha256()}
    working = Working(Path(out).absolute(), {**settings, "copies": copies}, LAST)
    found = {one.key: one for one in scans_of([*map(Path, given)], progress=progress).unread}
    counts = {key: unread.counts for key, unread in found.items()}
    done = working.already(counts, lambda: {str(row.get("series")) for row in _rows(working)})
    if working.finished:
        working.tidy()
        return _annotated(working.folder, _rows(working))
    alone, rows = len(found) == 1, []
    about: Any = {"title": "annotate", "unit": "series", "show": progress}
    with progress_bar(total=len(found), done=len(done), **about) as bar:
        for key, unread in found.items():
            if key in done:
                rows.append(json.loads(str(working.read(key, "row")["row"])))
                continue
            called = str(given[0]) if alone else f"series {key}"
            try:
                told = reported(unread, called, weights, regions)
                rows.append(_write(told, unread, "" if alone else key, working))
            except ValueError as error:
                if alone:
                    raise
                rows.append({"series": key, "left_out": str(error)})
            bar.update()
    annotated = _annotated(working.folder, rows)
    if not annotated.reports:
        raise ValueError(f"none of {len(rows)} series could be reported on: {rows[0]['left_out']}")
    with scratch(working.path, LAST) as made:
        write_text(made / LAST, json.dumps(rows, indent=1))
        working.finish(made, [LAST])
    return annotated


def _rows(working: Working) -> list[dict[str, Any]]:
    """What `annotated.json` says of each series."""
    shape, remedy = list[dict[str, str | int | list[str]]], "give a new `out`"
    found: list[dict[str, Any]] = doors.read_json(working.folder / LAST, shape, remedy)
    return found


def _write(told: Reported, unread: UnreadScan, name: str, working: Working) -> dict[str, Any]:
    """Write the report of one series, and note it. Returns the note.

    name: of the folder in `out` for sr.dcm and copies/; "" for `out` itself. What a killed call
    left there without a note is replaced.
    """
    # A damaged header may hold anything, a name too.
    stated = str(told.images[0].header.get("BodyPartExamined") or "").upper()
    stated = stated if stated in TERMS else ""
    copies = working.settings["copies"]
    if copies:
        _check_term(told.body_part, stated, told.parts)
    copied = list(dict.fromkeys(image.path for image in told.images)) if copies else []
    key = unread.key
    with scratch(working.folder, key) as made:
        folder = made / key
        folder.mkdir()
        with silence():
            told.document.save_as(folder / "sr.dcm", enforce_file_format=True)
            write_copies(copied, told.body_part, told.document.SOPInstanceUID, folder / "copies")
        working.begin()
        for one in [folder] if name else sorted(folder.iterdir()):
            target = working.folder / one.name
            shutil.rmtree(target, ignore_errors=True)
            with whole(target) as part:
                one.replace(part)
    parts = {"parts": told.parts, "landmarks": told.landmarks, "body_part": told.body_part}
    row = {"series": key, "folder": name, **parts, "stated": stated, "copies": len(copied)}
    working.add(key, row=np.array(json.dumps(row)), counts=np.array(unread.counts))
    return row


def _annotated(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Annotated:
    """What rows of `annotated.json` say. Raises `ValueError` where they are damaged."""
    try:
        left_out = tuple((row["series"], row["left_out"]) for row in rows if "left_out" in row)
        reports = tuple(_report(folder, row) for row in rows if "left_out" not in row)
    except (KeyError, TypeError):
        raise ValueError(f"{folder / LAST} is damaged; give a new `out`") from None
    return Annotated(folder, reports, left_out)


def _report(folder: Path, row: Mapping[str, Any]) -> Report:
    lists = {name: tuple(row[name]) for name in ("parts", "landmarks")}
    return Report(**{**row, **lists, "folder": folder / row["folder"]})


def _check_term(body_part: str, stated: str, parts: Collection[str]) -> None:
    """Raise `ValueError` where copies cannot name the parts, or would contradict the files."""
    if not body_part:
        raise ValueError(
            f"DICOM has no term for {' and '.join(parts) or 'a series without parts'}; leave "
            "out `copies`"
        )
    if stated and not TERMS[stated] & {part.lower() for part in parts}:
        raise ValueError(
            f"the files say {stated}, the scores {body_part}; what lies beyond the labelled parts "
            "is named after the nearest one: label those too, or leave out `copies`"
        )
