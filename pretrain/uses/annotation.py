"""Writing what scores say of DICOM series as DICOM: a Structured Report of the parts and landmarks
of each, and copies that name the body part.

**A report identifies the patient.** DICOM files it in the study that it is about. So it repeats the
study's patient and the UIDs of the images, and so do the copies. Everything is written to a new
folder; the series themselves are only read. Writing needs highdicom (the extra `[dicom]`).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import whole
from ubr.weights.common.optional import optional
from ubr.weights.released import check_there

from ..data.dicom.images import SliceImage, images_of
from ..data.find import silence
from ..data.scans import UnreadScan, scans_of
from ..data.volume import Series, UnusableError
from ..reading.chosen import chosen_regions
from ..reading.curve import passage
from ..reading.regions import BODY_PART_EXAMINED, Regions
from ..scores.single import read_by, score_series
from .dicom_copies import write_copies
from .dicom_report import structured_report

if TYPE_CHECKING:
    from ubr.weights import Weights

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
class Reported:
    """A report in memory.

    document: the data set, which names the patient. images: of the series. parts, landmarks,
    body_part: as of `Report`.
    """

    document: Any = field(repr=False)
    images: Sequence[SliceImage] = field(repr=False)
    parts: tuple[str, ...]
    landmarks: tuple[str, ...]
    body_part: str


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
        """A line for each report; of many their number, and why others have none."""
        if len(self.reports) + len(self.left_out) == 1:
            return self.reports[0].line()
        lines = [
            f"{len(self.reports):,} of {len(self.reports) + len(self.left_out):,} series reported "
            f"on; in {self.folder}"
        ]
        terms = Counter(one.body_part or "no term of DICOM" for one in self.reports)
        lines += [f"{count:7,}  {term}" for term, count in terms.most_common()]
        return "\n".join([*lines, *(f"{key:16}  left out: {why}" for key, why in self.left_out)])


@claiming("out")
def annotate(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    weights: str | Path | Weights,
    regions: str | Path | Regions | None,
    out: str | os.PathLike[str],
    *,
    copies: bool,
) -> Annotated:
    """Write a Structured Report of the body parts and landmarks of each DICOM series.

    It repeats the study's patient, as DICOM requires.

    Args:
        sources: files and folders with DICOM series, which stay as they are.
        weights: a file that `fit` wrote, or "released".
        regions: a file that `calibrate` wrote for these weights; None for released weights, which
            bring their own.
        out: a new folder for sr.dcm and copies/ of one series; of several, each has a folder in
            it, called by its key.
        copies: also write copies of the images, in a new series, with BodyPartExamined set; pixels
            as they are.

    Raises:
        ValueError: highdicom is not installed, no series is DICOM or can be reported on, or `out`
            exists. Of several series those without a report are left out.
    """
    optional("highdicom", extra="dicom", purpose="annotate")
    target = Path(out).absolute()
    if target.exists():
        raise ValueError(f"{out} exists; give a new `out`")
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    check_there(*map(Path, given))
    weights, regions = opened(weights, regions)
    found = scans_of([Path(source) for source in given]).unread
    reports, left_out = [], []
    with whole(target) as part:
        part.mkdir()
        for unread in found:
            alone = len(found) == 1
            called = str(given[0]) if alone else f"series {unread.key}"
            folder = part if alone else part / unread.key
            try:
                report = _report(unread, called, weights, regions, folder, copies=copies)
            except ValueError as error:
                if alone:
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                left_out.append((unread.key, str(error)))
                continue
            reports.append(replace(report, folder=target if alone else target / unread.key))
        if not reports:
            raise ValueError(f"none of {len(found)} series has a report: {left_out[0][1]}")
    return Annotated(target, tuple(reports), tuple(left_out))


def opened(
    weights: str | Path | Weights, regions: str | Path | Regions | None
) -> tuple[Weights, Regions]:
    """The weights and regions of reports.

    Raises `ValueError` where there are no regions for the weights.
    """
    check_there(weights, regions)
    from ubr.weights import load

    weights = load(weights) if isinstance(weights, str | Path) else weights
    regions = chosen_regions(regions, weights)
    if regions is None:
        raise ValueError(
            "a report needs `regions`, which calibrate makes; only released weights bring their own"
        )
    return weights, regions


def _report(
    unread: UnreadScan,
    called: str,
    weights: Weights,
    regions: Regions,
    folder: Path,
    *,
    copies: bool,
) -> Report:
    """Write the report of one series, which is named `called` in errors."""
    told = reported(unread, called, weights, regions)
    # A damaged header may hold anything, a name too.
    stated = str(told.images[0].header.get("BodyPartExamined") or "").upper()
    stated = stated if stated in TERMS else ""
    if copies:
        _check_term(told.body_part, stated, told.parts)
    copied = list(dict.fromkeys(image.path for image in told.images)) if copies else []
    with silence():
        folder.mkdir(exist_ok=True)
        told.document.save_as(folder / "sr.dcm", enforce_file_format=True)
        write_copies(copied, told.body_part, folder / "copies")
    return Report(
        unread.key, folder, told.parts, told.landmarks, told.body_part, stated, len(copied)
    )


def reported(unread: UnreadScan, called: str, weights: Weights, regions: Regions) -> Reported:
    """Report on one series. Its UIDs derive from the images, the weights and the regions.

    called: what the series is called in errors.

    Raises:
        UnusableError: it is not DICOM, cannot be scored, or shows nothing that the regions know.
    """
    if not isinstance(unread.origin, Series) or unread.origin.kind != "dicom":
        raise UnusableError(f"{called} is not DICOM; a report belongs to a DICOM study")
    volume, scores = score_series(weights, unread.origin, called)
    levels = read_by(regions, scores, volume.z_mm)
    images = images_of(unread.origin, volume.place, volume.z_mm)
    _check_images(images)
    parts = _slices_of_parts(regions, levels, volume.z_mm)
    landmarks = _slices_of_landmarks(regions, levels, volume.z_mm)
    if not parts and not landmarks:
        raise UnusableError(
            f"{called} shows none of the parts and landmarks of the regions, so there is nothing "
            "to report"
        )
    body_part = regions.summary(levels, volume.z_mm).get("body_part_examined", "")
    with silence():  # highdicom logs names that it finds odd
        document = structured_report(
            images, parts, landmarks, volume.z_mm, scores, weights, regions.sha256()
        )
    return Reported(document, images, tuple(parts), tuple(landmarks), body_part)


def _check_images(images: Sequence[SliceImage]) -> None:
    """Raise `UnusableError` where a reference would not tell which image is meant."""
    names = {(str(image.header.SOPInstanceUID), image.frame) for image in images}
    if len(names) < len(images):
        raise UnusableError(
            f"{len(images)} images of the series have {len(names)} SOPInstanceUIDs, so a report "
            "cannot tell them apart; give each its own"
        )


def _slices_of_parts(
    regions: Regions, levels: NDArray[np.floating], z_mm: NDArray[np.float64]
) -> dict[str, list[int]]:
    """The slices of each part that the series covers: those between the passages of its borders."""
    found = {}
    for part in regions.covered(levels, z_mm) if regions.parts else ():
        upper, lower = (
            passage(levels, z_mm, regions.level_score(part, upper=upper)).z_mm
            for upper in (True, False)
        )
        found[part] = [int(i) for i in np.flatnonzero((z_mm >= upper) & (z_mm <= lower))]
    return {part: slices for part, slices in found.items() if slices}


def _slices_of_landmarks(
    regions: Regions, levels: NDArray[np.floating], z_mm: NDArray[np.float64]
) -> dict[str, int]:
    """The slice nearest to each landmark that the series shows."""
    passages = {
        name: passage(levels, z_mm, level.score) for name, level in regions.landmarks.items()
    }
    return {
        name: int(np.abs(z_mm - found.z_mm).argmin())
        for name, found in passages.items()
        if not found.outside
    }


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
