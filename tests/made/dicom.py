"""A made-up body, given as a function of position, and DICOM files of it written by pydicom.

Because every slice is sampled from the same function at the places its header claims, a reader that
understands the header gives the same volume however the slices are turned, and one that does not
gives another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

X = np.arange(-80.0, 80.0, 4.0)
"""mm to the patient's left of the columns, in the project's order."""
Y = np.arange(-60.0, 60.0, 4.0)
Z = np.arange(100.0, 0.0, -5.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def body(places: NDArray[np.float64]) -> NDArray[np.int16]:
    """HU at LPS places `[..., 3]`.

    An elliptic body, brighter to the left, the back and the head, with one lung on the right.
    """
    x, y, z = np.moveaxis(places, -1, 0)
    hu = 40 + x + 2 * y + 3 * z
    hu = np.where(((x + 30) / 22) ** 2 + (y / 25) ** 2 < 1, -800 + z, hu)
    return np.where((x / 75) ** 2 + (y / 55) ** 2 < 1, hu, -1000).round().astype(np.int16)


def expected() -> NDArray[np.int16]:
    """The body on X, Y, Z as a `Volume` holds it."""
    z, y, x = np.meshgrid(Z, Y, X, indexing="ij")
    return body(np.stack([x, y, z], axis=-1))


def places(
    corner: Sequence[float],
    orientation: Sequence[float],
    size: tuple[int, int],
    pixel_mm: tuple[float, float],
) -> NDArray[np.float64]:
    """LPS of every pixel, by the equation of DICOM PS3.3 C.7.6.2.1.1."""
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    rows, columns = np.arange(size[0]) * pixel_mm[0], np.arange(size[1]) * pixel_mm[1]
    return np.array(corner) + rows[:, None, None] * down + columns[None, :, None] * right


@dataclass
class Made:
    """A series to be written: the defaults are X, Y, Z, supine, head first, one file a slice."""

    corners: list[tuple[float, ...]] = field(default_factory=lambda: [(X[0], Y[0], z) for z in Z])
    orientation: Sequence[float] = AXIAL
    size: tuple[int, int] = (len(Y), len(X))
    pixel_mm: tuple[float, float] = (4.0, 4.0)
    series: str = field(default_factory=generate_uid)
    study: str = field(default_factory=generate_uid)

    def dataset(self, number: int, **tags: Any) -> Dataset:
        """Slice `number` of the series; `tags` replace its own, None removes a tag."""
        hu = body(places(self.corners[number], self.orientation, self.size, self.pixel_mm))
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, generate_uid(), "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientName, ds.PatientID, ds.StudyDate = "Secret^Name", "SECRET-ID", "19700101"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study, self.series
        ds.InstanceNumber, ds.AcquisitionNumber = number + 1, 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = (
            list(self.corners[number]),
            list(self.orientation),
        )
        ds.PixelSpacing, ds.SliceThickness = list(self.pixel_mm), 5.0
        ds.Rows, ds.Columns = self.size
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        slope, intercept = (
            tags.get("RescaleSlope", 1) or 1,
            tags.get("RescaleIntercept", -1024) or 0,
        )
        dtype = np.int16 if tags.get("PixelRepresentation") else np.uint16
        ds.PixelData = ((hu - float(intercept)) / float(slope)).round().astype(dtype).tobytes()
        for name, value in tags.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID") or CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID") or "1.2"
        return ds

    def datasets(self, **tags: Any) -> list[Dataset]:
        return [self.dataset(number, **tags) for number in range(len(self.corners))]


def enhanced(order: np.ndarray[Any, Any], heights: np.ndarray[Any, Any] = Z) -> Dataset:
    """One object of enhanced CT whose frames are the body's slices at `heights`, in `order`."""
    made = Made([(X[0], Y[0], float(heights[k])) for k in order])
    frames = made.datasets()
    ds = made.dataset(0, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=len(frames))
    ds.PixelData = b"".join(frame.PixelData for frame in frames)
    moved = (
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
    )
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    for name, part in zip(moved, (orientation, measures, measures, values, values), strict=True):
        setattr(part, name, ds[name].value)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in frames:
        position, functional = Dataset(), Dataset()
        position.ImagePositionPatient = frame.ImagePositionPatient
        functional.PlanePositionSequence = [position]
        groups.append(functional)
    ds.PerFrameFunctionalGroupsSequence = groups
    for name in (*moved, "ImagePositionPatient"):
        delattr(ds, name)
    return ds


def write(folder: Path, datasets: Sequence[Dataset], *, seed: int = 0) -> list[Path]:
    """Write the data sets under shuffled names without an ending; paths in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(10_000)[: len(datasets)] + 10_000 * len(
        list(folder.iterdir())
    )
    paths = [folder / f"IM{name:06d}" for name in names]
    for path, ds in zip(paths, datasets, strict=True):
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return paths


def encode(path: Path, syntax: int) -> None:
    """Compress the pixels of a file in a transfer syntax of gdcm's."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
