"""What strangers' folders and headers hold: entries that are no files, values that are no
numbers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from ubr.pretrain.data.index import Index

from .dicom import Made

LATIN = b"M\xfcnster"
"""A name that is not UTF-8."""


@contextmanager
def odd_entries(folder: Path) -> Iterator[dict[str, str]]:
    """Every odd entry that a folder may hold, and the reason for each by its name."""
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "pipe.dcm")
    (folder / "loop").symlink_to("loop")
    (folder / "here").symlink_to("there")
    (folder / "there").symlink_to("here")
    (folder / "gone").symlink_to("nowhere")
    (folder / "long").symlink_to("x" * 300)
    (folder / "through").symlink_to("pipe.dcm/inside")
    (folder / "zero.nii").symlink_to("/dev/zero")
    (folder / "pipe.nii.gz").symlink_to("pipe.dcm")
    (folder / "parent").symlink_to("..")
    (folder / ".hidden").write_bytes(b"hidden")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.txt")).write_text("no CT")
    (folder / "two\nlines").write_text("no CT")
    listening = socket.socket(socket.AF_UNIX)
    before = Path.cwd()
    os.chdir(folder)  # the whole path is longer than a socket's may be
    listening.bind("socket")
    os.chdir(before)
    unreadable = "the file cannot be read (%s)"
    nothing = "not DICOM, NIfTI, NRRD, MetaImage or PNG"
    try:
        yield {
            "pipe.dcm": "a named pipe, not a file",
            "pipe.nii.gz": "a named pipe, not a file",
            "socket": "a socket, not a file",
            "zero.nii": "a device, not a file",
            "loop": unreadable % "Too many levels of symbolic links",
            "here": unreadable % "Too many levels of symbolic links",
            "there": unreadable % "Too many levels of symbolic links",
            "gone": unreadable % "No such file or directory",
            "long": unreadable % "File name too long",
            "through": unreadable % "Not a directory",
            ".hidden": "hidden (the name begins with a dot); give it as a source of its own to "
            "have it read",
            os.fsdecode(b"\xff\xfe.txt"): nothing,
            "two\nlines": nothing,
        }
    finally:
        listening.close()


def latin_folder(parent: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(parent) + b"/" + LATIN))
    folder.mkdir(parents=True)
    return folder


def lost(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """The file is gone once its header has been read, as one behind a bad sector might as well be:
    what is read to its end later fails.
    """
    ended = Index.end_search

    def end_search(index: Index) -> None:
        ended(index)
        path.unlink(missing_ok=True)

    monkeypatch.setattr(Index, "end_search", end_search)


def written(ds: Dataset, name: str, text: str, vr: str = "DS") -> Dataset:
    """The data set with a value as it stands in the file, whether its type allows it or not."""
    value = text.encode() + b" " * (len(text) % 2)
    ds[name] = RawDataElement(Tag(name), vr, len(value), value, 0, False, True)
    return ds


def brighter(datasets: Sequence[Dataset], hu: int = 24) -> list[Dataset]:
    """Slices of the same headers whose values are `hu` higher: another phase, another patient."""
    for ds in datasets:
        ds.RescaleIntercept = int(ds.RescaleIntercept) + hu
    return list(datasets)


def two_at_each_place(second: dict[str, object], apart_mm: float = 0.0) -> list[Dataset]:
    """The body twice in one series, the second `apart_mm` lower, 24 HU brighter, and with tags of
    its own. A callable among the tags is called with the slice's number.
    """
    made = Made()
    other = Made(
        [(x, y, z - apart_mm) for x, y, z in made.corners], series=made.series, study=made.study
    )
    tags = [
        {name: v(k) if callable(v) else v for name, v in second.items()}
        for k in range(len(made.corners))
    ]
    return made.datasets() + brighter([other.dataset(k, **tags[k]) for k in range(len(tags))])


def concatenated(whole: Dataset, parts: int) -> list[Dataset]:
    """An enhanced object split into files, as DICOM PS3.3 C.7.6.16.2.2.4 has it."""
    frames = whole.PerFrameFunctionalGroupsSequence
    size = len(whole.PixelData) // len(frames)
    uid = generate_uid()
    files = []
    for part in range(parts):
        first, stop = (len(frames) * k // parts for k in (part, part + 1))
        ds = deepcopy(whole)
        ds.SOPInstanceUID = generate_uid()
        ds.ConcatenationUID, ds.InConcatenationNumber = uid, part + 1
        ds.InConcatenationTotalNumber, ds.ConcatenationFrameOffsetNumber = parts, first
        ds.PerFrameFunctionalGroupsSequence = frames[first:stop]
        ds.NumberOfFrames = stop - first
        ds.PixelData = whole.PixelData[first * size : stop * size]
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        files.append(ds)
    return files
