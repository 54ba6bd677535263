"""What is reported of a DICOM series: a Structured Report of its parts and landmarks, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights.released import check_there

from ..data.dicom.images import SliceImage, images_of
from ..data.find import silence
from ..data.scans import UnreadScan
from ..data.volume import Series, UnusableError
from ..reading.chosen import chosen_regions
from ..reading.curve import passage
from ..reading.regions import Regions
from ..scores.single import read_by, score_series
from .dicom_report import structured_report

if TYPE_CHECKING:
    from ubr.weights import Weights


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
            "a report needs `regions`, which calibrate makes; only released weights include them"
        )
    return weights, regions


def reported(unread: UnreadScan, called: str, weights: Weights, regions: Regions) -> Reported:
    """Report on one series. Its UIDs derive from the images, the weights and the regions.

    called: what the series is called in errors.

    Raises:
        UnusableError: it is not DICOM, cannot be scored, or shows nothing that the regions know.
    """
    if not isinstance(unread.origin, Series) or unread.origin.kind != "dicom":
        raise UnusableError(
            f"{called} is not DICOM; give DICOM files, since a report belongs to a study"
        )
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
