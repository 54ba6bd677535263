"""A sound folder passes; every fault that is put into it is found, named, and nothing else is."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.made.deeplesion import row, write_slice, write_table
from tests.made.lesions import lesion_world
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.diagnostics import Report
from ubr.downstream.pixels import not_hu
from ubr.downstream.preflight import check, refuse_faults
from ubr.downstream.recipes import small
from ubr.downstream.slices import View
from ubr.pretrain.data.deeplesion.table import read_table
from ubr.pretrain.data.scans import read_scan
from ubr.weights import InputSpec
from ubr.weights.common.claims import Claimed, claim_folder

SIZE = 32
Rows = list[dict[str, str]]


def sound(folder: Path) -> Rows:
    """Two patients a split, one image each with its neighbours."""
    rows = []
    for patient in range(1, 7):
        rng = np.random.default_rng(patient)
        for z in range(8, 13):
            write_slice(folder, f"{patient:06d}_01_01/{z:03d}", rng.normal(40, 20, (SIZE, SIZE)))
        rows.append(
            row(
                f"{patient:06d}_01_01_010.png",
                Bounding_boxes="6, 7, 16.5, 20.25",
                Spacing_mm_px_="0.8, 0.8, 2",
                Image_size=f"{SIZE}, {SIZE}",
                Slice_range="8, 12",
                Train_Val_Test=1 + (patient - 1) // 2,
                Patient_age="77.0",
            )
        )
    return rows


def found(report: Report, kind: str) -> dict[str, int]:
    return {f.what: f.count for f in getattr(report, kind)}


UNOFFICIAL = {f"split {s} is not the official one": 1 for s in ("train", "val", "test")}


def test_check__a_sound_folder_is_ready(tmp_path: Path) -> None:
    write_table(tmp_path, sound(tmp_path))
    report = check(tmp_path, progress=False)
    assert report.ok and not report.faults and found(report, "notes") == UNOFFICIAL
    assert report.counts == {
        s: {"images": 2, "boxes": 2, "images_clean": 2, "boxes_clean": 2}
        for s in ("train", "val", "test")
    }
    assert report.table().endswith("ready to train") and "2 of 22496 images" in report.table()


def image(folder: Path, patient: int, z: int = 10) -> Path:
    return folder / f"Images_png/{patient:06d}_01_01/{z:03d}.png"


def copy(folder: Path, source: int, to: int) -> None:
    image(folder, to).write_bytes(image(folder, source).read_bytes())


def truncate(folder: Path) -> None:
    image(folder, 1).write_bytes(image(folder, 1).read_bytes()[:200])


FAULTS: dict[str, tuple[Callable[[Path, Rows], object], str, str]] = {
    "bad row": (
        lambda d, r: r[2].update(Bounding_boxes="9, 9, 5, 12"),
        "rows that cannot be read",
        "line 4: Bounding_boxes '9, 9, 5, 12'",
    ),
    "contradiction": (
        lambda d, r: r.append(r[0] | {"Spacing_mm_px_": "1, 1, 1"}),
        "rows that contradict their image's first row",
        "line 8: patient, split, spacing",
    ),
    "absent": (lambda d, r: image(d, 3).unlink(), "absent images", "000003_01_01/010"),
    "damaged": (
        lambda d, r: truncate(d),
        "images that cannot be read",
        "000001_01_01/010.png is damaged",
    ),
    "8 bit": (
        lambda d, r: Image.new("L", (SIZE, SIZE)).save(image(d, 2)),
        "images that cannot be read",
        "is L and not 16-bit grey",
    ),
    "size": (
        lambda d, r: r[1].update(Image_size="32, 33"),
        "images whose size differs from the table's",
        "is 32 x 32, Image_size 32 x 33",
    ),
    "outside": (
        lambda d, r: r[1].update(Bounding_boxes="40, 5, 50, 9"),
        "boxes outside their image",
        "000002_01_01/010 (39.0, 4.0",
    ),
    "leak": (
        lambda d, r: r.append(r[0] | {"File_name": "000001_01_01_009.png", "Train_Val_Test": "3"}),
        "patients in more than one split",
        "000001",
    ),
    "mixed": (
        lambda d, r: r[0].update(Patient_index="99"),
        "images in another patient's folder",
        "000001_01_01/010 is attributed to patient 99",
    ),
    "twins": (
        lambda d, r: copy(d, 1, 5),
        "equal images in two splits",
        "000001_01_01/010 = 000005_01_01/010",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_check__finds_the_fault_and_only_it(tmp_path: Path, case: str) -> None:
    spoil, what, where = FAULTS[case]
    rows = sound(tmp_path)
    spoil(tmp_path, rows)
    write_table(tmp_path, rows)
    report = check(tmp_path, progress=False, workers=2)
    assert not report.ok and found(report, "faults") == {what: 1}
    assert where in report.faults[0].examples[0] and report.table().endswith("not ready to train")


def change(pixels: Callable[[NDArray[np.int64]], NDArray[np.int64]], *of: Path) -> None:
    """Rewrite files with other stored values."""
    for path in of:
        stored = np.asarray(Image.open(path), np.int64)
        Image.fromarray((pixels(stored) % 65536).astype(np.uint16)).save(path)


PIXELS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "no offset": lambda v: v - 32768 + 1024,
    "shifted by 1024": lambda v: v + 1024,
    "shifted down by 1024": lambda v: v - 1024,
    "signed": lambda v: v - 32768,
    "black": lambda v: v * 0,
    "one grey": lambda v: v * 0 + 32768,
    "8 bits in 16": lambda v: ((v - 32768 + 175) * 255 // 450).clip(0, 255),
    "stretched": lambda v: (v - v.min()) * 65535 // np.ptp(v),
    "windowed, the offset kept": lambda v: (v - 32768).clip(30, 275) + 32768,
}


@pytest.mark.parametrize("case", PIXELS)
def test_check__pixels_that_are_not_hu(tmp_path: Path, case: str) -> None:
    rows = sound(tmp_path)
    write_table(tmp_path, rows)
    change(PIXELS[case], image(tmp_path, 4))
    report = check(tmp_path, progress=False)
    assert found(report, "faults") == {"slices whose pixels are not HU + 32768": 1}
    assert report.faults[0].examples[0].startswith("000004_01_01/010.png: ")
    refused(tmp_path, "slices whose pixels are not HU")


@pytest.mark.parametrize("case", PIXELS)
def test_check__neighbours_whose_pixels_are_not_hu(tmp_path: Path, case: str) -> None:
    write_table(tmp_path, sound(tmp_path))
    change(PIXELS[case], image(tmp_path, 4, 12))
    report = check(tmp_path, progress=False)
    assert found(report, "faults") == {"slices whose pixels are not HU + 32768": 1}
    assert report.faults[0].examples[0].startswith("000004_01_01/012.png: ")
    assert check(tmp_path, view=View(channels=1), progress=False).ok, "one slice reads none"


def test_not_hu__real_slices_are_hu_and_their_wrong_copies_are_not(shared: Path) -> None:
    """Of heads, trunks and DeepLesion, with air and the scanner's own padding."""
    scans = (*sorted((shared / "ct/headneck").glob("*.nii.gz"))[::25],)
    scans += (*sorted((shared / "ct/torso").glob("*.nii.gz"))[::9],)
    for path in scans:
        volume = read_scan(path).volume
        spacing = volume.spacing_mm[::-1]
        for hu in volume.hu[len(volume.hu) // 5 : -3 : 11]:
            assert not not_hu(hu, spacing)
            for case in set(PIXELS) - {"windowed, the offset kept"}:
                stored = PIXELS[case](hu.astype(np.int64) + 32768) % 65536
                if case not in ("shifted by 1024", "shifted down by 1024"):
                    assert not_hu((stored - 32768).astype(np.int16), spacing), case
    for path in sorted((shared / "deeplesion").glob("Images_png/*/*.png")):
        hu = np.asarray(Image.open(path), np.int32) - 32768
        assert not not_hu(hu.astype(np.int16), (0.8, 0.8, 5.0))
        for shift in (1024, -1024):
            assert not_hu((hu + shift).astype(np.int16), (0.8, 0.8, 5.0)), shift
        assert not_hu(hu.clip(-160, 240).astype(np.int16), (0.8, 0.8, 5.0))
        window = ((hu.clip(-175, 275) + 175) * 65535 // 450 - 32768).astype(np.int16)
        assert not_hu(window, (0.8, 0.8, 5.0))


@pytest.mark.parametrize(
    ("spacing", "size", "taken"),
    [
        ("4, 1.86, 3", "103, 256", True),  # 412 x 476 mm
        ("0.9, 3.6, 5", "512, 128", True),
        ("4, 1.86, 3", "256, 103", False),  # 1024 mm
        ("0.4, 0.1, 3", "110, 500", False),  # 50 mm
    ],
)
def test_read_table__a_field_is_measured_along_both_sides_of_its_pixels(
    spacing: str, size: str, taken: bool, tmp_path: Path
) -> None:
    rows = sound(tmp_path)
    write_table(tmp_path, [{**one, "Spacing_mm_px_": spacing, "Image_size": size} for one in rows])
    with (
        nullcontext()
        if taken
        else pytest.raises(ValueError, match="is not plausible for a CT in mm")
    ):
        assert read_table(tmp_path)


@pytest.mark.parametrize("spacing", ["0.08, 0.08, 0.2", "0.0008, 0.0008, 0.002", "800, 800, 2000"])
def test_check__spacing_in_another_unit(tmp_path: Path, spacing: str) -> None:
    rows = sound(tmp_path)
    for one in rows:
        one["Spacing_mm_px_"] = spacing
    write_table(tmp_path, rows)
    report = check(tmp_path, progress=False)
    assert report.faults[0].what == "rows that cannot be read" and report.faults[0].count == 6
    assert (
        f"Spacing_mm_px_ '{spacing}' with Image_size '32, 32' is not plausible for a CT in mm"
        in report.table()
    )
    with pytest.raises(ValueError, match="is not plausible for a CT in mm: pixels of"):
        DeepLesion(tmp_path, "train", InputSpec())


def test_check__a_whole_slice_of_a_few_centimetres(tmp_path: Path) -> None:
    """A pixel of 0.16 may be one in mm of a small field, or one in cm of a wide one."""
    rows = sound(tmp_path)
    rows[0].update(Spacing_mm_px_="0.16, 0.16, 0.3", Image_size="230, 180")
    write_table(tmp_path, rows)
    report = check(tmp_path, progress=False)
    assert "a field of 60..1000 mm; give mm" in report.faults[0].examples[0]


def test_check__neighbours_that_the_view_reads(tmp_path: Path) -> None:
    """Slices lie 2 mm apart: at 3 mm slices 8, 9, 11 and 12 are read, at 2 mm 9 and 11."""
    write_table(tmp_path, sound(tmp_path))
    Image.new("L", (SIZE, SIZE)).save(image(tmp_path, 1, 8))
    image(tmp_path, 4, 12).write_bytes(image(tmp_path, 4, 12).read_bytes()[:200])
    report = check(tmp_path, progress=False)
    assert found(report, "faults") == {"neighbours that cannot be read": 2}
    assert "000001_01_01/008.png is L and not 16-bit grey" in report.faults[0].examples[0]
    assert "000004_01_01/012.png is damaged" in report.faults[0].examples[1]
    refused(tmp_path, "neighbours that cannot be read")
    for view in (View(channels=3, distance_mm=2), View(channels=1)):
        assert check(tmp_path, view=view, progress=False).ok
        accepted(tmp_path, view)
    accepted(tmp_path, small().view, unreadable="skip")
    write_slice(tmp_path, "000004_01_01/012", np.full((SIZE, SIZE + 1), 40) + np.arange(SIZE + 1))
    assert "000004_01_01/012.png differs in size" in check(tmp_path, progress=False).table()


def test_check__a_sliver(tmp_path: Path) -> None:
    """The first has an area in float64 and none in float32, the second is cut at the edge."""
    for box in ("6, 7, 6.0000001, 20", f"{SIZE + 0.99}, 7, {SIZE + 9}, 20"):
        rows = sound(tmp_path)
        rows[0]["Bounding_boxes"] = box
        write_table(tmp_path, rows)
        what = "boxes with less than 1 pixel inside their image"
        assert found(check(tmp_path, progress=False), "faults") == {what: 1}
        refused(tmp_path, what)
    sliver = np.array([5, 5 + 1e-7], np.float32)
    assert sliver[0] == sliver[1]
    rows[0]["Bounding_boxes"] = "6, 7, 6.0000001, 20"
    write_table(tmp_path, rows)
    with pytest.raises(ValueError, match="has a box outside the image"):
        DeepLesion(tmp_path, "train", InputSpec())[0]


def test_check__splits_without_images(tmp_path: Path) -> None:
    rows = sound(tmp_path)
    write_table(tmp_path, rows[:2] + rows[4:])  # train and test
    report = check(tmp_path, progress=False)
    assert found(report, "faults") == {"no images in the chosen splits": 1}
    assert report.faults[0].examples == ("val",)
    assert check(tmp_path, splits=["test"], progress=False).ok, "an evaluation needs no more"
    write_table(tmp_path, rows[:2] + [one | {"Possibly_noisy": "1"} for one in rows[2:]])
    report = check(tmp_path, progress=False)
    assert found(report, "faults") == {"splits without a usable image": 1}
    write_table(tmp_path, rows)
    for patient in (1, 2):
        image(tmp_path, patient).write_bytes(b"no image")
    assert found(check(tmp_path, progress=False), "faults") == {
        "images that cannot be read": 2,
        "splits without a usable image": 1,
    }
    refused(tmp_path, "splits without a usable image", unreadable="skip")


def sides(folder: Path, view: View, **options: Any) -> list[DeepLesion]:
    return [
        DeepLesion(folder, split, InputSpec(), view=view, **options) for split in ("train", "val")
    ]


def accepted(folder: Path, view: View, **options: Any) -> None:
    refuse_faults(*sides(folder, view, **options), progress=False)


def refused(folder: Path, what: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=f"kinds of faults, the first: {re.escape(what)}"):
        accepted(folder, small().view, **options)


@pytest.mark.parametrize("case", FAULTS)
def test_training__refuses_what_check_calls_a_fault(tmp_path: Path, case: str) -> None:
    """By the data set itself or by `refuse_faults`; images of test are not read."""
    spoil, _, _ = FAULTS[case]
    rows = sound(tmp_path)
    write_table(tmp_path, rows)
    accepted(tmp_path, small().view)
    spoil(tmp_path, rows)
    write_table(tmp_path, rows)
    ready = check(tmp_path, splits=("train", "val"), progress=False).ok
    with nullcontext() if ready else pytest.raises(ValueError):
        accepted(tmp_path, small().view)
    assert ready == (case == "twins"), "train and test hold the same image"


def test_refuse_faults__reads_the_images_of_its_share_only(tmp_path: Path) -> None:
    write_table(tmp_path, sound(tmp_path))
    train = DeepLesion(tmp_path, "train", InputSpec(), view=small().view, share=0.5)
    (kept,) = {1, 2} & {key.patient for key in train.keys}
    change(PIXELS["black"], image(tmp_path, 3 - kept))
    refuse_faults(train, progress=False)
    change(PIXELS["black"], image(tmp_path, kept))
    with pytest.raises(ValueError, match="not HU"):
        refuse_faults(train, progress=False)


NOTES: dict[str, tuple[Callable[[Path, Rows], object], str]] = {
    "beyond": (
        lambda d, r: r[1].update(Bounding_boxes="20, 5, 40, 9"),
        "boxes that reach beyond their image",
    ),
    "neighbour": (lambda d, r: image(d, 4, 11).unlink(), "images without a neighbour at 3 mm"),
    "repeated": (lambda d, r: r.append(r[0]), "boxes listed in two rows"),
    "noisy": (
        lambda d, r: r.append(r[0] | {"Bounding_boxes": "1, 1, 9, 9", "Possibly_noisy": "1"}),
        "boxes marked as noisy",
    ),
    "twins": (lambda d, r: copy(d, 1, 2), "equal images under two names"),
}


@pytest.mark.parametrize("case", NOTES)
def test_check__notes_what_does_not_stop(tmp_path: Path, case: str) -> None:
    spoil, what = NOTES[case]
    rows = sound(tmp_path)
    spoil(tmp_path, rows)
    write_table(tmp_path, rows)
    report = check(tmp_path, progress=False)
    assert report.ok and found(report, "notes") == UNOFFICIAL | {what: 1}


def test_check__one_split_reads_no_others_images(tmp_path: Path) -> None:
    write_table(tmp_path, sound(tmp_path))
    image(tmp_path, 1).unlink()
    report = check(tmp_path, splits=["val"], progress=False)
    assert report.ok and list(report.counts) == ["val"]
    with pytest.raises(ValueError, match="splits must be among train, val, test, got 'valid'"):
        check(tmp_path, splits=["valid"], progress=False)
    write_table(tmp_path, sound(tmp_path)[:2])
    assert found(check(tmp_path, splits=["val"], progress=False), "faults") == {
        "no images in the chosen splits": 1
    }


def test_check__no_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no DL_info\.csv in "):
        check(tmp_path, progress=False)


def test_check__the_digest_follows_table_and_pixels(tmp_path: Path) -> None:
    rows = sound(tmp_path)
    write_table(tmp_path, rows)
    first = check(tmp_path, progress=False).digest
    assert check(tmp_path, progress=False, workers=1).digest == first
    write_slice(tmp_path, "000001_01_01/010", np.zeros((SIZE, SIZE)))
    assert check(tmp_path, progress=False).digest != first


def test_check__coco_is_the_data_set(tmp_path: Path) -> None:
    """Read by COCO's own code:

    the same images, under the ids that the data set gives, and the same boxes.
    """
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    rows = sound(tmp_path)
    rows += [
        rows[1] | {"Bounding_boxes": "1, 2, 4, 8", "Coarse_lesion_type": "5"},
        rows[1] | {"Possibly_noisy": "1"},
    ]
    write_table(tmp_path, rows)
    truncate(tmp_path)
    check(tmp_path, progress=False, coco=tmp_path / "coco")
    read = coco.COCO(str(tmp_path / "coco" / "train.json"))
    assert sorted(p.name for p in (tmp_path / "coco").iterdir()) == [
        "test.json",
        "train.json",
        "val.json",
    ]
    assert read.getImgIds() == [1]  # the first image is damaged, the second keeps its place
    _, target = DeepLesion(tmp_path, "train", InputSpec())[1]
    assert target["image_id"] == 1 and read.imgs[1]["file_name"] == "000002_01_01/010.png"
    assert (tmp_path / "Images_png" / read.imgs[1]["file_name"]).is_file()
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in read.imgToAnns[1])]
    assert boxes == [(5, 6, 15.5, 19.25), (0, 1, 3, 7)] == [b.edges for b in target["key"].boxes]
    assert [(a["id"], a["category_id"], a["lesion_type"]) for a in read.imgToAnns[1]] == [
        (1, 1, 3),
        (2, 1, 5),
    ]
    assert (
        read.cats == {1: {"id": 1, "name": "lesion"}}
        and read.dataset["info"]["lesion_types"]["5"] == "lung"
    )


def test_check__tells_nothing_of_patients_nor_where_it_was(tmp_path: Path) -> None:
    rows = sound(tmp_path)
    truncate(tmp_path)
    rows[2]["Bounding_boxes"] = "x"
    image(tmp_path, 5).unlink()
    write_table(tmp_path, rows)
    report = check(tmp_path, progress=False, coco=tmp_path / "coco")
    texts = [
        report.table(),
        json.dumps(report.manifest),
        *(p.read_text() for p in (tmp_path / "coco").iterdir()),
    ]
    for text in texts:
        assert (
            str(tmp_path) not in text
            and tmp_path.name not in text
            and "77" not in text.replace(report.digest, "")
        )
    assert json.loads(texts[1])["faults"][0] == {
        "what": "rows that cannot be read",
        "count": 1,
        "examples": ["line 4: Bounding_boxes 'x' must be 4 numbers"],
        "advice": "correct or remove them",
    }


def test_check__the_real_piece(lesions: Path) -> None:
    report = check(lesions, progress=False)
    with (lesions / "DL_info.csv").open(newline="") as file:
        named = {line["File_name"] for line in csv.DictReader(file)}
    present = {
        f"{path.parent.name}_{path.name}" for path in (lesions / "Images_png").glob("*/*.png")
    } & named
    assert found(report, "faults") == {
        "absent images": len(named) - len(present),
        "splits without a usable image": 1,  # all images of the piece are of two splits
    }
    assert report.counts["test"] == {
        "images": 255,
        "boxes": 262,
        "images_clean": 254,
        "boxes_clean": 261,
    }
    assert found(report, "notes") == UNOFFICIAL | {
        "boxes marked as noisy": 1,
        "images without a neighbour at 3 mm": len(present),  # only key slices are in the piece
    }


def test_check__annotations_are_written_by_one_process(tmp_path: Path) -> None:
    with claim_folder(tmp_path / "coco"), pytest.raises(Claimed):
        check(lesion_world(tmp_path / "world"), progress=False, coco=tmp_path / "coco")
