"""Values that a writer wrote in its own way: read as they are meant, or refused once a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ubr.pretrain.data import find

from ....made.dicom import Made, expected, write
from ....made.odd import written
from ....made.scans import only, reasons

MEANT = [
    ("PixelSpacing", "4,0\\4,0", "DS"),
    ("PixelSpacing", "4.0,4.0", "DS"),
    ("PixelSpacing", "4", "DS"),
    ("PixelSpacing", "4.0", "DS"),
    ("PixelSpacing", "4.0mm\\4.0 mm", "DS"),
    ("PixelSpacing", "4.0\\4.0", "UT"),
    ("PixelSpacing", "+4.00\\4.E0", "LO"),
    ("PixelSpacing", " 4.0 \\ 4.0\0", "SH"),
    ("PixelSpacing", "4.0\\4.0", "UN"),
    ("SliceThickness", "5.0mm", "DS"),
    ("SliceThickness", "5.0\\2.5", "DS"),
    ("SliceThickness", "5,0", "DS"),
    ("SliceThickness", "thin", "LO"),
    ("SliceThickness", "", "DS"),
    ("ImageOrientationPatient", "1,0\\0,0\\0,0\\0,0\\1,0\\0,0", "DS"),
    ("RescaleSlope", "1,0", "DS"),
    ("RescaleIntercept", "-1024,0", "DS"),
    ("RescaleIntercept", "-1024\\-1024", "DS"),
    ("RescaleType", "Hounsfield Unit", "LO"),
    ("RescaleType", "HOUNSFIELD", "LO"),
    ("RescaleType", "hu", "LO"),
    ("RescaleType", "[hnsf'U]", "LO"),
    ("RescaleType", "HU\\HU", "LO"),
    ("RescaleType", "Unités Hounsfield", "LO"),
    ("AcquisitionNumber", "1\\2", "IS"),
    ("AcquisitionNumber", "one", "IS"),
    ("AcquisitionNumber", "1.5", "IS"),
    ("InstanceNumber", "7 of 20", "IS"),
    ("SeriesNumber", "3a", "IS"),
    ("TemporalPositionIdentifier", "-", "IS"),
    ("NumberOfFrames", "1.0", "IS"),
    ("SamplesPerPixel", "1", "IS"),
]


@pytest.mark.parametrize(("name", "text", "vr"), MEANT)
def test_values__are_read_as_they_are_meant(tmp_path: Path, name: str, text: str, vr: str) -> None:
    write(tmp_path, [written(ds, name, text, vr) for ds in Made().datasets()])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == (5.0, 4.0, 4.0)
    assert volume.warnings == ()


def test_positions__with_decimal_commas(tmp_path: Path) -> None:
    made = Made([(x, y, z + 0.25) for x, y, z in Made().corners])
    datasets = made.datasets()
    for ds, corner in zip(datasets, made.corners, strict=True):
        written(ds, "ImagePositionPatient", "\\".join(f"{v:.2f}".replace(".", ",") for v in corner))
    write(tmp_path, datasets)
    place = only(tmp_path).place
    assert place is not None and place[:, 3].tolist() == [-80.0, -60.0, 100.25]


@pytest.mark.parametrize("vr", ["FD", "FL"])
def test_pixel_spacing__as_binary_numbers(tmp_path: Path, vr: str) -> None:
    value = np.array([4.0, 4.0], "<f8" if vr == "FD" else "<f4").tobytes()
    datasets = Made().datasets()
    for ds in datasets:
        tag = Tag("PixelSpacing")
        ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    write(tmp_path, datasets)
    assert only(tmp_path).spacing_mm == (5.0, 4.0, 4.0)


def test_one_pixel_spacing__is_a_square_as_for_itk(tmp_path: Path) -> None:
    datasets = [written(ds, "PixelSpacing", "3.5") for ds in Made(pixel_mm=(3.5, 3.5)).datasets()]
    first = write(tmp_path, datasets)[0]
    assert only(tmp_path).spacing_mm[1:] == sitk.ReadImage(str(first)).GetSpacing()[1::-1]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("PixelSpacing", "four\\four", "no usable PixelSpacing"),
        ("PixelSpacing", "1.0\\1.0\\1.0", "no usable PixelSpacing"),
        ("PixelSpacing", "nan\\nan", "no usable PixelSpacing"),
        ("PixelSpacing", "1e999\\1", "no usable PixelSpacing"),
        ("PixelSpacing", "0,4cm\\0,4cm", "no usable PixelSpacing"),
        ("ImagePositionPatient", "1\\2", "no usable ImagePositionPatient"),
        ("RescaleSlope", "1\\2", "no usable RescaleSlope"),
        ("RescaleType", "MGML", "values are in MGML, not HU"),
        ("RescaleType", "HU_MOD", "values are in HU_MOD, not HU"),
        ("RescaleType", "Doe^Jane", "values are in another unit, not HU"),
        ("RescaleType", "DOEJANE", "values are in another unit, not HU"),
        ("Modality", "MR", "modality MR, not CT"),
        ("Modality", "DOEJANE", "another modality, not CT"),
        ("Modality", "JANE_DOE_19720304", "another modality, not CT"),
        ("Rows", "many", "no image size"),
    ],
)
def test_values__that_mean_nothing_are_refused_once(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    write(tmp_path, [written(ds, name, text, "LO") for ds in Made().datasets()])
    assert reasons(tmp_path) == [f"{reason} (and 19 more files of the series)"]


def padded(datasets: list[Any], value: int) -> list[Any]:
    for ds in datasets:
        pixels = np.frombuffer(ds.PixelData, np.uint16).copy()
        pixels[:10], pixels[10:20] = value, 0
        ds.PixelData = pixels.tobytes()
    return datasets


@pytest.mark.parametrize(
    ("vr", "value"), [("US", b"\x60\xea\0\0"), ("UN", b"\x60\xea\0\0"), ("LO", b"60000\\0 ")]
)
def test_padding__of_two_values(tmp_path: Path, vr: str, value: bytes) -> None:
    datasets = padded(Made().datasets(), 60000)
    for ds in datasets:
        tag = Tag("PixelPaddingValue")
        ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert (volume.hu[:, 0, :20] == -1024).all()
    np.testing.assert_array_equal(volume.hu[:, 1:], expected()[:, 1:])
    assert volume.warnings == ()


def test_padding__that_is_no_number_is_none(tmp_path: Path) -> None:
    write(tmp_path, [written(ds, "PixelPaddingValue", "air", "LO") for ds in Made().datasets()])
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


@pytest.mark.parametrize(
    ("name", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)]
)
@pytest.mark.parametrize("padding", [None, -9999.0, float("nan")])
def test_float_pixels(tmp_path: Path, name: str, dtype: Any, padding: float | None) -> None:
    datasets = Made().datasets(RescaleSlope=None, RescaleIntercept=None)
    for ds, hu in zip(datasets, expected(), strict=True):
        values = hu.astype(dtype) + dtype(0.25)
        if padding is not None:
            values[0, :10] = padding
            ds.FloatPixelPaddingValue = padding
        del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
        ds.BitsAllocated = 8 * values.dtype.itemsize
        setattr(ds, name, values.tobytes())
    write(tmp_path, datasets)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu[:, 1:], expected()[:, 1:])
    assert (volume.hu[:, 0, :10] == (-1000 if padding is None else -1024)).all()
    assert volume.warnings == ("rescale: no slope and intercept",)


def test_a_header_that_breaks_pydicom__is_one_line_a_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ubr.pretrain.data.dicom import headers

    def broken(*_: object) -> None:
        raise KeyError("Doe^Jane")

    write(tmp_path, Made().datasets())
    monkeypatch.setattr(headers, "slices_in", broken)
    assert reasons(tmp_path) == [
        "damaged DICOM header (KeyError) (and 19 more files of the series)"
    ]
    assert find.find_series([tmp_path])[0] == []
