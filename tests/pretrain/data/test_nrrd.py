"""NRRD: direction, size and unit only from what the header states, whatever packs the voxels."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ubr.pretrain.data import find
from ubr.pretrain.data.volume import UnusableError, Volume

from ...made.dicom import expected
from ...made.scans import only, refusal

VOXELS = expected().tobytes()
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "40 30 20",
    "space directions": "(4,0,0) (0,4,0) (0,0,-5)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-80,-60,100)",
}
UNSAID = "the header does not give the image's orientation in the patient"


def write(path: Path, voxels: bytes = VOXELS, *, lines: str = "", **changed: str | None) -> Path:
    """An NRRD file of the body. changed: fields with _ for a blank; None leaves one out."""
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changed.items()}}
    header = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(f"NRRD0005\n{lines}{header}\n".encode() + voxels)
    return path


def by_simpleitk(path: Path) -> Any:
    """Values with z from the head down, and spacing, as SimpleITK reads and turns them."""
    sitk: Any = pytest.importorskip("SimpleITK")
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    return sitk.GetArrayFromImage(image)[::-1], image.GetSpacing()[::-1]


def is_body(volume: Volume) -> bool:
    return bool((volume.hu == expected()).all() and np.allclose(volume.spacing_mm, (5, 4, 4)))


@pytest.mark.parametrize(
    ("space", "directions"),
    [
        ("left-posterior-superior", "(4,0,0) (0,4,0) (0,0,-5)"),
        ("Right-Anterior-Superior", "(-4,0,0) (0,-4,0) (0,0,-5)"),
        ("LAS", "(4,0,0) (0,-4,0) (0,0,-5)"),
        ("RAS", "(-4,0,0) (0,-4,0) (0,0,-5)"),
    ],
)
def test_read_grid__anatomical_spaces(tmp_path: Path, space: str, directions: str) -> None:
    path = write(tmp_path / "ct.nrrd", space=space, space_directions=directions)
    volume = only(path)
    assert is_body(volume)
    hu, spacing = by_simpleitk(path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.spacing_mm == pytest.approx(spacing)


@pytest.mark.parametrize(
    "changed",
    [
        {"space": None, "lines": "space dimension: 3\n"},
        {"space": "scanner-xyz"},
        {"space": "3D-right-handed"},
        {"space": "somewhere"},
        {"space": None, "lines": "# space: left-posterior-superior\nspace dimension: 3\n"},
        {"space": None, "lines": "space:=left-posterior-superior\nspace dimension: 3\n"},
        {"space_directions": None},
        {"space_directions": None, "lines": "# space directions: (4,0,0) (0,4,0) (0,0,5)\n"},
        {"space_directions": None, "lines": "note:=\n", "spacings": "4 4 5"},
        {"space_directions": "(4,0,0) (0,4,0) none"},
        {"space_directions": "none none none"},
        {"space_directions": "(4,0) (0,4) (0,0)"},
        {"space_directions": "(4,0,0) (0,4,0) (nan,nan,nan)"},
    ],
)
def test_read_grid__what_does_not_say_where_the_head_is_is_refused(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert refusal(write(tmp_path / "ct.nrrd", **changed)).startswith(UNSAID)


def test_read_grid__a_direction_among_the_voxels_is_none(tmp_path: Path) -> None:
    said = b"\nspace directions: (4,0,0) (0,4,0) (0,0,-5)\n"
    path = write(tmp_path / "ct.nrrd", said + VOXELS[len(said) :], space_directions=None)
    assert refusal(path).startswith(UNSAID)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1), ("cm", 0.1), ("m", 0.001), ("um", 1000), ("", 1)]
)
def test_read_grid__space_units_become_mm(tmp_path: Path, unit: str, factor: float) -> None:
    vectors = f"({4 * factor},0,0) (0,{4 * factor},0) (0,0,{-5 * factor})"
    units = " ".join([f'"{unit}"'] * 3)
    assert is_body(only(write(tmp_path / "ct.nrrd", space_units=units, space_directions=vectors)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"space_units": '"cm" "cm" "cm"'}, "a pixel of 40 mm is not plausible for CT"),
        ({"space_units": '"mm" "mm" "inch"'}, "the space units are none of mm, "),
        ({"space_units": '"mm" "mm"'}, "the space units are none of mm, "),
        ({"units": '"cm" "cm" "cm"'}, "the header's units and space units contradict each other"),
        (
            {"spacings": "4 4 2.5"},
            "the header's space directions and spacings disagree on the voxel's size: 4 x 4 x 5 "
            "and 4 x 4 x 2.5",
        ),
        ({"lines": "space directions: (4,0,0) (0,4,0) (0,0,5)\n"}, "a field is given twice"),
        ({"space_directions": "(4,0,0) (0,4,0)"}, "2 space directions for 3 axes"),
        ({"space_directions": "(4,0,0) (4,0,0) (0,0,5)"}, "the header's axes are degenerate"),
    ],
)
def test_read_grid__headers_that_contradict_themselves_are_refused(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(write(tmp_path / "ct.nrrd", **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"spacings": "4 4 5"},
        {"spacings": "nan nan nan"},
        {"units": '"mm" "mm" "mm"'},
        {"kinds": "domain domain domain"},
        {"lines": "# a comment: of mine\nmy key:=space directions: (1,0,0)\n"},
        {
            "dimension": "4",
            "sizes": "40 30 20 1",
            "space_directions": FIELDS["space directions"] + " none",
        },
        {
            "dimension": "4",
            "sizes": "1 40 30 20",
            "space_directions": "none " + FIELDS["space directions"],
        },
        {"type": "int16_t"},
        {"type": "Signed Short Int"},
    ],
)
def test_read_grid__what_is_said_once_more_or_beside_does_no_harm(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert is_body(only(write(tmp_path / "ct.nrrd", **changed)))


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gz", gzip.compress),
        ("bzip2", bz2.compress),
        ("bz2", bz2.compress),
        ("hex", lambda raw: raw.hex().encode()),
        ("ascii", lambda raw: " ".join(map(str, np.frombuffer(raw, "<i2"))).encode()),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_read_grid__encodings(tmp_path: Path, encoding: str, pack: Any, detached: bool) -> None:
    if detached:
        (tmp_path / "voxels").write_bytes(pack(VOXELS))
        write(tmp_path / "ct.nhdr", b"", encoding=encoding, data_file="voxels")
    else:
        write(tmp_path / "ct.nrrd", pack(VOXELS), encoding=encoding)
    series, left = find.find_series([tmp_path])
    assert (len(series), left) == (1, [])
    assert is_body(find.read_volume(series[0]))


@pytest.mark.parametrize("name", ["ct.nhdr", "ct.nrrd"])
@pytest.mark.parametrize("form", ["voxels%02d.raw 0 19 1", "LIST"])
def test_read_grid__voxels_in_many_files(tmp_path: Path, name: str, form: str) -> None:
    names = [f"voxels{k:02d}.raw" for k in range(20)]
    for one, slice_ in zip(names, expected(), strict=True):
        (tmp_path / one).write_bytes(slice_.tobytes())
    header = write(tmp_path / name, b"", data_file=form)
    if form == "LIST":
        header.write_text(header.read_text().rstrip() + "\n" + "\n".join(names) + "\n")
    series, left = find.find_series([tmp_path])
    assert (len(series), len(series[0].files), left) == (1, 21, [])
    assert is_body(find.read_volume(series[0]))
    (tmp_path / names[3]).unlink()
    assert refusal(tmp_path / name) == "a data file that the header names is missing"


@pytest.mark.parametrize("form", ["{}/voxels", "../voxels", "down/../../voxels", "LIST\n../voxels"])
def test_read_grid__data_outside_the_headers_folder_are_not_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "scans" / "down").mkdir(parents=True)
    (tmp_path / "voxels").write_bytes(VOXELS)
    path = write(tmp_path / "scans" / "ct.nhdr", b"", data_file=form.format(tmp_path))
    (series,), _ = find.find_series([path])
    assert series.files == (str(path),)  # nor does their content count
    assert refusal(path).startswith("the header names a data file outside its folder; put")


@pytest.mark.parametrize("form", ["{}/voxels", "down/voxels", "./down/voxels"])
def test_read_grid__data_in_the_headers_folder_or_below_are_read(tmp_path: Path, form: str) -> None:
    for folder in (tmp_path, tmp_path / "down"):
        folder.mkdir(exist_ok=True)
        (folder / "voxels").write_bytes(VOXELS)
    assert is_body(only(write(tmp_path / "ct.nhdr", b"", data_file=form.format(tmp_path))))


def test_read_grid__a_pipe_or_a_device_among_the_data_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        path = write(tmp_path / "ct.nhdr", b"", data_file=name)
        assert refusal(path) == "a data file that the header names is missing"


def test_read_grid__the_uid_of_a_detached_nrrd_covers_its_data(tmp_path: Path) -> None:
    for folder, shift in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "ct.nrrd", b"", data_file="voxels.raw")
        (tmp_path / folder / "voxels.raw").write_bytes((expected() + shift).tobytes())
    series, left = find.find_series([tmp_path])
    assert (len({one.uid for one in series}), left) == (2, [])


@pytest.mark.parametrize(("type_", "dtype"), [("float", "f4"), ("double", "f8"), ("int", "i4")])
@pytest.mark.parametrize(("endian", "order"), [("little", "<"), ("big", ">")])
def test_read_grid__types_and_orders_as_simpleitk_reads_them(
    tmp_path: Path, type_: str, dtype: str, endian: str, order: str
) -> None:
    voxels = expected().astype(order + dtype).tobytes()
    path = write(tmp_path / "ct.nrrd", voxels, type=type_, endian=endian)
    assert is_body(only(path))
    np.testing.assert_array_equal(only(path).hu, by_simpleitk(path)[0])


@pytest.mark.parametrize("skip", [{"byte_skip": "7"}, {"byte_skip": "-1"}, {"line_skip": "2"}])
def test_read_grid__skips(tmp_path: Path, skip: dict[str, Any]) -> None:
    path = tmp_path / "ct.nrrd"
    before = b"a\nbcde\n"
    assert is_body(only(write(path, before + VOXELS, **skip)))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_read_grid__a_flipped_bit_gives_no_other_voxels(
    tmp_path: Path, encoding: str, pack: Any
) -> None:
    packed = pack(VOXELS)
    refused = 0
    for k in range(0, len(packed), 31):
        voxels = packed[:k] + bytes([packed[k] ^ 16]) + packed[k + 1 :]
        try:
            assert is_body(only(write(tmp_path / "ct.nrrd", voxels, encoding=encoding)))
        except UnusableError as error:
            assert str(error) == "damaged or truncated file, or not what its ending says"
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "changed",
    [
        {"voxels": VOXELS[:-1]},
        {"voxels": b""},
        {"sizes": "40 30"},
        {"sizes": "40 30 -20"},
        {"sizes": "400000 300000 200000"},
        {"type": "quaternion"},
        {"type": None},
        {"endian": None},
        {"encoding": "gzip"},
        {"space_origin": "(a,b,c)"},
        {"byte_skip": "9"},
        {"line_skip": "x"},
    ],
)
def test_read_grid__damage_is_one_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert refusal(write(tmp_path / "ct.nrrd", **changed)) in (
        "damaged or truncated file, or not what its ending says",
        "the header contradicts itself: 3 space directions for 2 axes",
    )


def test_read_grid__any_cut_of_the_header_is_a_refusal(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nrrd")
    whole = path.read_bytes()
    for length in range(0, len(whole) - len(VOXELS), 5):
        path.write_bytes(whole[:length])
        assert refusal(path)


def test_read_grid__needs_no_simpleitk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert is_body(only(write(tmp_path / "ct.nrrd")))
