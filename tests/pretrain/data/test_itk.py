"""NRRD and MetaImage: direction from the header, one clear reason for a refusal."""

from __future__ import annotations

import gzip
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.pretrain.data import find
from ubr.pretrain.data.affine import SURPLUS
from ubr.pretrain.data.volume import UnusableError

from ...made.dicom import X, Y, Z, expected
from ...made.odd import latin_folder
from ...made.scans import only, refusal

DAMAGED = "damaged or truncated file, or not what its ending says"


def itk_image(axes: tuple[int, ...] = (0, 1, 2)) -> Any:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(expected()))
    image.SetSpacing((4.0, 4.0, 5.0))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    image.SetOrigin((X[0], Y[0], Z[0]))
    return sitk.PermuteAxes(image, axes)


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_itk_files_in_any_order_of_axes(tmp_path: Path, name: str, axes: tuple[int, ...]) -> None:
    import SimpleITK

    SimpleITK.WriteImage(itk_image(axes), str(tmp_path / name))
    series, left = find.find_series([tmp_path])
    assert left == []  # the data file beside a .mhd or .nhdr belongs to it
    volume = find.read_volume(series[0])
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == pytest.approx((5, 4, 4))
    assert volume.warnings == ()


def test_the_uid_of_a_detached_header_covers_its_data(tmp_path: Path) -> None:
    import SimpleITK

    for folder, image in (("a", itk_image()), ("b", itk_image() + 1)):
        (tmp_path / folder).mkdir()
        SimpleITK.WriteImage(image, str(tmp_path / folder / "ct.mhd"), useCompression=False)
    assert len({s.uid for s in find.find_series([tmp_path])[0]}) == 2


def test_itk_files_without_direction_are_refused(tmp_path: Path) -> None:
    raw = expected().tobytes()
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 40 30 20\nElementSpacing = 4 4 "
        "5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(header.encode() + raw)
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 40 30 20\nspacings: 4 4 5\nendian: "
        "little\nencoding: raw\n\n"
    )
    (tmp_path / "b.nrrd").write_bytes(header.encode() + raw)
    assert (
        refusal(tmp_path / "a.mha")
        == "the header does not give the image's orientation in the patient (no TransformMatrix)"
    )
    assert (
        refusal(tmp_path / "b.nrrd")
        == "the header does not give the image's orientation in the patient (no space directions)"
    )


def test_itk_refusals(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = itk_image()
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(tmp_path / "four.nrrd"))
    sitk.WriteImage(sitk.Compose([image, image]), str(tmp_path / "vector.mha"))
    sitk.WriteImage(image, str(tmp_path / "cut.mha"))
    cut = tmp_path / "cut.mha"
    cut.write_bytes(cut.read_bytes()[:2000])
    assert refusal(tmp_path / "four.nrrd") == "4-D: 2 volumes; give one 3-D volume per file"
    assert refusal(tmp_path / "vector.mha") == "2 values per voxel, not one"
    assert refusal(cut) == "damaged or truncated file, or not what its ending says"


def test_without_simpleitk_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ct.mha").write_bytes(b"TransformMatrix")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert (
        refusal(tmp_path / "ct.mha")
        == 'reading MetaImage needs SimpleITK: pip install "ubr-pretrain[itk]"'
    )


MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 -1"
UNSAID = "the header does not give the image's orientation in the patient (no TransformMatrix)"


def write_mha(path: Path, *lines: str, voxels: bytes | None = None) -> Path:
    """A MetaImage of the body with these lines beside those that say no geometry."""
    header = ["ObjectType = Image", "NDims = 3", "DimSize = 40 30 20", *lines]
    text = "\n".join([*header, "ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""])
    path.write_bytes(text.encode() + (expected().tobytes() if voxels is None else voxels))
    return path


def test_read_itk__a_metaimage_under_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """In SimpleITK it would end the process."""
    pytest.importorskip("SimpleITK")
    folder = latin_folder(tmp_path)
    path = write_mha(folder / "a.mha", MATRIX, "ElementSpacing = 4 4 5")
    assert refusal(path).startswith("SimpleITK opens no MetaImage whose path is not UTF-8; rename")
    named = path.rename(Path(os.fsdecode(bytes(tmp_path) + b"/M\xfcller.mha")))
    assert refusal(named).startswith("SimpleITK opens no MetaImage whose path is not UTF-8; rename")
    assert only(named.rename(tmp_path / "a.mha")).hu.shape == expected().shape


@pytest.mark.parametrize(
    "lines",
    [
        ("AnatomicalOrientation = RAI",),
        ("Comment = TransformMatrix",),
        ("Comment = Orientation Rotation",),
        ("transformmatrix = 1 0 0 0 1 0 0 0 -1",),
        ("CenterOfRotation = 0 0 0",),
        (),
    ],
)
def test_read_itk__a_matrix_must_be_a_field_of_its_own(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    path = write_mha(tmp_path / "ct.mha", "ElementSpacing = 4 4 5", *lines)
    assert refusal(path) == UNSAID


def test_read_itk__a_matrix_among_the_voxels_is_none(tmp_path: Path) -> None:
    said = f"\n{MATRIX}\n".encode()
    voxels = said + expected().tobytes()[len(said) :]
    path = write_mha(tmp_path / "ct.mha", "ElementSpacing = 4 4 5", voxels=voxels)
    assert refusal(path) == UNSAID


@pytest.mark.parametrize(
    "lines",
    [
        (MATRIX, "ElementSpacing = 4 4 5"),
        (MATRIX, "ElementSize = 4 4 5"),
        (MATRIX.replace("TransformMatrix", "Orientation"), "ElementSpacing = 4 4 5"),
        (MATRIX.replace("TransformMatrix", "Rotation"), "ElementSpacing = 4 4 5"),
        (MATRIX, MATRIX, "ElementSpacing = 4 4 5"),
        (MATRIX, "ElementSpacing = 4 4 5", "AnatomicalOrientation = RAS"),
        (MATRIX, "ElementSpacing = 4 4 5", "AnatomicalOrientation = LPI"),
        (MATRIX, "ElementSpacing = 4 4 5", "AnatomicalOrientation = ???"),
        (MATRIX, "ElementSpacing = 0.4 0.4 0.5", "DistanceUnits = cm"),
        (MATRIX, "ElementSpacing = 4 4 5", "Comment = Orientation of a body: none"),
    ],
)
def test_read_itk__what_states_a_direction_is_read(tmp_path: Path, lines: tuple[str, ...]) -> None:
    pytest.importorskip("SimpleITK")
    volume = only(write_mha(tmp_path / "ct.mha", *lines))
    np.testing.assert_array_equal(volume.hu, expected())
    assert volume.spacing_mm == pytest.approx((5, 4, 4))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((MATRIX,), "the header does not say how large a voxel is (no ElementSpacing)"),
        ((MATRIX, "ElementSpacing = 4 4 -5"), "ElementSpacing is 4 4 -5: sizes are above 0"),
        ((MATRIX, "ElementSpacing = 4 4 0"), "ElementSpacing is 4 4 0: sizes are above 0"),
        ((MATRIX, "ElementSpacing = 4 4 x"), "ElementSpacing holds something else than numbers"),
        (
            ("TransformMatrix = 2 0 0 0 2 0 0 0 -2", "ElementSpacing = 4 4 5"),
            "TransformMatrix has axes of length 2 x 2 x 2, and sizes stand in ElementSpacing",
        ),
        (
            (MATRIX, "Orientation = 1 0 0 0 1 0 0 0 1", "ElementSpacing = 4 4 5"),
            "TransformMatrix and Orientation should be one matrix",
        ),
        (
            (MATRIX, MATRIX.replace("-1", "1"), "ElementSpacing = 4 4 5"),
            "the header contradicts itself: a field is given twice",
        ),
        (
            (MATRIX, "ElementSpacing = 4 4 5", "AnatomicalOrientation = RAI"),
            "the header's TransformMatrix and AnatomicalOrientation disagree on where the head is",
        ),
        ((MATRIX, "ElementSpacing = 4 4 5", "DistanceUnits = inch"), "DistanceUnits is none of mm"),
        ((MATRIX, "ElementSpacing = 4 4 5", "DistanceUnits = cm"), "a pixel of 40 mm"),
        (("TransformMatrix = 1 0 0 1", "ElementSpacing = 4 4 5"), "should be one matrix"),
    ],
)
def test_read_itk__headers_that_contradict_themselves_are_refused(
    tmp_path: Path, lines: tuple[str, ...], reason: str
) -> None:
    pytest.importorskip("SimpleITK")
    assert reason in refusal(write_mha(tmp_path / "ct.mha", *lines))


@pytest.mark.parametrize("name", ["ct.mhd", "ct.mha"])
@pytest.mark.parametrize("form", ["voxels%02d.raw 0 19 1", "LIST"])
def test_read_itk__voxels_in_many_files(tmp_path: Path, name: str, form: str) -> None:
    pytest.importorskip("SimpleITK")
    names = [f"voxels{k:02d}.raw" for k in range(20)]
    for one, slice_ in zip(names, expected(), strict=True):
        (tmp_path / one).write_bytes(slice_.tobytes())
    header = write_mha(tmp_path / name, MATRIX, "ElementSpacing = 4 4 5", voxels=b"")
    rest = "\n".join(names) + "\n" if form == "LIST" else ""
    header.write_text(header.read_text().replace("LOCAL", form) + rest)
    series, left = find.find_series([tmp_path])
    assert (len(series), len(series[0].files), left) == (1, 21, [])
    np.testing.assert_array_equal(find.read_volume(series[0]).hu, expected())
    (tmp_path / names[3]).unlink()
    assert refusal(header) == "a data file that the header names is missing"


@pytest.mark.parametrize("form", ["{}/voxels", "../voxels", "LIST\n../voxels"])
def test_read_itk__data_outside_the_headers_folder_are_not_read(tmp_path: Path, form: str) -> None:
    pytest.importorskip("SimpleITK")
    (tmp_path / "scans").mkdir()
    (tmp_path / "voxels").write_bytes(expected().tobytes())
    path = write_mha(tmp_path / "scans" / "ct.mhd", MATRIX, "ElementSpacing = 4 4 5", voxels=b"")
    path.write_text(path.read_text().replace("LOCAL", form.format(tmp_path)))
    (series,), _ = find.find_series([path])
    assert series.files == (str(path),)
    assert refusal(path).startswith("the header names a data file outside its folder; put")


def packed_itk(folder: Path, name: str) -> tuple[Path, Path, bytes, int]:
    """A packed MetaImage: its header, the file of its voxels, that file's bytes, and where in them
    the voxels begin.
    """
    sitk = pytest.importorskip("SimpleITK")
    path = folder / name
    sitk.WriteImage(itk_image(), str(path), useCompression=True)
    packed = path if name == "ct.mha" else folder / "ct.zraw"
    whole = packed.read_bytes()
    return path, packed, whole, whole.index(b"LOCAL\n") + 6 if name == "ct.mha" else 0


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd"])
def test_read_itk__a_flipped_bit_in_packed_voxels_gives_no_others(
    tmp_path: Path, name: str
) -> None:
    path, packed, whole, first = packed_itk(tmp_path, name)
    refused = 0
    for k in range(first, len(whole), 31):
        packed.write_bytes(whole[:k] + bytes([whole[k] ^ 16]) + whole[k + 1 :])
        try:
            np.testing.assert_array_equal(only(path).hu, expected())
        except UnusableError as error:
            assert str(error) == "damaged or truncated file, or not what its ending says"
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("NDims", "1e+38"),
        ("NDims", "10000000000"),
        ("NDims", "2"),
        ("DimSize", "40 30"),
        ("DimSize", "40 30 10000000000"),
        ("DimSize", "40 -30 20"),
        ("DimSize", "40 NaN 20"),
        ("ElementType", "MET_STRING"),
        ("ElementSpacing", "1e+38"),
        ("BinaryData", "Infinity"),
        ("ElementType", "10000000000"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_read_itk__a_wild_header_is_refused_before_itk_reads_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], packed: bool, field: str, value: str
) -> None:
    import SimpleITK

    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(itk_image(), str(path), useCompression=packed)
    before, _, after = path.read_bytes().partition(f"{field} = ".encode())
    path.write_bytes(before + f"{field} = {value}\n".encode() + after.partition(b"\n")[2])
    refusal(path)
    assert capfd.readouterr() == ("", "")  # ITK prints lines of its own


@pytest.mark.parametrize("packed", [False, True])
def test_read_itk__more_or_fewer_voxels_than_the_header_says_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], packed: bool
) -> None:
    import SimpleITK

    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(itk_image(), str(path), useCompression=packed)
    whole = path.read_bytes()
    others = [whole.replace(b"DimSize = 40 30 20", b"DimSize = 40 30 21")]
    if not packed:
        others += [whole[:-1], whole[:2000] + whole[3000:]]
    for other in others:
        path.write_bytes(other)
        assert refusal(path) == "damaged or truncated file, or not what its ending says"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd"])
def test_read_itk__packed_voxels_in_several_streams_or_too_few_are_refused(
    tmp_path: Path, name: str
) -> None:
    """SimpleITK reads the first stream, and gives what lay in memory for the rest."""
    path, packed, whole, first = packed_itk(tmp_path, name)
    voxels = zlib.decompress(whole[first:])
    whole_stream, longer = gzip.compress(voxels), gzip.compress(voxels[::-1] + b"more")
    for content, reason in (
        (whole_stream, ""),
        (longer, SURPLUS),
        (longer[:-8], SURPLUS),  # a flipped bit can hide the end of a stream, and its checksum
        (gzip.compress(voxels[:3000]) + gzip.compress(voxels[3000:]), DAMAGED),
        (gzip.compress(voxels[:9000]) + gzip.compress(voxels[9000:]) + whole_stream, DAMAGED),
        (gzip.compress(voxels[:-2]), DAMAGED),
    ):
        header = path.read_bytes() if name == "ct.mhd" else whole[:first]
        size = re.sub(
            rb"CompressedDataSize = \d+", b"CompressedDataSize = %d" % len(content), header
        )
        path.write_bytes(size)
        packed.write_bytes((size if name == "ct.mha" else b"") + content)
        if not reason:
            np.testing.assert_array_equal(only(path).hu, expected())
        else:
            assert refusal(path) == reason


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd"])
def test_read_itk__bytes_among_raw_voxels_are_told(tmp_path: Path, name: str) -> None:
    import SimpleITK

    SimpleITK.WriteImage(itk_image(), str(tmp_path / name), useCompression=False)
    data = tmp_path / name if name in ("ct.nrrd", "ct.mha") else tmp_path / "ct.raw"
    whole = data.read_bytes()
    for at in (len(whole) - 40_000, len(whole) - 7, len(whole)):
        data.write_bytes(whole[:at] + b"in" + whole[at:])
        assert "more bytes than its header says" in refusal(tmp_path / name)
