"""One phantom on disk, in the forms real CT arrives in.

A DICOM series, a NIfTI file, or DeepLesion's 16-bit PNG. A phantom appears whole or not at all.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ubr.weights.common import disk

from ..data.deeplesion.images import IMAGES, save_hu, slice_path
from ..data.deeplesion.table import COLUMNS, TABLE
from .scan import Case, Phantom

Form = Literal["dicom", "nifti", "png"]

_PNG_PATIENT = 900_000
"""Phantoms' patient numbers start here; DeepLesion's end at 4,459."""


def write_phantom(phantom: Phantom, out_dir: Path, form: Form) -> Path:
    """Write a phantom into a folder, beside others, and return its own folder or file.

    dicom: `PHANTOM-<seed>/`, CT Image Storage, one file per slice with names that do not tell the
    order. nifti: `PHANTOM-<seed>.nii.gz`, RAS. png: `Images_png/<patient>_01_01/<slice>.png`, HU +
    32768, slices from 001 downwards, and a row in `DL_info.csv`. The row carries spacing and size;
    there is no lesion, so it has no box, is marked Possibly_noisy (which readers drop) and is in
    none of the splits.

    Raises:
        ValueError: the form is unknown.
        FileExistsError: that phantom is there already.
    """
    check_form(form)
    path = phantom_path(phantom.case, Path(out_dir), form)
    if path.exists():
        raise FileExistsError(f"{path} is there already; choose another folder or seed")
    if form == "png":
        add_rows(Path(out_dir), [phantom.case])
    with disk.whole(path) as part:
        {"dicom": _write_dicom, "nifti": _write_nifti, "png": _write_png}[form](phantom, part)
    return path


def check_form(form: str) -> None:
    """Raise `ValueError` when a form is unknown."""
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}, got {form!r}")


def phantom_name(case: Case) -> str:
    """`PHANTOM-<seed>`."""
    return f"PHANTOM-{case.seed:06d}"


def phantom_path(case: Case, out: Path, form: Form) -> Path:
    """The folder or file of a phantom."""
    if form == "png":
        return out / IMAGES / f"{_PNG_PATIENT + case.seed:06d}_01_01"
    return out / (phantom_name(case) + (".nii.gz" if form == "nifti" else ""))


def add_rows(out: Path, cases: Iterable[Case]) -> None:
    """Put one row per phantom into `DL_info.csv`, replacing its own; other rows stay as they are.

    Raises `ValueError` when a table is there that is not DeepLesion's.
    """
    table = out / TABLE
    new = {str(row["File_name"]): [*row.values()] for row in map(_row, cases)}
    old: list[list[str]] = []
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            header, *old = csv.reader(file)
        if tuple(header) != COLUMNS:
            raise ValueError(
                f"{table} does not have the columns of DeepLesion's table; choose another folder"
            )
    if all([str(value) for value in row] in old for row in new.values()):
        return
    write_csv(table, COLUMNS, [*(row for row in old if row[0] not in new), *new.values()])


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all."""
    with disk.whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_dicom(phantom: Phantom, folder: Path) -> None:
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

    about = repr(case).replace("scan=Acquisition(", "scan=Scan(")  # as it was first written

    def uid(*what: object) -> UID:
        return generate_uid(entropy_srcs=["ubr phantom", about, *map(str, what)])

    shared = _shared_header(case, uid)
    for k, number in enumerate(rng.permutation(len(hu))):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid("slice", k)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.update(shared)
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


def _shared_header(case: Case, uid: Callable[..., Any]) -> Any:
    """What all slices of the series share."""
    from pydicom.dataset import Dataset

    scan, ds = case.scan, Dataset()
    empty = (
        *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
        *("PatientBirthDate", "KVP", "PositionReferenceIndicator"),
    )
    values: dict[str, Any] = {
        **dict.fromkeys(empty, ""),
        **{"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "Modality": "CT"},
        **{"Manufacturer": "ubr-pretrain phantom"},
        **{"StudyDescription": "computed phantom, no patient"},
        **{"PatientName": f"PHANTOM^{case.seed:06d}", "PatientID": phantom_name(case)},
        **{"PatientSex": case.patient.sex[0].upper()},
        **{"PatientSize": round(case.patient.stature_mm / 1000, 3)},
        **{"ContrastBolusAgent": "" if scan.phase == "none" else scan.phase},
        **{"SliceThickness": round(scan.spacing_mm, 6), "GantryDetectorTilt": 0},
        **{"ReconstructionDiameter": round(scan.fov_mm, 3), "ConvolutionKernel": scan.kernel},
        **{"PatientPosition": "HFS", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        **{"StudyInstanceUID": uid("study"), "SeriesInstanceUID": uid("series")},
        **{"FrameOfReferenceUID": uid("frame")},
        **{"StudyID": "1", "SeriesNumber": 1, "AcquisitionNumber": 1},
        **{"PixelSpacing": [round(case.pixel_mm, 6)] * 2},
        **{"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
        **{"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0},
        **{"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU"},
        **{"WindowCenter": 50, "WindowWidth": 450},
    }
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def _write_nifti(phantom: Phantom, file: Path) -> None:
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


def _write_png(phantom: Phantom, folder: Path) -> None:
    folder.mkdir()
    for k, hu in enumerate(phantom.volume.hu):
        save_hu(slice_path(folder.parent, folder.name, k + 1), hu)


def _row(case: Case) -> dict[str, object]:
    """The phantom's row in DeepLesion's table: the middle slice stands for the series."""
    slices, size = len(case.z_mm), case.scan.size_px
    key, number = (slices + 1) // 2, _PNG_PATIENT + case.seed
    return {
        **dict.fromkeys(COLUMNS, ""),
        "File_name": f"{number:06d}_01_01_{key:03d}.png",
        "Patient_index": number,
        "Study_index": 1,
        "Series_ID": 1,
        "Key_slice_index": key,
        "Coarse_lesion_type": -1,
        "Possibly_noisy": 1,
        "Slice_range": f"1, {slices}",
        "Spacing_mm_px_": f"{case.pixel_mm:.6g}, {case.pixel_mm:.6g}, {case.scan.spacing_mm:g}",
        "Image_size": f"{size}, {size}",
        "DICOM_windows": "-175, 275",
        "Patient_gender": case.patient.sex[0].upper(),
        "Patient_age": "NaN",
        "Train_Val_Test": 0,
    }
