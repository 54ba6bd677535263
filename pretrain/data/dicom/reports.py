"""Structured Reports of measurements on the images of a series: TID 1500 (Measurement Report),
through highdicom.

A report belongs to the study that it is about, so it repeats the study's patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from typing import Any

from ..volume import UnusableError
from .images import SliceImage

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

PARTS = {
    "head": "Head",
    "neck": "Neck",
    "chest": "Chest",
    "abdomen": "Abdomen",
    "pelvis": "Pelvis",
    "thigh": "Thigh",
}
"""Part of the body -> keyword of its SNOMED CT code in pydicom's dictionary; all are in PS3.16 CID
4031 (Common Anatomic Regions).
"""


def site(place: str) -> Any:
    """The finding site of a part of the body; of any other place one of the scheme 99UBR."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    if place.lower() in PARTS:
        return sr.FindingSite(getattr(codes.SCT, PARTS[place.lower()]))
    return sr.FindingSite(sr.CodedConcept(place, "99UBR", place.replace("_", " ")[:64]))


def measurement_report(
    images: Sequence[SliceImage],
    groups: Sequence[Any],
    *,
    maker: str,
    description: str,
    uids: tuple[str, str],
) -> Any:
    """Build a report.

    Args:
        images: of the series.
        groups: highdicom's measurement groups.
        maker: digest of what measured.
        description: of the report's series.
        uids: of the report's series, and of the report.

    Raises:
        UnusableError: the series' headers do not make a valid report.
    """
    evidence = list({image.path: image.header for image in images}.values())
    for name in MAY_BE_EMPTY:
        if name not in evidence[0]:
            setattr(evidence[0], name, "")
    _without_unsaid_method(evidence[0])
    build = partial(_report, evidence, groups, maker, description, uids)
    try:
        return build()
    except Exception as error:  # its text can quote the patient's data, so it is only chained
        named = _at_fault(evidence[0], build)
        what = f"not by the standard: {', '.join(named)}" if named else type(error).__name__
        raise UnusableError(
            f"the series' headers do not make a valid report ({what}); correct them first"
        ) from error


def uid_of(*texts: str) -> str:
    """A UID that derives from texts."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=list(texts)))


def _report(
    evidence: Sequence[Any],
    groups: Sequence[Any],
    maker: str,
    description: str,
    uids: tuple[str, str],
) -> Any:
    """The report about images, by their headers."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("ubr-pretrain", maker),
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
        series_instance_uid=uids[0],
        series_number=1,
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer="ubr-pretrain",
        is_complete=True,
        series_description=description,
    )


def _without_unsaid_method(header: Any) -> None:
    """Take the statement that the patient's identity was removed out of a header that does not say
    how: the standard has no such statement, and highdicom would repeat it in the report.
    """
    how = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if not any(header.get(name) for name in how):
        for name in ("PatientIdentityRemoved", *how):
            if name in header:
                delattr(header, name)


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


def references(images: Sequence[SliceImage]) -> list[tuple[Any, list[int] | None]]:
    """Each file's header once, with the frames that are meant where it has several."""
    frames: dict[str, list[int]] = {}
    headers = {}
    for image in images:
        headers[image.path] = image.header
        frames.setdefault(image.path, []).extend([] if image.frame is None else [image.frame])
    return [(header, frames[path] or None) for path, header in headers.items()]
