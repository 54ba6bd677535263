"""A sound folder passes; every fault that is put into it is found, named, and nothing else is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made.deeplesion import row, write_slice, write_table
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.diagnostics import Report
from ubr.downstream.preflight import check
from ubr.weights import InputSpec

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
        "images of another size than in the table",
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
        "000001_01_01/010 is said to be of patient 99",
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


NOTES: dict[str, tuple[Callable[[Path, Rows], object], str]] = {
    "beyond": (
        lambda d, r: r[1].update(Bounding_boxes="20, 5, 40, 9"),
        "boxes that reach beyond their image",
    ),
    "neighbour": (lambda d, r: image(d, 4, 11).unlink(), "images without a neighbour at 3 mm"),
    "repeated": (lambda d, r: r.append(r[0]), "boxes that stand in two rows"),
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
    with pytest.raises(ValueError, match="splits must be of train, val, test, got 'valid'"):
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
        "splits of which no image is left": 1,  # all images of the piece are of two splits
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
