"""Rates from DICOM: what is compressed keeps its pixels, and each ratio has its own yardstick."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks import from_dicom
from benchmarks.common.peers.scans import scans
from benchmarks.common.timed import Taken


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scans(tmp_path_factory.mktemp("made"), 30, "dicom", 2, size_px=32)


def test_compress__keeps_pixels_and_uids(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    shutil.copytree(folder, packed)
    for _ in range(2):  # a second time there is nothing left to do
        from_dicom.compress(packed)
    files = sorted(folder.rglob("*.dcm"))
    assert len(files) == 60 and from_dicom.decode(files) == 60 * 32 * 32
    for file in files:
        before, after = (pydicom.dcmread(f) for f in (file, packed / file.relative_to(folder)))
        assert after.file_meta.TransferSyntaxUID.is_compressed
        assert after.SOPInstanceUID == before.SOPInstanceUID
        np.testing.assert_array_equal(after.pixel_array, before.pixel_array)


def test_round__compares_each_with_its_yardstick(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([10.0, 18.0, 30.0])  # ingest in one process, in two; score
    monkeypatch.setattr(from_dicom, "timed", lambda *_: Taken(60 / next(rates), 0.0))
    monkeypatch.setattr(from_dicom, "decoding", lambda files, count: 20.0 * count)
    monkeypatch.setattr(from_dicom, "network", lambda weights: 35.0)
    monkeypatch.setattr(from_dicom, "cores", lambda: 2)
    found = from_dicom.one_round(folder, tmp_path, tmp_path / "weights")
    assert list(found.values()) == [(35.0, 30.0), (20.0, 10.0), (10.0, 18.0)]
