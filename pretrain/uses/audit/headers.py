"""What the headers of a series say of it, in this project's own words.

Free text of a header may hold a name, so none of it is passed on: parts and kernels are classes,
series and studies are hashes of their UIDs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...data.dicom import Header
from ...data.dicom.values import joined, numbers, texts, whole
from ...data.find import silence
from ...data.scans import UnreadScan
from ...data.store.keys import hash_text
from ...data.volume import Series
from .stated import Stated, stated_in

TAGS = [
    *("StudyInstanceUID", "SeriesInstanceUID", "BodyPartExamined", "SeriesDescription"),
    *("ConvolutionKernel", "SliceThickness", "ImagesInAcquisition"),
    *("SharedFunctionalGroupsSequence",),
]
SHARP = (
    r"\b(lung|bone|bone ?plus|edge|detail|sharp|ultra|chest|hr|yc|yd)\b|^(e|l|d)$|fc[3-9]\d"
    r"|\b[bdhijqu][a-z]?[5-9]\d"
)
"""Kernels for bone and lung: names and numbers of GE, Philips, Canon and Siemens."""
SOFT = (
    r"\b(soft|standard|stnd|smooth|std|tissue|body)\b|^(a|b|c)$|fc[0-2]\d"
    r"|\b[bdhijqu][a-z]?[0-4]\d"
)


@dataclass(frozen=True)
class About:
    """What headers say of a series.

    kind: of its files. study: hash of the study's UID, "" where there is none. stated: the body
    parts. kernel: "soft" or "sharp", "" where it is not known. thickness_mm: of a slice. images:
    how many the acquisition has; 0 where it is not said.
    """

    kind: str = ""
    study: str = ""
    stated: Stated = field(default_factory=Stated)
    kernel: str = ""
    thickness_mm: float | None = None
    images: int = 0


def about(unread: UnreadScan) -> About:
    """What the first header of a series says. Of a store only the kind of its files is known."""
    if not isinstance(unread.origin, Series):
        return About(unread.origin[1].kind)
    if unread.origin.kind != "dicom":
        return About(unread.origin.kind)
    ds = _read(unread.origin.files[0])
    if ds is None:
        return About("dicom")
    thickness = numbers(ds, "SliceThickness") or [0.0]
    study = joined(ds, "StudyInstanceUID")
    return About(
        "dicom",
        hash_text(study) if study else "",
        stated_in(joined(ds, "BodyPartExamined"), joined(ds, "SeriesDescription")),
        kernel_of(_kernel(ds)),
        thickness[0] if thickness[0] > 0 else None,
        whole(ds, "ImagesInAcquisition"),
    )


def keys_of(path: str) -> tuple[str, str]:
    """The keys of the series and the study of a DICOM file; "" for what it does not say."""
    ds = _read(path)
    if ds is None:
        return "", ""
    series, study = joined(ds, "SeriesInstanceUID"), joined(ds, "StudyInstanceUID")
    return hash_text(series) if series else "", hash_text(study) if study else ""


def kernel_of(text: str) -> str:
    """Whether a kernel is soft or sharp; "" where its name is none of those known.

    Of a text that several patterns fit, the sharp one counts.
    """
    words = " ".join(re.findall(r"[a-z]+\d*|\d+", text.casefold()))
    return "sharp" if re.search(SHARP, words) else "soft" if re.search(SOFT, words) else ""


def headers_of(unread: UnreadScan, headers: list[Header]) -> list[Header]:
    """The headers with those slices only that belong to the series."""
    origin = unread.origin
    if not isinstance(origin, Series) or not origin.frames or len(headers) != len(origin.files):
        return headers
    return [
        replace(header, slices=tuple(header.slices[k] for k in frames if k < len(header.slices)))
        for header, frames in zip(headers, origin.frames, strict=True)
    ]


def _read(path: str) -> Any:
    """Some values of a header; None of a file that cannot be read."""
    import pydicom

    with silence():
        try:
            if not Path(path).is_file():
                return None
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        except Exception:  # of broken bytes pydicom raises anything
            return None


def _kernel(ds: Any) -> str:
    """The kernel, which enhanced objects keep in a functional group."""
    if texts(ds, "ConvolutionKernel"):
        return joined(ds, "ConvolutionKernel")
    try:
        shared = ds.SharedFunctionalGroupsSequence[0]
        return joined(shared.CTReconstructionSequence[0], "ConvolutionKernel")
    except (AttributeError, IndexError, TypeError):
        return ""
