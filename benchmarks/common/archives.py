"""A computed archive with known truth, in DICOM: mislabelled, cut, incomplete and odd series.

It imports nothing of what judges archives, and writes DICOM by itself. What the verdicts of an
audit should be follows from the computed patients and from how `docs/how-to/audit.md` defines them.
Ends of scans lie where they may, so many verdicts are near ties; `Truth.clear` tells those apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from ubr.pretrain.phantom.patient import Patient
from ubr.pretrain.phantom.scan import Case, draw, image

Rng = np.random.Generator
PARTS = ("head", "neck", "chest", "abdomen", "pelvis", "thigh")
BORDERS = ("mandible", "lung_apex", "liver_dome", "iliac_crest", "ischium")
RANGES = {
    "head": (0, 215),
    "head-neck": (0, 330),
    "neck-chest": (190, 530),
    "chest": (265, 560),
    "abdomen": (440, 720),
    "pelvis": (700, 945),
    "abdomen-pelvis": (440, 945),
    "chest-abdomen": (265, 720),
    "chest-abdomen-pelvis": (265, 945),
    "neck-pelvis": (200, 945),
}
"""What is asked for, in levels of the reference body; each end is moved by up to `JITTER_MM`."""
JITTER_MM = 60.0
KINDS = {
    "sound": 0.47,
    "missing": 0.12,
    "lacks an end": 0.05,
    "closed up": 0.06,
    "swapped halves": 0.08,
    "reversed": 0.07,
    "copy": 0.06,
    "taken again": 0.05,
    "not CT": 0.04,
}
"""What is done to a series, and how often."""
STATED = {"right": 0.5, "wrong": 0.2, "wider": 0.1, "none": 0.15, "unknown text": 0.05}
WORDS = {
    "head": ("HEAD", "SKULL", "Kopf", "crane"),
    "neck": ("NECK", "Hals", "CUELLO"),
    "chest": ("CHEST", "THORAX", "Thorax nativ", "TORAX", "LUNG"),
    "abdomen": ("ABDOMEN", "Abdomen venous", "BAUCH", "LIVER", "KIDNEY"),
    "pelvis": ("PELVIS", "Becken", "BASSIN", "PROSTATE"),
    "thigh": ("THIGH",),
    "head neck": ("HEADNECK",),
    "chest abdomen": ("CHESTABDOMEN",),
    "abdomen pelvis": ("ABDOMENPELVIS", "abd/pelvis"),
    "chest abdomen pelvis": ("CHESTABDPELVIS", "C/A/P", "CAP", "Thorax-Abdomen-Becken"),
    "neck chest": ("NECKCHEST",),
    "neck chest abdomen pelvis": ("NECKCHESTABDPELV",),
}
LEAST_MM, MARGIN_MM, OUTER_MM, NEAR_MM = 30.0, 50.0, 100.0, 25.0


@dataclass(frozen=True)
class Truth:
    """What an audit should say of a series.

    folder: its name. kind: of `KINDS`. agreement, complete, direction: verdicts. ends: part, end
    -> whether it lies inside the scan, by how many mm at least. missing, after: how many slices
    lack, after which. copy: the very slices of another series. clear: whether the agreement is no
    near tie.
    """

    folder: str
    kind: str
    agreement: str
    complete: str
    direction: str
    ends: dict[tuple[str, str], tuple[bool, float]] = field(default_factory=dict)
    missing: int = 0
    after: int = -1
    clear: bool = True

    @property
    def copy(self) -> bool:
        return self.kind == "copy"

    @property
    def faulty(self) -> bool:
        """Whether the order of the slices is not that of a body."""
        return self.kind in ("swapped halves", "reversed", "closed up")


def archive(folder: Path, series: int, seed: int) -> list[Truth]:
    """Write an archive of so many series, and return the truth; copies count too."""
    rng = np.random.default_rng(seed)
    truths: list[Truth] = []
    while len(truths) < series:
        truths += _study(folder, len(truths), seed + len(truths), rng)
    return truths


def _study(folder: Path, number: int, seed: int, rng: Rng) -> Iterator[Truth]:
    kind = str(rng.choice([*KINDS], p=[*KINDS.values()]))
    name = str(rng.choice([*RANGES]))
    case = computed(seed, RANGES[name], rng)
    hu, z = image(case).volume.hu, case.z_mm
    text, stated = _stated(str(rng.choice([*STATED], p=[*STATED.values()])), case, rng)
    verdict, clear = agreement(stated, text, case)
    study = generate_uid(entropy_srcs=["archive", str(seed)])
    header = {"BodyPartExamined": text, "StudyInstanceUID": study, "SliceThickness": case_step(z)}
    where = f"{number:05d}"
    truth = Truth(where, kind, verdict, "complete", "head to feet", ends_of(case), clear=clear)
    if kind in ("missing", "closed up", "lacks an end"):
        truth, hu, z, numbers = _shortened(truth, hu, z, rng)
    else:
        numbers = np.arange(1, len(z) + 1)
    if kind == "swapped halves":
        half = len(hu) // 2
        hu = np.concatenate([hu[half:], hu[:half]])
        truth = Truth(where, kind, "", "unknown", "")
    if kind == "reversed":
        hu = hu[::-1]
        truth = Truth(where, kind, verdict, "complete", "reversed", clear=clear)
    if kind == "not CT":
        header |= {"Modality": "MR", "SOPClassUID": MRImageStorage}
        truth = Truth(where, kind, "", "", "")
    write_series(folder / where, hu, case.first_mm + z, case.pixel_mm, numbers, **header)
    yield truth
    if kind in ("copy", "taken again"):
        again = hu if kind == "copy" else _noisier(hu, rng)
        more = f"{number + 1:05d}"
        write_series(folder / more, again, case.first_mm + z, case.pixel_mm, numbers, **header)
        yield Truth(more, kind, verdict, "complete", "head to feet", ends_of(case), clear=clear)


def computed(seed: int, levels: tuple[float, float], rng: Rng, **scan: Any) -> Case:
    """A computed patient, scanned between two levels that are moved a little."""
    top, bottom = (u + rng.uniform(-JITTER_MM, JITTER_MM) for u in levels)
    step = float(rng.choice([3.0, 4.0, 5.0]))
    usual = {"spacing_mm": step, "size_px": 96, "metal": "none"}
    return draw(seed, top=max(top, 0.0), bottom=bottom, **{**usual, **scan})


def case_step(z: NDArray[np.float64]) -> float:
    return float(z[1] - z[0])


def _noisier(hu: NDArray[np.int16], rng: Rng) -> NDArray[np.int16]:
    """The same patient in the same place, scanned again."""
    return (hu + rng.normal(0, 15, hu.shape)).clip(-1024, 3071).astype(np.int16)


def _shortened(
    truth: Truth, hu: NDArray[np.int16], z: NDArray[np.float64], rng: Rng
) -> tuple[Truth, NDArray[np.int16], NDArray[np.float64], NDArray[np.int64]]:
    """Some slices taken away: from within, from the first numbers, or with positions closed up."""
    n, count = len(z), int(rng.integers(1, 9))
    at = 0 if truth.kind == "lacks an end" else int(rng.integers(4, n - count - 4))
    keep = np.array([k for k in range(n) if not at <= k < at + count], np.int64)
    ends = truth.ends if truth.kind == "missing" else {}
    if truth.kind == "closed up":
        even = np.arange(len(keep), dtype=np.float64) * case_step(z)
        made = Truth(truth.folder, truth.kind, "", "unknown", "head to feet")
        return made, hu[keep], even, np.arange(1, len(keep) + 1, dtype=np.int64)
    verdict = "missing" if truth.kind == "missing" else "unknown"
    agrees = truth.agreement if truth.kind == "missing" else ""
    made = Truth(
        truth.folder,
        truth.kind,
        agrees,
        verdict,
        "head to feet",
        ends,
        count if verdict == "missing" else 0,
        at - 1,
        truth.clear,
    )
    return made, hu[keep], z[keep], keep + 1


# What is shown of each part, and what follows from it


def borders_mm(patient: Patient) -> NDArray[np.float64]:
    """`[7]` where parts begin and end, mm below the vertex."""
    marks = patient.landmarks()
    levels = np.array([marks["vertex"], *(marks[name] for name in BORDERS)])
    return np.array([*np.asarray(patient.z_mm(levels)), np.inf])


def lengths_mm(case: Case) -> NDArray[np.float64]:
    """`[6]` how much of each part lies between the first slice and the last."""
    at = np.clip(borders_mm(case.patient), case.first_mm, case.first_mm + case.z_mm[-1])
    at[0] = case.first_mm
    return np.diff(at)


def ends_of(case: Case) -> dict[tuple[str, str], tuple[bool, float]]:
    """Whether the inner ends of the parts that are shown lie inside the scan, and by how much."""
    at = borders_mm(case.patient) - case.first_mm
    found = {}
    for k, (part, mm) in enumerate(zip(PARTS, lengths_mm(case), strict=True)):
        if mm < LEAST_MM:
            continue
        for end, border in (("top", at[k]), ("bottom", at[k + 1])):
            if 0 < k + (end == "bottom") < len(PARTS):
                inside = float(min(border, case.z_mm[-1] - border))
                found[part, end] = inside > 0, abs(inside)
    return found


def agreement(stated: Sequence[str], text: str, case: Case) -> tuple[str, bool]:
    """The verdict, and whether nothing it rests on is nearer than `NEAR_MM` to its limit."""
    if not stated:
        return "not stated", True
    shown, half = lengths_mm(case), float(case.z_mm[-1]) / 2
    own = np.diff(borders_mm(case.patient))
    own[[0, -1]] = 2 * OUTER_MM
    needed, margin = np.minimum(own / 2, half), np.minimum(np.maximum(own / 2, MARGIN_MM), half)
    some = max(shown[PARTS.index(part)] - min(LEAST_MM, half) for part in stated)
    lacking = [(shown - needed)[k] for k, part in enumerate(PARTS) if part in stated]
    extra = [(shown - margin)[k] for k, part in enumerate(PARTS) if part not in stated]
    clear = min(map(abs, (some, *lacking, *extra))) >= NEAR_MM
    if some <= 0:
        return "no", abs(some) >= NEAR_MM
    return ("yes" if min(lacking) > 0 and max(extra) <= 0 else "partly"), clear


def _stated(how: str, case: Case, rng: Rng) -> tuple[str, tuple[str, ...]]:
    """A text for the header, and the parts that it names."""
    if how in ("none", "unknown text"):
        return ("" if how == "none" else str(rng.choice(["PORTAL 3.0", "ROUTINE", "X"]))), ()
    shown, own = lengths_mm(case), np.diff(borders_mm(case.patient))
    own[-1] = 200.0
    right = {part for k, part in enumerate(PARTS) if shown[k] > 0.5 * own[k]}
    choices = [set(words.split()) for words in WORDS]
    if how == "right":
        choices = [one for one in choices if one == right] or choices
    elif how == "wrong":
        choices = [one for one in choices if not one & right] or choices
    else:
        choices = [one for one in choices if one > right] or choices
    parts = choices[int(rng.integers(len(choices)))]
    named = " ".join(part for part in PARTS if part in parts)
    return str(rng.choice(WORDS[named])), tuple(part for part in PARTS if part in parts)


# DICOM


def write_series(
    folder: Path,
    hu: NDArray[np.int16],
    below_mm: NDArray[np.float64],
    pixel_mm: float,
    numbers: NDArray[np.int64],
    **header: Any,
) -> None:
    """One file a slice, with names that do not tell the order.

    below_mm: `[n]` positions below the vertex. numbers: `[n]` InstanceNumber.
    """
    folder.mkdir(parents=True)
    series = generate_uid(entropy_srcs=["archive", str(folder)])
    values = {
        **{"SOPClassUID": CTImageStorage, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY"]},
        **{"PatientName": "Computed^Nobody", "PatientID": "NOBODY-1", "FrameOfReferenceUID": "1.2"},
        **{"SeriesInstanceUID": series, "SeriesNumber": 2, "AcquisitionNumber": 1},
        **{"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [pixel_mm, pixel_mm]},
        **{"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16},
        **{"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0},
        **{"RescaleIntercept": -1024, "RescaleSlope": 1, "ConvolutionKernel": "STANDARD"},
        **header,
    }
    order = np.random.default_rng(len(hu)).permutation(len(hu))
    for k, name in enumerate(order):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = values["SOPClassUID"]
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        with warnings.catch_warnings(action="ignore"):  # texts that are no code strings
            for tag, value in values.items():
                setattr(ds, tag, value)
        ds.SOPInstanceUID, ds.InstanceNumber = meta.MediaStorageSOPInstanceUID, int(numbers[k])
        half = (hu.shape[1] - 1) / 2 * pixel_mm
        ds.ImagePositionPatient = [-half, -half, round(-float(below_mm[k]), 4)]
        ds.Rows, ds.Columns = hu.shape[1:]
        ds.PixelData = (hu[k].astype(np.int32) + 1024).clip(0, 4095).astype("<u2").tobytes()
        ds.save_as(folder / f"{name:05d}.dcm", enforce_file_format=True)
