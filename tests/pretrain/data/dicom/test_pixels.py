"""Pixels: HU by each slice's header, compressed, damaged and multi-frame files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ubr.pretrain.data import find
from ubr.pretrain.data.volume import UnusableError

from ....made.dicom import Made, X, Y, Z, encode, enhanced, expected, write
from ....made.scans import codes, cut, only, reasons


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    made = Made()
    write(
        tmp_path,
        [
            made.dataset(k, RescaleSlope=(1, 2, 0.5)[k % 3], RescaleIntercept=-1000 - 8 * k)
            for k in range(len(Z))
        ],
    )
    assert np.abs(only(tmp_path).hu.astype(int) - expected()).max() <= 1  # half a slope of 2


def test_a_scan_without_rescale_that_is_hu_is_taken(tmp_path: Path) -> None:
    write(
        tmp_path, Made().datasets(RescaleSlope=None, RescaleIntercept=None, PixelRepresentation=1)
    )
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert codes(volume) == ["rescale"]


def test_a_scan_without_rescale_that_is_not_hu_is_refused(tmp_path: Path) -> None:
    datasets = Made().datasets()
    for ds in datasets:
        del ds.RescaleSlope, ds.RescaleIntercept
    write(tmp_path, datasets)
    with pytest.raises(
        UnusableError, match=r"no rescale slope and intercept, and values 24\..\d+ are not HU"
    ):
        only(tmp_path)


def test_rescale_that_is_missing_in_part_is_refused(tmp_path: Path) -> None:
    datasets = Made().datasets()
    del datasets[2].RescaleSlope
    write(tmp_path, datasets)
    with pytest.raises(UnusableError, match="1 of 20 slices have no rescale slope and intercept"):
        only(tmp_path)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_is_air(tmp_path: Path, value: int, signed: int) -> None:
    """Also where the padding value is written as unsigned and the pixels are signed, or the other
    way round.
    """
    datasets = Made().datasets(
        PixelRepresentation=signed, RescaleIntercept=5000 if signed else -1024
    )
    for ds in datasets:
        pixels = np.frombuffer(ds.PixelData, np.int16).copy()
        pixels[:10] = -2000
        ds.PixelData = pixels.tobytes()
        ds.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert (volume.hu[:, 0, :10] == -1024).all()
    np.testing.assert_array_equal(volume.hu[:, 1:], expected()[:, 1:])
    assert volume.warnings == ()


def test_metal_is_clipped_and_recorded(tmp_path: Path) -> None:
    datasets = Made().datasets()
    pixels = np.frombuffer(datasets[3].PixelData, np.uint16).copy()
    pixels[:3] = [4095, 4096, 30000]
    datasets[3].PixelData = pixels.tobytes()
    write(tmp_path, datasets)
    volume = only(tmp_path)
    assert volume.hu[3, 0, :3].tolist() == [3071, 3071, 3071]
    assert volume.warnings == ("clipped: 2 voxels above 3071 HU, up to 28976",)


def test_unused_bits_are_not_read(tmp_path: Path) -> None:
    datasets = Made().datasets(BitsStored=12, HighBit=11)
    for ds in datasets:
        ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0xA000).tobytes()
    write(tmp_path, datasets)
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


def test_monochrome1_is_only_a_way_to_display(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


def test_values_in_another_unit_are_refused(tmp_path: Path) -> None:
    write(tmp_path, Made().datasets(RescaleType="Z_EFF"))
    assert reasons(tmp_path) == ["values are in Z_EFF, not HU (and 19 more files of the series)"]


def test_one_damaged_file_of_twenty_is_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    cut(paths[5], 0.8)
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 5, axis=0))
    assert volume.warnings[0] == "unreadable: 1 of 20 files (truncated or damaged (ValueError))"
    assert codes(volume) == ["unreadable", "gap"]


def test_three_damaged_files_of_twenty_are_too_many(tmp_path: Path) -> None:
    for path in write(tmp_path, Made().datasets())[:3]:
        cut(path, 0.8)
    with pytest.raises(UnusableError, match="3 of 20 files cannot be read: truncated or damaged"):
        only(tmp_path)


def test_a_header_cut_short_is_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    cut(paths[0], 0.1)
    cut(paths[1], 135 / paths[1].stat().st_size)
    series, left = find.find_series([tmp_path])
    assert [len(s.files) for s in series] == [18]
    assert {o.path for o in left} == {str(paths[0]), str(paths[1])}


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
@pytest.mark.parametrize("signed", [0, 1])
def test_compressed_pixels(tmp_path: Path, syntax: str, signed: int) -> None:
    made = Made([(X[0], Y[0], z) for z in Z[:6]])
    for path in write(
        tmp_path, made.datasets(PixelRepresentation=signed, RescaleIntercept=0 if signed else -1024)
    ):
        encode(path, getattr(gdcm.TransferSyntax, syntax))
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(only(tmp_path).hu, expected()[:6])


def test_rle__is_decoded_by_the_fast_library_to_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydicom takes the first decoder that is there; its own is several times as slow."""
    rle = pytest.importorskip("rle", reason="pylibjpeg-rle is not installed")
    pylibjpeg = import_module("pydicom.pixels.decoders.pylibjpeg")
    (path,) = write(tmp_path, Made([(X[0], Y[0], Z[0])]).datasets())
    encode(path, gdcm.TransferSyntax.RLELossless)
    decoder = get_decoder(RLELossless)
    ds = pydicom.dcmread(path)
    slow, _ = decoder.as_array(ds, decoding_plugin="pydicom")
    used: list[bool] = []
    fast = rle.decode_pixel_data

    def spy(*args: Any, **options: Any) -> Any:
        used.append(True)
        return fast(*args, **options)

    monkeypatch.setitem(pylibjpeg._DECODERS[RLELossless], "rle", spy)
    np.testing.assert_array_equal(ds.pixel_array, slow)
    assert used


def test_a_damaged_compressed_slice(tmp_path: Path) -> None:
    paths = write(tmp_path, Made().datasets())
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    cut(paths[2], 0.7)
    volume = only(tmp_path)
    assert codes(volume) == ["unreadable", "gap"]
    np.testing.assert_array_equal(volume.hu, np.delete(expected(), 2, axis=0))


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_other_ways_to_write_a_data_set(tmp_path: Path, syntax: str) -> None:
    datasets = Made().datasets()
    for ds in datasets:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).astype(">u2").tobytes()
    missing = Made().dataset(0, PixelData=None)
    missing.file_meta.TransferSyntaxUID = syntax
    write(tmp_path, [*datasets, missing])
    np.testing.assert_array_equal(only(tmp_path).hu, expected())
    assert reasons(tmp_path) == ["no pixel data"]


def test_files_without_preamble(tmp_path: Path) -> None:
    for number, ds in enumerate(Made().datasets()):
        del ds.file_meta
        pydicom.dcmwrite(tmp_path / str(number), ds, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(only(tmp_path).hu, expected())


def test_enhanced_ct_is_read_by_its_frames_geometry(tmp_path: Path) -> None:
    write(tmp_path, [enhanced(np.random.default_rng(4).permutation(len(Z)))])
    volume = only(tmp_path)
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == (5.0, 4.0, 4.0)
    assert volume.warnings == ()


def test_frames_without_functional_groups_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [Made().dataset(0, NumberOfFrames=2)])
    assert reasons(tmp_path) == ["several frames without functional groups"]


def test_real_plain_series_equals_its_nifti(shared: Path) -> None:
    """The same scan went through another converter: same order, sides and HU."""
    ours = only(shared / "ct" / "dicom" / "lungdx_chest_8mm")
    theirs = only(shared / "ct" / "torso" / "dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz")
    assert ours.warnings == ()
    assert ours.hu.shape == (30, 512, 512)
    assert theirs.spacing_mm == pytest.approx((8.0, 2 * ours.spacing_mm[1], 2 * ours.spacing_mm[2]))
    halved = ours.hu.reshape(30, 256, 2, 256, 2).mean(axis=(2, 4))
    similar = [
        np.corrcoef(halved.ravel(), turned.ravel())[0, 1]
        for turned in (theirs.hu, theirs.hu[::-1], theirs.hu[:, :, ::-1])
    ]
    assert similar[0] > 0.99
    assert similar[0] > max(similar[1:]) + 0.1


def test_real_jpeg_2000_series_without_identifiers(shared: Path) -> None:
    (series,), left = find.find_series([shared / "ct" / "dicom" / "totalseg_jpeg2000_20"])
    volume = find.read_volume(series)
    assert left == []
    assert series.patient == ""
    assert volume.hu.shape == (20, 512, 512)
    assert volume.spacing_mm == (2.0, 0.9765625, 0.9765625)
    assert volume.warnings == ()


@pytest.mark.parametrize(("bits", "high"), [(3, 11), (12, 15), (16, 11)])
def test_bits_that_contradict_each_other_are_refused(tmp_path: Path, bits: int, high: int) -> None:
    made = Made()
    sound = [made.dataset(k, BitsStored=12, HighBit=11) for k in range(len(Z))]
    write(tmp_path / "sound", sound)
    np.testing.assert_array_equal(only(tmp_path / "sound").hu, expected())
    write(tmp_path / "damaged", [made.dataset(k, BitsStored=bits, HighBit=high) for k in range(20)])
    with pytest.raises(UnusableError, match=f"BitsStored {bits} and HighBit {high} contradict"):
        only(tmp_path / "damaged")


@pytest.mark.parametrize("place", [0, 700, 2000])
@pytest.mark.parametrize("length", [12, 16, 64])
def test_bytes_between_the_pixels_are_damage(tmp_path: Path, place: int, length: int) -> None:
    """What they push out behind the pixels reads as tags."""
    paths = write(tmp_path, Made().datasets())
    for seed in range(3):
        data = paths[5 + 5 * seed].read_bytes()
        at = len(data) - 2400 + place
        more = np.random.default_rng(seed).bytes(length)
        paths[5 + 5 * seed].write_bytes(data[:at] + more + data[at:])
    with pytest.raises(UnusableError, match="3 of 20 files cannot be read"):
        only(tmp_path)
