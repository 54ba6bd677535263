"""A Structured Report of parts and landmarks: TID 1500 (Measurement Report), through highdicom.

A measurement group per part holds the images that show it and its length. One per landmark holds
the image nearest to it and the score there. Concepts are SNOMED CT's where DICOM lists one (PS3.16
CID 4031 and others), else codes of this project's own scheme, 99UBR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dicom_images import SliceImage

if TYPE_CHECKING:
    from ubr.weights import Weights

PARTS = {
    "head": "Head",
    "neck": "Neck",
    "chest": "Chest",
    "abdomen": "Abdomen",
    "pelvis": "Pelvis",
    "thigh": "Thigh",
}
"""Part -> keyword of its SNOMED CT code in pydicom's dictionary."""
LANDMARKS = {
    "mandible": ("Mandible", None),
    "lung_apex": ("ApexOfLung", None),
    "liver_dome": ("Liver", "Superior"),  # DICOM lists no code of the dome
    "iliac_crest": ("IliacCrest", None),
    "femoral_head": ("FemoralHead", None),
}
"""Landmark -> keyword of its code, and of a topographical modifier."""
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
COPIED = (*MAY_BE_EMPTY, "ReferringPhysicianName", "SpecificCharacterSet")
"""What a report repeats of the series' headers besides UIDs."""


def structured_report(
    images: Sequence[SliceImage],
    parts: Mapping[str, Sequence[int]],
    landmarks: Mapping[str, int],
    z_mm: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: Weights,
) -> Any:
    """Build the report.

    Args:
        images: the image of each slice.
        parts: the slices of each part.
        landmarks: the slice of each landmark.
        z_mm: `[n]`, where each slice lies.
        scores: `[n]`, of the slices.
        weights: those that made the scores.

    Raises:
        ValueError: the series' headers do not make a valid report.
    """
    evidence = list({image.path: image.header for image in images}.values())
    for name in MAY_BE_EMPTY:
        if name not in evidence[0]:
            setattr(evidence[0], name, "")
    groups = _groups(images, parts, landmarks, z_mm, scores, weights)
    try:
        return _report(evidence, groups, weights)
    except Exception as error:  # its text can quote the patient's data, so it is only chained
        named = _at_fault(evidence[0], lambda: _report(evidence, groups, weights))
        what = f"not by the standard: {', '.join(named)}" if named else type(error).__name__
        raise ValueError(
            f"the series' headers do not make a valid report ({what}); correct them first"
        ) from error


def _report(evidence: Sequence[Any], groups: Sequence[Any], weights: Weights) -> Any:
    """The report about images, by their headers."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["ubr-pretrain", weights.sha256()]),
        name="ubr-pretrain",
        model_name=version("ubr-pretrain"),
    )
    return sr.EnhancedSR(
        evidence=evidence,
        content=sr.MeasurementReport(
            observation_context=sr.ObservationContext(
                observer_device_context=sr.ObserverContext(
                    observer_type=codes.DCM.Device, observer_identifying_attributes=device
                )
            ),
            procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
            imaging_measurements=groups,
        )[0],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ubr-pretrain",
        is_complete=True,
        series_description="Body parts and landmarks (UBR)",
    )


def _at_fault(header: Any, build: Callable[[], object]) -> list[str]:
    """The values of `COPIED` that by themselves keep a report from being built."""
    there = {name: deepcopy(header[name]) for name in COPIED if name in header}

    def builds(kept: str = "") -> bool:
        for name, element in there.items():
            if name == kept:
                header[name] = deepcopy(element)
            elif name in MAY_BE_EMPTY:
                setattr(header, name, "")
            elif name in header:
                delattr(header, name)
        try:
            build()
        except Exception:
            return False
        return True

    return [name for name in there if not builds(name)] if builds() else []


def _groups(
    images: Sequence[SliceImage],
    parts: Mapping[str, Sequence[int]],
    landmarks: Mapping[str, int],
    z_mm: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: Weights,
) -> list[Any]:
    """The measurement groups: one per part with its length, one per landmark with its score."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    algorithm = sr.AlgorithmIdentification(
        name="Unsupervised Body-part Regression", version=weights.sha256()[:12]
    )

    def group(
        name: str, shown: Sequence[int], site: Any, measured: Any, value: float, unit: Any
    ) -> Any:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier=name),
            finding_type=codes.SCT.AnatomicalStructure,
            finding_sites=[site],
            algorithm_id=algorithm,
            measurements=[sr.Measurement(name=measured, value=round(value, 4), unit=unit)],
            source_images=[
                sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID, frames)
                for header, frames in _references([images[i] for i in shown])
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


def _references(images: Sequence[SliceImage]) -> list[tuple[Any, list[int] | None]]:
    """Each file's header once, with the frames that are meant where it has several."""
    frames: dict[str, list[int]] = {}
    headers = {}
    for image in images:
        headers[image.path] = image.header
        frames.setdefault(image.path, []).extend([] if image.frame is None else [image.frame])
    return [(header, frames[path] or None) for path, header in headers.items()]


def _site(name: str) -> Any:
    """The coded place of a part or landmark."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    known = {**{part: (keyword, None) for part, keyword in PARTS.items()}, **LANDMARKS}
    if name.lower() not in known:
        return sr.FindingSite(sr.CodedConcept(name, "99UBR", name.replace("_", " ")[:64]))
    keyword, modifier = known[name.lower()]
    return sr.FindingSite(
        getattr(codes.SCT, keyword),
        topographical_modifier=getattr(codes.SCT, modifier) if modifier else None,
    )
