"""Copies of DICOM images that name the body part, in a series of their own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..data.dicom.images import with_identity
from ..data.dicom.reports import uid_of

UNTRUE_OF_A_COPY = ("AnatomicRegionSequence", "DigitalSignaturesSequence", "MACParametersSequence")


def write_copies(paths: Sequence[str], body_part: str, report: str, folder: Path) -> None:
    """Copy images, from the head downwards, into a new series that names the body part and the
    source of each.

    report: UID of their report, from which theirs derive.
    """
    import pydicom

    series = uid_of("ubr-pretrain", report, "copies")
    for number, path in enumerate(paths, 1):
        ds = with_identity(pydicom.dcmread(path, force=True))
        _add_source(ds)
        ds.BodyPartExamined = body_part
        for name in UNTRUE_OF_A_COPY:
            if name in ds:
                delattr(ds, name)
        ds.SOPInstanceUID, ds.SeriesInstanceUID = uid_of(series, ds.SOPInstanceUID), series
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
        )
        if "TransferSyntaxUID" not in ds.file_meta:  # a file without a preamble
            ds.file_meta.TransferSyntaxUID = _plain_syntax(ds)
        folder.mkdir(exist_ok=True)
        pydicom.dcmwrite(folder / f"{number:04d}.dcm", ds, enforce_file_format=True)


def _add_source(ds: Any) -> None:
    """The image that a copy was made from, and by what."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items
    from pydicom.sr.codedict import codes

    def coded(code: Any) -> Items:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
            code.value,
            code.scheme_designator,
            code.meaning,
        )
        return Items([item])

    source, equipment = Dataset(), Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    source.PurposeOfReferenceCodeSequence = coded(codes.DCM.SourceImageForImageProcessingOperation)
    ds.SourceImageSequence = Items([source])
    ds.DerivationDescription = "BodyPartExamined set by body-part regression; pixels unchanged"
    equipment.Manufacturer, equipment.SoftwareVersions = "ubr-pretrain", version("ubr-pretrain")
    equipment.ContributionDescription = "BodyPartExamined"
    equipment.PurposeOfReferenceCodeSequence = coded(codes.DCM.ProcessingEquipment)
    ds.ContributingEquipmentSequence = Items(
        [*(ds.get("ContributingEquipmentSequence") or []), equipment]
    )


def _plain_syntax(ds: Any) -> Any:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = ds.original_encoding
    return (
        ImplicitVRLittleEndian
        if implicit
        else ExplicitVRLittleEndian
        if little
        else ExplicitVRBigEndian
    )
