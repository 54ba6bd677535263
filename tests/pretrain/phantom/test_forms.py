"""A phantom on disk is read back as it was made, in each form."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from ubr.pretrain.data.find import find_series, read_volume
from ubr.pretrain.phantom import Phantom, make
from ubr.pretrain.phantom.forms import write_phantom


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make(21, size_px=48, spacing_mm=10.0, top=300.0, bottom=700.0, offset_mm=(6.0, -4.0))


def test_dicom_is_read_back_with_the_same_hu_and_geometry(small: Phantom, tmp_path: Path) -> None:
    folder = write_phantom(small, tmp_path, "dicom")
    assert folder.name == "PHANTOM-000021"
    files = sorted(folder.iterdir())
    slices = [pydicom.dcmread(f) for f in files]
    z = np.array([float(s.ImagePositionPatient[2]) for s in slices])
    assert (
        len(files) == len(small.volume.hu)
        and not (np.diff(z) < 0).all()
        and not (np.diff(z) > 0).all()
    )  # names tell nothing
    down = np.argsort(-z)  # the patient lies head first, so superior is +z
    hu = np.stack(
        [
            slices[i].pixel_array * float(slices[i].RescaleSlope)
            + float(slices[i].RescaleIntercept)
            for i in down
        ]
    )
    np.testing.assert_array_equal(hu, small.volume.hu)
    np.testing.assert_allclose(-z[down] + z.max(), small.volume.z_mm, atol=1e-4)
    assert [slices[i].InstanceNumber for i in down] == list(range(1, len(slices) + 1))
    one = slices[0]
    assert (
        list(one.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
        and one.PatientPosition == "HFS"
        and one.Modality == "CT"
    )
    assert one.file_meta.MediaStorageSOPClassUID == pydicom.uid.CTImageStorage == one.SOPClassUID
    assert float(one.PixelSpacing[0]) == pytest.approx(small.volume.spacing_mm[1], abs=1e-5)
    middle = np.array(one.ImagePositionPatient[:2], float) + 23.5 * np.array(
        one.PixelSpacing, float
    )
    np.testing.assert_allclose(middle, (6, -4), atol=1e-3)
    for tag in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({getattr(s, tag) for s in slices}) == 1
    assert one.PatientID == "PHANTOM-000021" and len({s.SOPInstanceUID for s in slices}) == len(
        slices
    )
    assert all(pydicom.uid.UID(s.SOPInstanceUID).is_valid for s in slices)


def test_dicom_bytes_follow_from_the_seed(small: Phantom, tmp_path: Path) -> None:
    first, second = (write_phantom(small, tmp_path / name, "dicom") for name in "ab")
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    other = replace(small, case=replace(small.case, scan=replace(small.case.scan, noise_hu=1.0)))
    third = write_phantom(other, tmp_path / "c", "dicom")
    uids = {
        pydicom.dcmread(next(f.iterdir()), stop_before_pixels=True).SeriesInstanceUID
        for f in (first, second, third)
    }
    assert len(uids) == 2


def test_nifti_lies_as_the_patient(small: Phantom, tmp_path: Path) -> None:
    image = nib.load(write_phantom(small, tmp_path, "nifti"))
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    data = np.asanyarray(image.dataobj)
    assert data.dtype == np.int16
    np.testing.assert_array_equal(data[::-1, ::-1, ::-1].transpose(2, 1, 0), small.volume.hu)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.header.get_qform(), image.affine, atol=1e-3)
    # Superior is superior: the uppermost slice has the lung apex's level, at its distance from the
    # vertex.
    top = image.affine @ [0, 0, data.shape[2] - 1, 1]
    assert top[2] == pytest.approx(-float(small.case.patient.z_mm(300.0)), abs=0.1)
    middle = image.affine @ [23.5, 23.5, 0, 1]
    np.testing.assert_allclose(
        middle[:2], (-6, 4), atol=1e-3
    )  # RAS: the offset was 6 to the left and 4 to the front


def test_png_have_deeplesions_layout(small: Phantom, tmp_path: Path) -> None:
    folder = write_phantom(small, tmp_path, "png")
    write_phantom(make(22, size_px=48, spacing_mm=10.0, top=300.0, bottom=400.0), tmp_path, "png")
    assert folder.relative_to(tmp_path).as_posix() == "Images_png/900021_01_01"
    names = sorted(f.name for f in folder.iterdir())
    assert names == [f"{k:03d}.png" for k in range(1, len(small.volume.hu) + 1)]
    for k, name in enumerate(names):
        with Image.open(folder / name) as image:
            np.testing.assert_array_equal(np.asarray(image, np.int64) - 32768, small.volume.hu[k])
    with (tmp_path / "DL_info.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and len(rows[0]) == 18  # they accumulate
    spacing = [float(v) for v in rows[0]["Spacing_mm_px_"].split(",")]
    np.testing.assert_allclose(spacing, small.volume.spacing_mm[::-1], rtol=1e-5)
    assert (rows[0]["Bounding_boxes"], rows[0]["Possibly_noisy"], rows[0]["Train_Val_Test"]) == (
        "",
        "1",
        "0",
    )


def test_png_rows_keep_those_of_others(small: Phantom, tmp_path: Path, shared: Path) -> None:
    real = (shared / "deeplesion" / "DL_info.csv").read_text().splitlines()
    (tmp_path / "DL_info.csv").write_text("\n".join(real[:40]) + "\n")
    write_phantom(small, tmp_path, "png")
    with (tmp_path / "DL_info.csv").open(newline="") as file:
        after = list(csv.reader(file))
    assert after[:40] == list(csv.reader(real[:40])) and len(after) == 41


def test_png_refuse_another_table(small: Phantom, tmp_path: Path) -> None:
    (tmp_path / "DL_info.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="does not have the columns of DeepLesion's table"):
        write_phantom(small, tmp_path, "png")
    assert not (tmp_path / "Images_png" / "900021_01_01").exists()


@pytest.mark.parametrize("form", ["dicom", "nifti", "png"])
def test_the_projects_readers_take_every_form(form: str, small: Phantom, tmp_path: Path) -> None:
    write_phantom(small, tmp_path, form)  # type: ignore[arg-type]
    found, _ = find_series([tmp_path])
    assert len(found) == 1
    volume = read_volume(found[0])
    np.testing.assert_array_equal(volume.hu, small.volume.hu)
    np.testing.assert_allclose(volume.z_mm, small.volume.z_mm, atol=1e-3)
    np.testing.assert_allclose(volume.spacing_mm, small.volume.spacing_mm, rtol=1e-4)
    assert [w.split(":")[0] for w in volume.warnings] == (["ungeometric"] if form == "png" else [])


def test_write_refuses_to_overwrite_and_unknown_forms(small: Phantom, tmp_path: Path) -> None:
    write_phantom(small, tmp_path, "nifti")
    with pytest.raises(FileExistsError, match="is there already"):
        write_phantom(small, tmp_path, "nifti")
    with pytest.raises(ValueError, match="form must be one of dicom, nifti, png, got 'jpeg'"):
        write_phantom(small, tmp_path, "jpeg")  # type: ignore[arg-type]
