"""Writing what scores say of a DICOM series as DICOM: a Structured Report of its parts and
landmarks, and copies that name the body part.

**A report identifies the patient.** DICOM files it in the study that it is about. So it repeats the
study's patient and the UIDs of the images, and so do the copies. Everything is written to a new
folder; the series itself is only read. Writing needs highdicom (the extra `[dicom]`).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import whole
from ubr.weights.common.optional import optional

from ..data.dicom.images import images_of
from ..data.find import find_one, silence
from ..reading.chosen import chosen_regions
from ..reading.curve import passage
from ..reading.regions import BODY_PART_EXAMINED, Regions
from ..scores.single import read_by, score_scan
from .dicom_copies import write_copies
from .dicom_report import structured_report

if TYPE_CHECKING:
    from ubr.weights import Weights

TERMS = {term: set(parts) for parts, term in BODY_PART_EXAMINED.items()}
"""The parts that a term of BodyPartExamined names."""


@dataclass(frozen=True)
class Annotated:
    """What `annotate` wrote.

    folder: with sr.dcm, and copies/ if asked for. parts: those that the series covers. landmarks:
    those that it shows. body_part: the term proposed for BodyPartExamined, "" where DICOM has none.
    stated: the term in the files, "" where there is none or it is not one of `TERMS`.
    copies: number of images copied.
    """

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


@claiming("out")
def annotate(
    folder: str | os.PathLike[str],
    weights: str | Path | Weights,
    regions: str | Path | Regions | None,
    out: str | os.PathLike[str],
    *,
    copies: bool,
) -> Annotated:
    """Write a Structured Report of the body parts and landmarks of a DICOM series.

    It repeats the study's patient, as DICOM requires.

    Args:
        folder: the folder with the files of one series, which stay as they are.
        weights: a file that `fit` wrote, or "released".
        regions: a file that `calibrate` wrote for these weights; None for released weights, which
            bring their own.
        out: a new folder for sr.dcm and copies/.
        copies: also write copies of the images, in a new series, with BodyPartExamined set; pixels
            as they are.

    Raises:
        ValueError: highdicom is not installed, the series is not DICOM or cannot be reported on, or
            `out` exists.
    """
    from ubr.weights import load

    optional("highdicom", extra="dicom", purpose="annotate")
    target = Path(out).absolute()
    if target.exists():
        raise ValueError(f"{out} exists; give a new `out`")
    weights = load(weights) if isinstance(weights, str | Path) else weights
    regions = chosen_regions(regions, weights)
    if regions is None:
        raise ValueError(
            "a report needs `regions`, which calibrate makes; only released weights bring their own"
        )
    if find_one(Path(folder)).kind != "dicom":
        raise ValueError(f"{folder} is not DICOM; a report belongs to a DICOM study")
    series, volume, scores = score_scan(weights, Path(folder))
    levels = read_by(regions, scores, volume.z_mm)
    images = images_of(series, volume.place, volume.z_mm)
    parts = _slices_of_parts(regions, levels, volume.z_mm)
    landmarks = _slices_of_landmarks(regions, levels, volume.z_mm)
    if not parts and not landmarks:
        raise ValueError(
            f"{folder} shows none of the parts and landmarks of the regions, so there is nothing "
            "to report"
        )
    body_part = regions.summary(levels, volume.z_mm).get("body_part_examined", "")
    # A damaged header may hold anything, a name too.
    stated = str(images[0].header.get("BodyPartExamined") or "").upper()
    stated = stated if stated in TERMS else ""
    if copies:
        _check_term(body_part, stated, parts)
    copied = list(dict.fromkeys(image.path for image in images)) if copies else []
    with whole(target) as part, silence():  # highdicom logs names that it finds odd
        part.mkdir()
        report = structured_report(images, parts, landmarks, volume.z_mm, scores, weights)
        report.save_as(part / "sr.dcm", enforce_file_format=True)
        write_copies(copied, body_part, part / "copies")
    return Annotated(target, tuple(parts), tuple(landmarks), body_part, stated, len(copied))


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
