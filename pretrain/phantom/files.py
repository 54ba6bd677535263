"""Phantoms on disk, in the forms real CT arrives in: a DICOM series, a NIfTI file, DeepLesion's
16-bit PNG.

Nothing half-written is ever seen: a phantom is written under a hidden temporary name and renamed.
So a phantom that is there is whole, and a run that was stopped goes on by skipping those. The truth
(`labels.csv`, `landmarks.csv`) follows from seed and settings without images.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..data.deeplesion.images import IMAGES, save_hu, slice_path
from ..data.deeplesion.table import COLUMNS, TABLE
from . import Case, Phantom, draw, image

Form = Literal["dicom", "nifti", "png"]

_SETTINGS = ".phantoms.json"
_PNG_PATIENT = 900_000
"""Phantoms' patient numbers start here; DeepLesion's end at 4,459."""


@dataclass(frozen=True)
class Phantoms:
    """What a phantom run made.

    folder: where. written: new phantoms; already: those that were there. slices: of all of them.
    """

    folder: Path
    written: int
    already: int
    slices: int

    def __str__(self) -> str:
        there = f" ({self.already} were there already)" if self.already else ""
        truth = "the truth is in labels.csv (a row a slice) and landmarks.csv"
        return (
            f"{self.written + self.already} phantoms{there}, {self.slices:,} slices in "
            f"{self.folder}; {truth}"
        )


def phantoms(
    out: Path,
    *,
    n: int = 24,
    seed: int = 0,
    form: Form = "dicom",
    size_px: int = 128,
    ascites: int = 0,
    workers: int | None = None,
) -> Phantoms:
    """Write computed CT scans of made-up patients, and the body part of every slice. Run again, it
    goes on where it was.

    Patients differ in stature, fat, sex, organs and arms; scans in range, spacing, field of view,
    table, contrast, kernel, noise and metal. labels.csv has the columns file (name of the series'
    folder or file), slice (from the superior end, from 0), z_mm (below the first slice), region
    (head, neck, chest, abdomen, pelvis, thigh; the abdomen goes from the upper border of the liver
    to that of the ilium), body_mm (level in a body of 1750 mm, below the vertex). landmarks.csv has
    file, landmark, slice (not whole).

    Args:
        out: A new or empty folder, or one of an earlier run with the same options.
        n: How many phantoms.
        seed: The first phantom's seed; the others have the numbers that follow.
        form: dicom (a folder a series), nifti (a file a series) or png (DeepLesion's layout, HU +
            32768).
        size_px: Rows and columns of a slice.
        ascites: How many of them, from the first, have the belly full of fluid.
        workers: Processes; default one a core.

    Raises:
        ValueError: When an option is out of range, or the folder holds something else.
    """
    if n < 1 or not 0 <= ascites <= n or (workers is not None and workers < 1):
        raise ValueError(
            f"n and workers must be at least 1 and ascites lie in 0..n, got n {n}, workers "
            f"{workers}, ascites {ascites}"
        )
    _check_form(form)
    out = Path(out).expanduser()
    cases = [draw(seed + k, ascites=k < ascites, size_px=size_px) for k in range(n)]
    _claim(out, {"n": n, "seed": seed, "form": form, "size_px": size_px, "ascites": ascites})
    todo = [case for case in cases if not _place(case, out, form).exists()]
    if form == "png":
        _add_rows(out, todo)
    _write_truth(out, cases, form)
    _write_all(todo, out, form, min(len(todo), workers or _cores()))
    return Phantoms(out, len(todo), n - len(todo), sum(len(case.z_mm) for case in cases))


def write(phantom: Phantom, out_dir: Path, form: Form) -> Path:
    """Write a phantom into a folder, beside others, and return its own folder or file.

    dicom: `PHANTOM-<seed>/`, CT Image Storage, one file a slice with names that do not tell the
    order. nifti: `PHANTOM-<seed>.nii.gz`, RAS. png: `Images_png/<patient>_01_01/<slice>.png`, HU +
    32768, slices from 001 downwards, and a row in `DL_info.csv`. The row carries spacing and size;
    there is no lesion, so it has no box, is marked Possibly_noisy (which readers drop) and is in
    none of the splits.

    Raises `ValueError` when the form is unknown, `FileExistsError` when that phantom is there
    already.
    """
    _check_form(form)
    out = Path(out_dir)
    place = _place(phantom.case, out, form)
    if place.exists():
        raise FileExistsError(f"{place} is there already; choose another folder or seed")
    place.parent.mkdir(parents=True, exist_ok=True)
    if form == "png":
        _add_rows(out, [phantom.case])
    part = place.with_name(f".part-{place.name}")  # keeps the ending, which NIfTI goes by
    if part.is_dir():
        shutil.rmtree(part)
    {"dicom": _dicom, "nifti": _nifti, "png": _png}[form](phantom, part)
    part.rename(place)
    return place


def _check_form(form: str) -> None:
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}, got {form!r}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(case: Case) -> str:
    return f"PHANTOM-{case.seed:06d}"


def _place(case: Case, out: Path, form: Form) -> Path:
    if form == "png":
        return out / IMAGES / f"{_PNG_PATIENT + case.seed:06d}_01_01"
    return out / (_name(case) + (".nii.gz" if form == "nifti" else ""))


# -----------------------------------------------------------------------------------------------------------------------
# a run


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder this run's, or see that it is."""
    note = out / _SETTINGS
    if note.is_file():
        try:
            before = json.loads(note.read_text())
        except ValueError:
            before = {}
        changed = [
            f"{k} was {before.get(k)!r}, now {v!r}"
            for k, v in settings.items()
            if before.get(k) != v
        ]
        if changed:
            raise ValueError(
                f"{out} holds phantoms made with other options ({'; '.join(changed)}); use a new "
                "folder or the same options"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and holds no phantoms; choose a new or empty folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        _replace_text(note, json.dumps(settings))


def _write_all(cases: Sequence[Case], out: Path, form: Form, workers: int) -> None:
    from tqdm import tqdm

    if not cases:
        return
    with tqdm(total=len(cases), desc="phantoms", unit="scan") as bar:
        if workers <= 1:
            for case in cases:
                _write_one(case, out, form)
                bar.update()
            return
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            try:
                for done in as_completed(
                    [pool.submit(_write_one, case, out, form) for case in cases]
                ):
                    done.result()
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)


def _write_one(case: Case, out: Path, form: Form) -> None:
    write(image(case), out, form)


def _write_truth(out: Path, cases: Iterable[Case], form: Form) -> None:
    labels, landmarks = [], []
    for case in cases:
        name = _place(case, out, form).name
        for k, (z, region, u) in enumerate(zip(case.z_mm, case.region, case.body_mm, strict=True)):
            labels.append((name, k, f"{z:.3f}", region, f"{u:.2f}"))
        landmarks += [(name, mark, f"{index:.3f}") for mark, index in case.landmarks.items()]
    _replace_csv(out / "labels.csv", ("file", "slice", "z_mm", "region", "body_mm"), labels)
    _replace_csv(out / "landmarks.csv", ("file", "landmark", "slice"), landmarks)


def _replace_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    part = path.with_name(f".part-{path.name}")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    part.replace(path)


def _replace_text(path: Path, text: str) -> None:
    part = path.with_name(f".part-{path.name}")
    part.write_text(text)
    part.replace(path)


# ---------------------------------------------------------------------------------------------------------------------
# the forms


def _dicom(phantom: Phantom, folder: Path) -> None:
    """Stored values are HU + 1024 in 12 bits.

    Positions are in mm from the vertex of the head, on the body's axis.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    case, hu, pixel = phantom.case, phantom.volume.hu, phantom.case.pixel_mm
    rng = np.random.default_rng([case.seed, 5])
    corner = [
        -(n - 1) / 2 * pixel + off
        for n, off in zip((hu.shape[2], hu.shape[1]), case.scan.offset_mm, strict=True)
    ]

    def uid(*what: object) -> UID:
        return generate_uid(entropy_srcs=["ubr phantom", repr(case), *map(str, what)])

    for k, number in enumerate(rng.permutation(len(hu))):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid("slice", k)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.update(_header(case, uid))
        ds.SOPClassUID, ds.SOPInstanceUID = (
            meta.MediaStorageSOPClassUID,
            meta.MediaStorageSOPInstanceUID,
        )
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = [
            round(c, 6) for c in (*corner, -(case.first_mm + float(case.z_mm[k])))
        ]
        ds.SliceLocation = round(-(case.first_mm + float(case.z_mm[k])), 6)
        ds.Rows, ds.Columns = hu.shape[1:]
        ds.PixelData = (hu[k].astype(np.int32) + 1024).astype("<u2").tobytes()
        ds.save_as(folder / f"CT{number:05d}.dcm", enforce_file_format=True)


def _header(case: Case, uid: Any) -> Any:
    """What all slices of the series share."""
    from pydicom.dataset import Dataset

    scan, ds = case.scan, Dataset()
    values: dict[str, Any] = {
        "ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "Modality": "CT",
        "Manufacturer": "ubr-pretrain phantom", "ReferringPhysicianName": "", "StudyDescription": "computed phantom, no patient",
        "PatientName": f"PHANTOM^{case.seed:06d}", "PatientID": _name(case), "PatientBirthDate": "",
        "PatientSex": case.patient.sex[0].upper(), "PatientSize": round(case.patient.stature_mm / 1000, 3),
        "ContrastBolusAgent": "" if scan.phase == "none" else scan.phase,
        "SliceThickness": round(scan.spacing_mm, 6), "KVP": "", "ReconstructionDiameter": round(scan.fov_mm, 3), "GantryDetectorTilt": 0,
        "ConvolutionKernel": scan.kernel, "PatientPosition": "HFS", "StudyInstanceUID": uid("study"), "SeriesInstanceUID": uid("series"),
        "StudyID": "1", "SeriesNumber": 1, "AcquisitionNumber": 1, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": uid("frame"), "PositionReferenceIndicator": "", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [round(case.pixel_mm, 6)] * 2, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
        "WindowCenter": 50, "WindowWidth": 450, "RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU",
    }  # fmt: skip
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def _nifti(phantom: Phantom, file: Path) -> None:
    """Voxel axes run to the right, front and top of the patient (RAS); the origin of space is the
    vertex of the head.
    """
    from nibabel.nifti1 import Nifti1Image

    make: Any = Nifti1Image
    case, hu = phantom.case, phantom.volume.hu
    size = np.array([case.pixel_mm, case.pixel_mm, case.scan.spacing_mm])
    affine = np.diag([*size, 1.0])
    x, y = (
        (n - 1) / 2 * case.pixel_mm + off
        for n, off in zip((hu.shape[2], hu.shape[1]), case.scan.offset_mm, strict=True)
    )
    affine[:3, 3] = -x, -y, -(case.first_mm + case.z_mm[-1])
    one = make(np.ascontiguousarray(hu[::-1, ::-1, ::-1].transpose(2, 1, 0)), affine)
    one.set_sform(affine, 1)
    one.set_qform(affine, 1)
    one.header.set_xyzt_units("mm")
    one.to_filename(file)


def _png(phantom: Phantom, folder: Path) -> None:
    folder.mkdir()
    for k, hu in enumerate(phantom.volume.hu):
        save_hu(slice_path(folder.parent, folder.name, k + 1), hu)


def _add_rows(out: Path, cases: Iterable[Case]) -> None:
    """Put a row a phantom into `DL_info.csv`, in the place of one that is there; other rows stay as
    they are.
    """
    table = out / TABLE
    new = {row[0]: row for row in map(_row, cases)}
    old: list[list[str]] = []
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            header, *old = csv.reader(file)
        if tuple(header) != COLUMNS:
            raise ValueError(
                f"{table} does not have the columns of DeepLesion's table; choose another folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    _replace_csv(table, COLUMNS, [*(row for row in old if row[0] not in new), *new.values()])


def _row(case: Case) -> tuple[object, ...]:
    """The middle slice stands for the series."""
    slices, size, px = len(case.z_mm), case.scan.size_px, f"{case.pixel_mm:.6g}"
    key, number = (slices + 1) // 2, _PNG_PATIENT + case.seed
    spacing, gender = f"{px}, {px}, {case.scan.spacing_mm:g}", case.patient.sex[0].upper()
    return (
        f"{number:06d}_01_01_{key:03d}.png",
        *(number, 1, 1, key),
        *("", "", "", ""),  # no lesion is measured
        *(-1, 1),
        f"1, {slices}",
        spacing,
        f"{size}, {size}",
        "-175, 275",
        gender,
        *("NaN", 0),
    )
