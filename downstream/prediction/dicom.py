"""Findings of a DICOM series as a Structured Report: TID 1500 with a group for each finding.

A group holds the finding's surest box as a region of its image (TID 1410, planar ROI), its
diameter, its extent along the body, its score, and as its site the part of the body, if known. **A
report identifies the patient**, as DICOM files it in the study that it is about. Its UIDs derive
from the series, the detector and the settings: the same command gives the same report, and only its
time differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ubr.pretrain.data.dicom.images import SliceImage, images_of
from ubr.pretrain.data.dicom.reports import measurement_report, references, site, uid_of
from ubr.pretrain.data.find import silence
from ubr.pretrain.data.volume import Series

from .linking import Finding, surest
from .tables import SeriesFindings, lps

HOW_WRITTEN = {"with_paths", "sr", "coco"}
"""Settings that findings do not depend on."""


def findings_report(series: Series, found: SeriesFindings, settings: Mapping[str, object]) -> Any:
    """The report of a series' findings, of which there is at least one.

    Args:
        series: in DICOM files.
        found: what was found in it.
        settings: what the findings depend on.

    Raises:
        ValueError: the slices were resampled, or the headers do not make a valid report.
    """
    with silence():  # highdicom logs names that it finds odd
        images = images_of(series, found.place, found.z_mm)
        of_result = {name: settings[name] for name in sorted(settings.keys() - HOW_WRITTEN)}
        about = json.dumps([_name(series, images[0]), of_result])
        groups = [
            _group(number, one, found, images, settings, _uid(about, f"finding {number}"))
            for number, one in enumerate(found.findings, 1)
        ]
        return measurement_report(
            images,
            groups,
            maker=str(settings["detector_sha256"]),
            description="Findings of a lesion detector (UBR)",
            uids=(_uid(about, "series"), _uid(about, "report")),
        )


def _name(series: Series, image: SliceImage) -> str:
    """What tells a series from others. A SeriesInstanceUID that several stacks or patients have
    would give their reports one UID.
    """
    mixed = any(warning.startswith("mixed") for warning in series.warnings)
    return series.uid if mixed else str(image.header.SeriesInstanceUID)


def _uid(about: str, what: str) -> str:
    return uid_of("ubr-detect", about, what)


def _group(
    number: int,
    one: Finding,
    found: SeriesFindings,
    images: Sequence[SliceImage],
    settings: Mapping[str, object],
    uid: str,
) -> Any:
    """The measurement group of a finding."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    ((header, frames),) = references([images[one.best]])
    part = found.whereabouts(one).get("part")
    score = sr.CodedConcept("DETECTIONSCORE", "99UBR", "Score of a detector, 0 to 1")
    extent = sr.CodedConcept("CRANIOCAUDAL", "99UBR", "Extent along the body")
    mm = codes.UCUM.Millimeter
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=f"Finding {number}"),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=_outline(one, found, images[one.best]),
            source_image=sr.SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames),
        ),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.Lesion,
        finding_sites=[site(part)] if part else None,
        algorithm_id=sr.AlgorithmIdentification(
            name="ubr-detect", version=str(settings["detector_sha256"])[:12]
        ),
        measurements=[
            sr.Measurement(codes.SCT.Diameter, round(one.diameter_mm, 1), mm),
            sr.Measurement(extent, round(one.size_mm[2], 1), mm),
            sr.Measurement(score, round(one.score, 4), codes.UCUM.NoUnits),
        ],
    )


def _outline(one: Finding, found: SeriesFindings, image: SliceImage) -> np.ndarray[Any, Any]:
    """The surest box of a finding in its image, which may be turned against the volume: corners
    (column, row) `[5, 2]`, the first one again at the end.
    """
    x1, y1, x2, y2 = found.boxes.edges[surest(one, found.boxes)]
    z = found.z_mm[one.best]
    corners = [(x1, y1, z), (x2, y1, z), (x2, y2, z), (x1, y2, z), (x1, y1, z)]
    outline = image.pixels(lps(found.place, np.array(corners)))
    height, width = image.where.size
    return np.asarray(outline.clip(0, [width, height]).round(2))
