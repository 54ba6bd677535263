"""What scores say of a DICOM series, as DICOM: a Structured Report of its parts and landmarks, and
copies that name the body part.

The report is TID 1500 (Measurement Report) through highdicom (the extra `[dicom]`): a measurement
group a part, with the images that show it and its length, and one a landmark, with the image
nearest to it and the score there. Concepts are SNOMED CT's where DICOM lists one (PS3.16 CID 4031
and others), else codes of this project's own scheme, 99UBR.

**A report identifies the patient.** DICOM files it in the study that it is about, so it repeats the
study's patient and the UIDs of the images, and so do the copies. Everything is written to a new
folder; the series itself is only read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights import Weights, load

from ..data import dicom
from ..data.find import find_one, silence
from ..data.volume import Series, Volume
from ..reading.curve import passage
from ..reading.regions import BODY_PART_EXAMINED, Regions
from ..scores.scoring import score_one
from .cropping import level_of

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
REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
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
UNTRUE_OF_A_COPY = ("AnatomicRegionSequence", "DigitalSignaturesSequence", "MACParametersSequence")
TERMS = {term: set(parts) for parts, term in BODY_PART_EXAMINED.items()}
"""The parts that a term of BodyPartExamined names."""
SAME_MM = 0.1
"""A file's slice and the volume's are the same if they lie no further apart along the normal."""


@dataclass(frozen=True)
class Annotated:
    """What `annotate` wrote. folder: with sr.dcm, and copies/ if asked for. parts: that the series
    covers. landmarks: that it shows. body_part: the term proposed for BodyPartExamined, "" where
    DICOM has none. stated: the term in the files. copies: how many.
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
            f"{self.stated or 'none'} in the files"
        )
        return f"{self.folder}: sr.dcm ({what}); {proposed}; {self.copies} images copied"


@dataclass(frozen=True)
class _Image:
    """Where a slice of the volume is:

    the file, its header, and the frame (from 1) of a multi-frame file.
    """

    path: str
    header: Any
    frame: int | None


def annotate(
    folder: str | os.PathLike[str],
    weights: str | Path | Weights,
    regions: str | Path | Regions,
    out: str | os.PathLike[str],
    *,
    copies: bool,
) -> Annotated:
    """Write a Structured Report of the body parts and landmarks of a DICOM series. It repeats the
    study's patient, as DICOM asks for.

    Args:
        folder: with the files of one series, which stay as they are.
        weights: a file that `fit` wrote.
        regions: a file that `calibrate` wrote for these weights.
        out: a new folder for sr.dcm and copies/.
        copies: also write copies of the images, in a new series, with BodyPartExamined set; pixels
            as they are.

    Raises:
        ValueError: highdicom is not installed, the series is not DICOM or cannot be reported on, or
            `out` exists.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise ValueError('annotate needs highdicom: pip install "ubr-pretrain[dicom]"') from None
    target = Path(out).absolute()
    if target.exists():
        raise ValueError(f"{out} exists; give a new --out")
    weights = weights if isinstance(weights, Weights) else load(weights)
    regions = regions if isinstance(regions, Regions) else Regions.load(regions)
    regions.check(weights.sha256())
    if find_one(Path(folder)).kind != "dicom":
        raise ValueError(f"{folder} is not DICOM; a report belongs to a DICOM study")
    series, volume, scores = score_one(weights, Path(folder))
    images = _images(series, volume)
    parts = _slices_of_parts(regions, scores, volume.z_mm)
    places = {
        name: passage(scores, volume.z_mm, level.score) for name, level in regions.landmarks.items()
    }
    landmarks = {
        name: int(np.abs(volume.z_mm - place.z_mm).argmin())
        for name, place in places.items()
        if not place.outside
    }
    if not parts and not landmarks:
        raise ValueError(
            f"{folder} shows none of the parts and landmarks of the regions, so there is nothing "
            "to report"
        )
    body_part = regions.summary(scores, volume.z_mm).get("body_part_examined", "")
    if copies and not body_part:
        raise ValueError(
            f"DICOM has no term for {' and '.join(parts) or 'a series without parts'}; leave "
            "--copies away"
        )
    stated = str(images[0].header.get("BodyPartExamined") or "").upper()
    if copies and stated in TERMS and not TERMS[stated] & {part.lower() for part in parts}:
        raise ValueError(
            f"the files say {stated}, the scores {body_part}; what lies beyond the labelled "
            "parts is called by the nearest one's name: "
            "label those too, or leave --copies away"
        )
    work = target.with_name(f".{target.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with silence():  # highdicom logs names that it finds odd
            _report(images, parts, landmarks, volume.z_mm, scores, weights).save_as(
                work / "sr.dcm", enforce_file_format=True
            )
            paths = list(dict.fromkeys(image.path for image in images)) if copies else []
            _copy(paths, body_part, work / "copies")
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Annotated(target, tuple(parts), tuple(landmarks), body_part, stated, len(paths))


def _slices_of_parts(
    regions: Regions, scores: NDArray[np.float64], z_mm: NDArray[np.float64]
) -> dict[str, list[int]]:
    """The slices of each part that the series covers: those between the passages of its borders."""
    found = {}
    for part in regions.covered(scores, z_mm) if regions.parts else ():
        upper, lower = (
            passage(scores, z_mm, level_of(regions, part, upper=upper)).z_mm
            for upper in (True, False)
        )
        found[part] = [int(i) for i in np.flatnonzero((z_mm >= upper) & (z_mm <= lower))]
    return {part: slices for part, slices in found.items() if slices}


def _images(series: Series, volume: Volume) -> list[_Image]:
    """The image of each slice of the volume, found by its place along the normal."""
    import pydicom

    if volume.place is None:
        raise ValueError(
            "the series' slices are oblique and were resampled, so none of its images is a slice "
            "that was scored"
        )
    slices: list[dicom.Slice] = []
    images: list[_Image] = []
    for path in series.files:
        with silence():
            header = _named(pydicom.dcmread(path, stop_before_pixels=True, force=True))
        if missing := [name for name in REQUIRED if not header.get(name)]:
            raise ValueError(f"files of the series have no {missing[0]}, which a report refers to")
        frames = dicom.read_header(path).slices
        slices += frames
        images += [
            _Image(path, header, number if len(frames) > 1 else None)
            for number in range(1, len(frames) + 1)
        ]
    kept = dicom.first_at_each_position(slices)
    corners = np.array([slices[k].corner for k in kept])
    mm = (corners - volume.place[:, 3]) @ volume.place[:, 2]
    nearest = np.abs(mm[:, None] - volume.z_mm).argmin(axis=0)
    if np.abs(mm[nearest] - volume.z_mm).max() > SAME_MM:
        raise ValueError(
            "the images of the series lie elsewhere than the slices that were scored; is a "
            "header damaged?"
        )
    return [images[kept[i]] for i in nearest]


def _named(ds: Any) -> Any:
    """The data set with its SOP class and instance, which some writers put into the file's head
    only.
    """
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not ds.get(name) and (uid := ds.file_meta.get(f"MediaStorage{name}")):
            setattr(ds, name, uid)
    return ds


# The report


def _report(
    images: Sequence[_Image],
    parts: Mapping[str, Sequence[int]],
    landmarks: Mapping[str, int],
    z_mm: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: Weights,
) -> Any:
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
    groups += [
        group(name, [i], _site(name), score, float(scores[i]), codes.UCUM.NoUnits)
        for name, i in landmarks.items()
    ]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["ubr-pretrain", weights.sha256()]),
        name="ubr-pretrain",
        model_name=version("ubr-pretrain"),
    )
    evidence = list({image.path: image.header for image in images}.values())
    for name in MAY_BE_EMPTY:
        if name not in evidence[0]:
            setattr(evidence[0], name, "")
    try:
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
    except Exception as error:  # the texts of these quote the patient's data
        raise ValueError(
            f"the series' headers do not make a valid report ({type(error).__name__}); correct "
            "them first"
        ) from None


def _references(images: Sequence[_Image]) -> list[tuple[Any, list[int] | None]]:
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


# The copies


def _copy(paths: Sequence[str], body_part: str, folder: Path) -> None:
    """Write the files anew, from the head downwards, as a series of its own that names the body
    part and its source.
    """
    import pydicom
    from pydicom.uid import generate_uid

    series = generate_uid()
    for number, path in enumerate(paths, 1):
        ds = _named(pydicom.dcmread(path, force=True))
        _add_source(ds)
        ds.BodyPartExamined = body_part
        for name in UNTRUE_OF_A_COPY:
            if name in ds:
                delattr(ds, name)
        ds.SOPInstanceUID, ds.SeriesInstanceUID = generate_uid(), series
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
