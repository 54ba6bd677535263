"""A crop holds the file's own voxels in their own place, between the levels asked for, or is
refused in one line.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ubr.pretrain.cli import main
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.cropping import crop
from ubr.weights import scorer

from ...made.dicom import Made, X, Y, Z, expected, write
from ...made.scans import CANONICAL, grid, turned
from ...made.scores import between, in_mm, regions, scored_by_darkness, weights

WEIGHTS = weights()
REGIONS = regions(WEIGHTS)


@pytest.fixture(autouse=True, scope="module")
def known_scores() -> Iterator[None]:
    with scored_by_darkness():
        yield


def stored(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[Any] = CANONICAL,
    scale: tuple[float, float] = (1, 0),
) -> Path:
    """A NIfTI file with both forms, of different codes, and texts of its own."""
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 3)
    image.set_qform(affine, 1)
    image.header.set_slope_inter(*scale)
    image.header["descrip"] = b"of the site"
    nib.save(image, path)
    return path


def numbers(image: Any) -> NDArray[Any]:
    return np.asarray(image.dataobj.get_unscaled())


def cut(scan: Path, out: Path, start: str = "dome", end: str = "crest", **more: Any) -> Any:
    return crop(scan, WEIGHTS, REGIONS, out, start=start, end=end, **more)


@settings(max_examples=25, deadline=None)
@given(
    axes=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    kind=st.sampled_from([(np.int16, (1, 0)), (np.float32, (1, 0)), (np.uint16, (0.5, -1024))]),
    turn=st.floats(-0.03, 0.03),
    tilt=st.sampled_from([0.0, 0.0, 20.0]),
    trailing=st.booleans(),
)
def test_nifti__voxels_values_and_header_stay_the_files_own(
    axes: tuple[int, ...],
    flips: tuple[bool, ...],
    kind: tuple[Any, tuple[float, float]],
    turn: float,
    tilt: float,
    trailing: bool,
) -> None:
    dtype, (slope, inter) = kind
    data = ((grid() - inter) / slope).astype(dtype)
    affine = CANONICAL.copy()
    affine[1, 2] += 5 * np.tan(np.radians(tilt))
    affine[:3, :3] = (
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        @ affine[:3, :3]
    )
    data, affine = turned(data, affine, axes, flips)
    with tempfile.TemporaryDirectory() as folder:
        scan = stored(
            Path(folder) / "ct.nii.gz",
            data[..., None] if trailing else data,
            affine,
            (slope, inter),
        )
        done = cut(scan, Path(folder) / "part.nii.gz")
        before, after = nib.load(scan), nib.load(done.path)
        if not tilt:  # the sheared slices have more air around them, so their darkness is another
            assert (done.first, done.last, done.of, done.mm) == (
                5,
                14,
                20,
                pytest.approx(45, abs=1e-3),
            )
        assert sorted(after.shape) == sorted(
            [*([1] if trailing else []), done.last - done.first + 1, len(Y), len(X)]
        )
        old, new = numbers(before).reshape(data.shape), numbers(after)
        new = new.reshape(new.shape[:3])
        # every voxel that stays has its own number at its own place
        index = np.indices(new.shape).reshape(3, -1)
        place = (
            np.linalg.inv(before.affine)
            @ after.affine
            @ np.vstack([index, np.ones(index.shape[1])])
        )
        np.testing.assert_allclose(place[:3], np.rint(place[:3]), atol=1e-3)
        assert (old[tuple(np.rint(place[:3]).astype(int))] == new[tuple(index)]).all()
        heights = (after.affine @ np.vstack([index, np.ones(index.shape[1])]))[2]
        np.testing.assert_allclose(
            [heights.max(), heights.min()], [Z[done.first], Z[done.last]], atol=1e-3
        )
        changed = {
            name
            for name in before.header
            if before.header[name].tobytes() != after.header[name].tobytes()
        }
        assert changed <= {
            "dim",
            "srow_x",
            "srow_y",
            "srow_z",
            "qoffset_x",
            "qoffset_y",
            "qoffset_z",
        }
        moves = [
            np.linalg.inv(getattr(before, form)()) @ getattr(after, form)()
            for form in ("get_sform", "get_qform")
        ]
        # The header's quaternion holds a small turn to 1e-4 only: 0.01 mm over this scan.
        np.testing.assert_allclose(moves[0], moves[1], atol=1e-2)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("order", "<>")
def test_nifti__a_pair_becomes_one_file_with_the_same_values_and_header(
    kind: Any, order: str, tmp_path: Path
) -> None:
    empty = kind.header_class(endianness=order)
    image = kind(((grid() + 1024) * 2).astype(np.uint16), CANONICAL, empty)
    image.set_sform(CANONICAL, 3)
    image.set_qform(CANONICAL, 1)
    image.header.set_data_dtype(np.uint16)
    image.header.set_slope_inter(0.5, -1024)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"of the site"
    nib.save(image, tmp_path / "ct.img")
    done = cut(tmp_path / "ct.img", tmp_path / "part.nii.gz")
    before, after = nib.load(tmp_path / "ct.img"), nib.load(done.path)
    window = slice(done.first, done.last + 1)
    np.testing.assert_array_equal(numbers(after), numbers(before)[:, :, window])
    np.testing.assert_array_equal(np.asarray(after.dataobj), grid()[:, :, window])
    assert (after.dataobj.slope, after.dataobj.inter) == (0.5, -1024)
    moved = CANONICAL @ [0, 0, done.first, 1]
    for form in (after.get_sform(), after.get_qform()):
        np.testing.assert_allclose(form[:, 3], moved, atol=1e-4)
    places = {"srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"}
    for name in {*before.header} - places - {"dim", "magic", "vox_offset"}:
        np.testing.assert_array_equal(after.header[name], before.header[name], name)


def test_nifti__a_pair_and_a_quaternion_that_is_no_rotation(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(grid(), CANONICAL)
    image.set_sform(CANONICAL, 1)
    nib.save(image, tmp_path / "ct.img")
    header = bytearray((tmp_path / "ct.hdr").read_bytes())
    header[252:254] = np.int16(1).tobytes()  # qform_code
    header[256:268] = np.array([0, 1.0000005, 0], "<f4").tobytes()
    (tmp_path / "ct.hdr").write_bytes(header)
    done = cut(tmp_path / "ct.hdr", tmp_path / "part.nii.gz")
    part: Any = nib.load(done.path)
    np.testing.assert_array_equal(part.get_fdata(), grid()[:, :, done.first : done.last + 1])
    moved = CANONICAL @ [0, 0, done.first, 1]
    np.testing.assert_allclose(part.affine[:, 3], moved, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "end", "margin", "kept"),
    [
        ("dome", "crest", 0, (5, 14)),
        ("dome", "crest", 12.4, (3, 16)),  # the passages lie at 22.5 and 72.5 mm
        ("dome", "crest", 1000, (0, 19)),
        ("abdomen", "abdomen", 0, (5, 14)),
        ("chest", "chest", 0, (0, 4)),
        ("chest", "pelvis", 0, (0, 19)),
        ("pelvis", "pelvis", 7, (14, 19)),
        (str(between(9)), "crest", 0, (10, 14)),
    ],
)
def test_levels__are_landmarks_parts_or_scores_with_a_margin(
    start: str, end: str, margin: float, kept: tuple[int, int], tmp_path: Path
) -> None:
    done = cut(
        stored(tmp_path / "ct.nii", grid()), tmp_path / "part.nii.gz", start, end, margin_mm=margin
    )
    assert (done.first, done.last) == kept
    np.testing.assert_array_equal(numbers(nib.load(done.path)), grid()[:, :, kept[0] : kept[1] + 1])


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [("sky", "crest", (0, 14)), ("dome", "hell", (5, 19)), ("sky", "hell", (0, 19))],
)
def test_partial__cuts_to_what_the_scan_shows(
    start: str, end: str, kept: tuple[int, int], tmp_path: Path
) -> None:
    scan = stored(tmp_path / "ct.nii", grid())
    with pytest.raises(
        ValueError,
        match=r"does not show (sky|hell).*dome at 22 mm.*crest at 72 mm.*use `partial` to cut to "
        r"what is there",
    ):
        cut(scan, tmp_path / "part.nii.gz", start, end)
    done = cut(scan, tmp_path / "part.nii.gz", start, end, partial=True)
    assert (done.first, done.last) == kept
    assert "(the scan's end)" in done.line()


@pytest.mark.parametrize(("start", "end"), [("-1e7", "sky"), ("hell", "1e7")])
def test_partial__a_scan_without_any_of_the_range_is_still_refused(
    start: str, end: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="nothing of the range is in it"):
        cut(stored(tmp_path / "ct.nii", grid()), tmp_path / "part.nii.gz", start, end, partial=True)
    assert not (tmp_path / "part.nii.gz").exists()


def world(image: Any) -> NDArray[np.float64]:
    """HU at the places of the made body's slices 5 to 14, looked up through the affine."""
    z, y, x = np.meshgrid(Z[5:15], Y, X, indexing="ij")
    index = np.linalg.inv(image.affine) @ np.stack(
        [-x.ravel(), -y.ravel(), z.ravel(), np.ones(x.size)]
    )
    np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-3)
    return np.asarray(image.dataobj)[tuple(np.rint(index[:3]).astype(int))].reshape(x.shape)


def test_dicom__the_volume_in_its_place(tmp_path: Path) -> None:
    write(tmp_path / "series", Made().datasets())
    done = cut(tmp_path / "series", tmp_path / "part.nii.gz")
    image = nib.load(done.path)
    assert (image.shape, image.get_data_dtype()) == ((40, 30, 10), np.int16)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    np.testing.assert_array_equal(world(image), expected()[5:15])


def test_nrrd__the_volume_in_its_place(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(expected()[::-1])
    image.SetOrigin((X[0], Y[0], Z[-1]))
    image.SetSpacing((4.0, 4.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    done = cut(tmp_path / "ct.nrrd", tmp_path / "part.nii.gz")
    np.testing.assert_array_equal(world(nib.load(done.path)), expected()[5:15])


def test_dicom__a_tilted_gantry_is_said_and_each_slice_is_in_its_place(tmp_path: Path) -> None:
    slope = np.tan(np.radians(20))
    tilted = (1.0, 0.0, 0.0, 0.0, np.cos(np.radians(20)), np.sin(np.radians(20)))
    made = Made(corners=[(X[0], Y[0], z - Y[0] * -slope) for z in Z], orientation=tilted)
    files = made.datasets()
    write(tmp_path / "series", files)
    done = cut(tmp_path / "series", tmp_path / "part.nii.gz", "-1e5", "1e5", partial=True)
    assert "tilt: 20.0 degrees; slices moved in-plane" in done.line()
    image = nib.load(done.path)
    inverse, data = np.linalg.inv(image.affine), np.asarray(image.dataobj)
    for ds in files:
        hu = ds.pixel_array.astype(int) - 1024
        corner, (right, down) = (
            np.array(ds.ImagePositionPatient, float),
            np.array(tilted).reshape(2, 3),
        )
        middle = corner + down * 4 * 15 + right * 4 * 20
        x, y, z = inverse[:3] @ [-middle[0], -middle[1], middle[2], 1]
        assert (
            abs(z - round(z)) < 0.01 and abs(x - round(x)) < 0.01 and abs(y - round(y)) <= 0.501
        )  # moved by whole pixels
        near = [int(data[round(x), round(y) + step, round(z)]) for step in (-1, 0, 1)]
        assert hu[15, 20] in near


def test_dicom__uneven_slices_are_refused_where_they_are_kept(tmp_path: Path) -> None:
    corners = [(X[0], Y[0], z - 3 * (number > 10)) for number, z in enumerate(Z)]
    write(tmp_path / "series", Made(corners=corners).datasets())
    with pytest.raises(
        ValueError, match=r"slices lie 5.00 to 8.00 mm apart, but NIfTI allows only one step"
    ):
        cut(tmp_path / "series", tmp_path / "part.nii.gz")
    assert cut(tmp_path / "series", tmp_path / "part.nii.gz", "dome", str(between(8))).last == 8


def test_resampled__an_oblique_scan_is_refused(tmp_path: Path) -> None:
    turn = np.radians(10)
    affine = (
        np.array(
            [
                [np.cos(turn), -np.sin(turn), 0, 0],
                [np.sin(turn), np.cos(turn), 0, 0],
                [0, 0, 1, 0],
                [0, 0, 0, 1],
            ]
        )
        @ CANONICAL
    )
    with pytest.raises(
        ValueError, match=r"is not sliced along the patient's axes \(oblique: 10.0 degrees\)"
    ):
        cut(stored(tmp_path / "ct.nii", grid(), affine), tmp_path / "part.nii.gz")


# What is refused, through the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    WEIGHTS.save(folder / "w.safetensors")
    weights(seed=1).save(folder / "other.safetensors")
    REGIONS.save(folder / "regions.json")
    stored(folder / "ct.nii", grid())
    stored(folder / "thin.nii", grid()[:, :, :2])
    stored(folder / "same.nii", np.repeat(grid()[:, :, :1], 20, axis=2))
    stored(folder / "down.nii", np.flip(grid(), 2))
    empty = np.full(grid().shape, -1000, np.int16)
    stored(folder / "air.nii", empty)
    empty[5, 5] = 40
    stored(folder / "wire.nii", empty)
    (folder / "two").mkdir()
    stored(folder / "two" / "a.nii", grid())
    stored(folder / "two" / "b.nii", grid() + 1)
    (folder / "text.json").write_text("{}")
    (folder / "there.nii.gz").write_bytes(b"mine")
    return folder


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"--from": "spleen"},
            "unknown level 'spleen'; allowed: ",
        ),
        ({"--from": "nan"}, "unknown level 'nan'"),
        (
            {"--from": "crest", "--to": "dome"},
            r"crest \(score .*\) must lie above dome \(.*\); swap the two",
        ),
        ({"--to": "dome"}, "must lie above dome"),
        ({"SCAN": "two"}, "two holds 2 series; give the file or folder of one"),
        ({"SCAN": "text.json"}, "text.json holds no CT series: not DICOM, NIfTI"),
        ({"SCAN": "nowhere"}, "nowhere does not exist"),
        ({"SCAN": "air.nii"}, "nothing is above -200, a CT holds tissue"),
        ({"SCAN": "wire.nii"}, "shows no body in any of its 20 slices"),
        ({"SCAN": "thin.nii"}, "has 2 slices; finding a level needs at least three"),
        ({"SCAN": "same.nii"}, "all 20 slices of .* have the same score"),
        ({"SCAN": "down.nii"}, r"fall towards the feet \(r -1.00\)"),
        ({"--out": "part.nii"}, "give an --out that ends in .nii.gz"),
        ({"--out": "there.nii.gz"}, "exists; give a new --out"),
        ({"--regions": "", "--from": "-1"}, "'crest' is not a score; give --regions"),
        ({"--regions": "", "--from": "inf", "--to": "1"}, "'inf' is not a score"),
        ({"--weights": "other.safetensors"}, "the regions were made with weights .* calibrate"),
        ({"--weights": "ct.nii"}, "ct.nii"),
        ({"--regions": "text.json"}, "not a regions file"),
        ({"--regions": "nowhere.json"}, "nowhere.json does not exist"),
        ({"--margin-mm": "-1"}, "--margin-mm must be at least 0, got -1"),
        (
            {"--from": str(between(9)), "--to": str(between(9) + 1e-4)},
            "no slice of .* lies between",
        ),
    ],
)
def test_mistakes__are_one_line_and_write_nothing(
    change: dict[str, str], reason: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "SCAN": "ct.nii",
        "--weights": "w.safetensors",
        "--regions": "regions.json",
        "--out": "part.nii.gz",
    }
    words = {"--from": "dome", "--to": "crest"} | given | change
    without = {name for name, value in words.items() if not value}
    paths = {name: str(files / value) if name in given else value for name, value in words.items()}
    there = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    assert (
        main(
            [
                "crop",
                paths.pop("SCAN"),
                *(word for pair in paths.items() if pair[0] not in without for word in pair),
            ]
        )
        == 2
    )
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert re.search(reason, err), err
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == there


def test_command_line__prints_one_line_with_what_was_kept(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "crop",
        str(files / "ct.nii"),
        "--weights",
        str(files / "w.safetensors"),
        "--regions",
        str(files / "regions.json"),
    ]
    assert (
        main(
            [
                *argv,
                "--from",
                "dome",
                "--to",
                "crest",
                "--margin-mm",
                "8",
                "--out",
                str(tmp_path / "a.nii.gz"),
            ]
        )
        == 0
    )
    line = capsys.readouterr().out.strip()
    assert line.endswith(
        "a.nii.gz: 14 of 20 slices kept (3 to 16, 65 mm); from dome at 22 mm, to crest at 72 mm; "
        "r 1.000"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_ends__have_intervals_where_labelled_volumes_give_them(tmp_path: Path) -> None:
    dome = REGIONS.landmarks["dome"]
    told = replace(dome, volumes=9, without=(dome.score,) * 9, residuals_mm=tuple(range(1, 10)))
    known = replace(REGIONS, borders=(told, REGIONS.borders[1]))
    file = stored(tmp_path / "ct.nii", grid())
    options: dict[str, Any] = {"start": "abdomen", "end": "crest"}
    top, bottom = crop(file, WEIGHTS, known, tmp_path / "a.nii.gz", **options).found
    # With nine volumes the interval of 90 % reaches as far as the largest residual, 9 mm.
    assert top.interval_mm == pytest.approx((top.at.z_mm - 9, top.at.z_mm + 9))
    assert top.text() == "from abdomen at 22 mm (90 % interval: 14 to 32)"
    assert bottom.interval_mm is None


@pytest.mark.parametrize(("first", "last"), [(4, 14), (0, 9), (11, 17)])
def test_scores__need_no_regions_and_folders_are_made(
    first: int, last: int, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folder" / "part.nii.gz"
    argv = ["crop", str(files / "ct.nii"), "--weights", str(files / "w.safetensors")]
    ends = ["--from", str(between(first)), "--to", str(between(last))]
    assert main([*argv, *ends, "--out", str(out)]) == 0
    np.testing.assert_array_equal(
        np.asarray(nib.load(out).dataobj), grid()[:, :, first + 1 : last + 1]
    )


def test_partial__without_regions_says_which_scores_there_are(tmp_path: Path) -> None:
    scan = stored(tmp_path / "ct.nii", grid())
    with pytest.raises(ValueError, match=r"not show 1e7: it shows -?\d.*\(score, r 1.00\); use"):
        crop(scan, WEIGHTS, None, tmp_path / "p.nii.gz", start=str(between(9)), end="1e7")


def test_crop__between_positions_if_the_regions_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of this body with one bad stretch: 1 mm a mm below 200, but for slices 6 to 9."""
    scan = stored(tmp_path / "ct.nii.gz", grid())
    z = 5.0 * np.arange(20)
    scores = (200 + z) / 50
    scores[6:10] += 0.5
    monkeypatch.setattr(scorer, "score_slices", lambda *_: scores.astype(np.float32))
    level = {"a": Level(4.65, None, 1, (), ()), "b": Level(5.55, None, 1, (), ())}
    kept = {}
    for axis in ("score", "position"):
        chosen = Regions(WEIGHTS.sha256(), (), (), level, axis=axis)
        out = tmp_path / f"{axis}.nii.gz"
        done = crop(scan, in_mm(WEIGHTS), chosen, out, start="a", end="b")
        kept[axis] = (done.first, done.last)
        assert done.r < 0.99, "of the scores"
    assert kept["position"] == (7, 15), "232.5 to 277.5 mm"
    assert kept["score"] == (6, 15)
