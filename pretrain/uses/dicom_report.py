"""A Structured Report of parts and landmarks: TID 1500 (Measurement Report), through highdicom.

A measurement group per part holds the images that show it and its length. One per landmark holds
the image nearest to it and the score there. Concepts are SNOMED CT's where DICOM lists one (PS3.16
CID 4031 and others), else codes of this project's own scheme, 99UBR. All UIDs derive from the
images, the weights and the regions: the same inputs give the same report, apart from its time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dicom.images import SliceImage
from ..data.dicom.reports import measurement_report, references, site, uid_of

if TYPE_CHECKING:
    from ubr.weights import Weights

LANDMARKS = {
    "mandible": ("Mandible", None),
    "lung_apex": ("ApexOfLung", None),
    "liver_dome": ("Liver", "Superior"),  # DICOM lists no code of the dome
    "iliac_crest": ("IliacCrest", None),
    "femoral_head": ("FemoralHead", None),
}
"""Landmark -> keyword of its code, and of a topographical modifier."""


def structured_report(
    images: Sequence[SliceImage],
    parts: Mapping[str, Sequence[int]],
    landmarks: Mapping[str, int],
    z_mm: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: Weights,
    regions_sha256: str,
) -> Any:
    """Build the report.

    Args:
        images: the image of each slice.
        parts: the slices of each part.
        landmarks: the slice of each landmark.
        z_mm: `[n]`, where each slice lies.
        scores: `[n]`, of the slices.
        weights: those that made the scores.
        regions_sha256: digest of the regions that gave parts and landmarks.

    Raises:
        ValueError: the series' headers do not make a valid report.
    """
    first = images[0].header
    names = sorted((str(image.header.SOPInstanceUID), image.frame or 0) for image in images)
    series = [str(first.StudyInstanceUID), str(first.SeriesInstanceUID), names]
    about = json.dumps([series, weights.sha256(), regions_sha256])
    return measurement_report(
        images,
        _groups(images, parts, landmarks, z_mm, scores, weights, about),
        maker=weights.sha256(),
        description="Body parts and landmarks (UBR)",
        uids=(_uid(about, "series"), _uid(about, "report")),
    )


def _uid(about: str, what: str) -> str:
    return uid_of("ubr-pretrain", about, what)


def _groups(
    images: Sequence[SliceImage],
    parts: Mapping[str, Sequence[int]],
    landmarks: Mapping[str, int],
    z_mm: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: Weights,
    about: str,
) -> list[Any]:
    """The measurement groups: one per part with its length, one per landmark with its score."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    algorithm = sr.AlgorithmIdentification(
        name="Unsupervised Body-part Regression", version=weights.sha256()[:12]
    )

    def group(
        name: str, shown: Sequence[int], site: Any, measured: Any, value: float, unit: Any
    ) -> Any:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=_uid(about, name), identifier=name),
            finding_type=codes.SCT.AnatomicalStructure,
            finding_sites=[site],
            algorithm_id=algorithm,
            measurements=[sr.Measurement(name=measured, value=round(value, 4), unit=unit)],
            source_images=[
                sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID, frames)
                for header, frames in references([images[i] for i in shown])
            ],
        )

    score = sr.CodedConcept("BODYSCORE", "99UBR", "Body-part regression score")
    groups = [
        group(
            p, i, _site(p), codes.SCT.Length, float(z_mm[i[-1]] - z_mm[i[0]]), codes.UCUM.Millimeter
        )
        for p, i in parts.items()
    ]
    return groups + [
        group(name, [i], _site(name), score, float(scores[i]), codes.UCUM.NoUnits)
        for name, i in landmarks.items()
    ]


def _site(name: str) -> Any:
    """The coded place of a part or landmark."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    if name.lower() not in LANDMARKS:
        return site(name)
    keyword, modifier = LANDMARKS[name.lower()]
    return sr.FindingSite(
        getattr(codes.SCT, keyword),
        topographical_modifier=getattr(codes.SCT, modifier) if modifier else None,
    )
