"""The table against the official counts and boxes; then against what a damaged table must not
become.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.made.deeplesion import FIRST, row, write_table
from ubr.pretrain.data.deeplesion.table import (
    COLUMNS,
    READ_COLUMNS,
    SPLITS,
    Box,
    parse_row,
    read_table,
)


def official(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / f"official_{split}_boxes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("split", "images", "boxes", "clean_images", "clean_boxes"),
    [("val", 4793, 4889, 4791, 4887), ("test", 4831, 4927, 4817, 4912)],
)
def test_read_table__gives_the_official_counts(
    lesions: Path,
    tmp_path: Path,
    split: str,
    images: int,
    boxes: int,
    clean_images: int,
    clean_boxes: int,
) -> None:
    """Every official box of the split, written back into the table's form."""
    rows = []
    for r in official(lesions, split):
        x, y, w, h = (float(r[c]) for c in "xywh")
        rows.append(
            row(
                r["file"].replace("/", "_"),
                Bounding_boxes=f"{x + 1}, {y + 1}, {x + w + 1}, {y + h + 1}",
                Possibly_noisy=r["noisy"],
                Spacing_mm_px_=f"{r['spacing_mm']}, {r['spacing_mm']}, {r['slice_interval_mm']}",
                Normalized_lesion_location=f"0.5, 0.5, {r['z_position']}",
                Train_Val_Test=SPLITS[split],
            )
        )
    write_table(tmp_path, rows)
    everything = read_table(tmp_path, split=split, keep_noisy=True)
    assert (len(everything), sum(len(k.boxes) for k in everything)) == (images, boxes)
    clean = read_table(tmp_path, split=split)
    assert (len(clean), sum(len(k.boxes) for k in clean)) == (clean_images, clean_boxes)


def test_read_table__real_rows_are_the_official_boxes(lesions: Path) -> None:
    """Where the piece of the table and the official lists overlap, boxes, spacing, position and
    noise are equal.
    """
    compared = 0
    for split in ("val", "test"):
        theirs: dict[str, list[dict[str, str]]] = {}
        for r in official(lesions, split):
            theirs.setdefault(r["file"].removesuffix(".png"), []).append(r)
        for key in read_table(lesions, split=split, keep_noisy=True):
            for box in key.boxes:  # the piece of the table need not have all lesions of an image
                r = min(
                    theirs[key.name],
                    key=lambda r: abs(float(r["x"]) - box.x1) + abs(float(r["y"]) - box.y1),
                )
                x, y, w, h = (float(r[c]) for c in "xywh")
                assert box.edges == pytest.approx((x, y, x + w, y + h), abs=2e-3)
                assert (box.noisy, key.z_position) == (
                    r["noisy"] == "1",
                    pytest.approx(float(r["z_position"])),
                )
                assert key.spacing_mm[::2] == pytest.approx(
                    (float(r["spacing_mm"]), float(r["slice_interval_mm"]))
                )
                compared += 1
    assert compared == 472


def test_read_table__reads_all_real_rows(lesions: Path) -> None:
    keys = read_table(lesions, keep_noisy=True)
    assert sum(len(k.boxes) for k in keys) == 1513
    assert len({k.name for k in keys}) == len(keys)
    assert Counter(b.lesion_type for k in keys for b in k.boxes)[4] == 70
    assert {k.patient for k in keys if k.split == "test"}.isdisjoint(
        {k.patient for k in keys if k.split == "train"}
    )


def test_parse_row__a_row_by_hand() -> None:
    key = parse_row({c: FIRST[c] for c in READ_COLUMNS})
    assert (key.folder, key.index, key.name, key.patient, key.split) == (
        "000001_01_01",
        109,
        "000001_01_01/109",
        1,
        "test",
    )
    assert (key.spacing_mm, key.slice_range, key.size_px, key.z_position) == (
        (0.488281, 0.488281, 5.0),
        (103, 115),
        (512, 512),
        0.434454,
    )
    (box,) = key.boxes
    assert box.edges == pytest.approx((225.169, 89.0204, 240.252, 110.977))
    assert (box.lesion_type, box.diameters_px, box.noisy) == (3, (11.9677, 5.10387), False)


def test_read_table__rows_of_one_image_are_one_key_slice(tmp_path: Path) -> None:
    second = row(Bounding_boxes="11, 21, 31, 41")
    write_table(
        tmp_path,
        [row(Normalized_lesion_location="NaN, NaN, NaN"), row("000002_01_01_007.png"), second],
    )
    first, other = read_table(tmp_path)
    assert [b.edges for b in first.boxes][1] == (10, 20, 30, 40) and len(other.boxes) == 1
    assert first.z_position == 0.434454  # from the row that has it


def test_read_table__noisy_boxes_go_and_images_with_nothing_else(tmp_path: Path) -> None:
    noisy = row(Bounding_boxes="11, 21, 31, 41", Possibly_noisy=1)
    write_table(tmp_path, [row(), noisy, row("000002_01_01_007.png", Possibly_noisy=1)])
    assert [(k.name, len(k.boxes)) for k in read_table(tmp_path)] == [("000001_01_01/109", 1)]
    assert [len(k.boxes) for k in read_table(tmp_path, keep_noisy=True)] == [2, 1]


def test_read_table__is_lenient_where_nothing_is_lost(tmp_path: Path) -> None:
    """Spacing with a sign, numbers that went through a spreadsheet, a byte-order mark, no
    diameters.
    """
    values = {
        "Spacing_mm_px_": "-0.5, -0.5, -2",
        "Train_Val_Test": "3.0",
        "Lesion_diameters_Pixel_": "",
        "Patient_index": "1.0",
    }
    table = write_table(tmp_path, [row(**values)]) / "DL_info.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    (key,) = read_table(tmp_path, split="test")
    assert (key.spacing_mm, key.boxes[0].diameters_px, key.patient) == ((0.5, 0.5, 2.0), (), 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "File_name",
            "000001_01_109.png",
            "File_name '000001_01_109.png' is not <patient>_<study>_<series>_<slice>.png",
        ),
        ("Bounding_boxes", "1, 2, 3", "Bounding_boxes '1, 2, 3' must be 4 numbers"),
        ("Bounding_boxes", "1, 2, nan, 5", "must be 4 numbers"),
        ("Bounding_boxes", "9, 2, 9, 5", "Bounding_boxes '9, 2, 9, 5' has no area"),
        ("Spacing_mm_px_", "0.5, 0.5, 0", "must not be 0"),
        ("Slice_range", "9, 3", "Slice_range '9, 3' must be first, last"),
        ("Image_size", "512, 0", "must be positive"),
        ("Image_size", "512, 511.5", "must be 2 whole numbers"),
        ("Train_Val_Test", "4", "Train_Val_Test 4 must be 1, 2 or 3"),
        ("Train_Val_Test", "", "Train_Val_Test '' must be 1 number"),
        ("Possibly_noisy", "2", "Possibly_noisy 2 must be 0 or 1"),
        ("Coarse_lesion_type", "9", "Coarse_lesion_type 9 must be 1..8 or -1"),
    ],
)
def test_read_table__names_file_line_and_value(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    write_table(tmp_path, [row(), row("000002_01_01_007.png"), row(**{column: value})])
    with pytest.raises(ValueError, match=r"^DL_info\.csv, line 4: ") as error:
        read_table(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_read_table__refuses_a_table_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no DL_info\.csv in "):
        read_table(tmp_path)
    write_table(
        tmp_path, [{k: v for k, v in row().items() if k not in ("Slice_range", "Image_size")}]
    )
    with pytest.raises(ValueError, match=r"line 1: no column Slice_range, Image_size"):
        read_table(tmp_path)
    (tmp_path / "DL_info.csv").write_bytes(b"")
    with pytest.raises(ValueError, match="line 1: no column File_name"):
        read_table(tmp_path)
    (write_table(tmp_path, [row()]) / "DL_info.csv").open("ab").write(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_table(tmp_path)


def test_read_table__refuses_an_empty_split_and_an_unknown_one(tmp_path: Path) -> None:
    write_table(tmp_path, [row()])
    with pytest.raises(ValueError, match=r"no images of split val \(Train_Val_Test 2\)"):
        read_table(tmp_path, split="val")
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'valid'"):
        read_table(tmp_path, split="valid")


def test_read_table__refuses_rows_that_contradict_each_other(tmp_path: Path) -> None:
    write_table(tmp_path, [row(), row(Train_Val_Test=1)])
    with pytest.raises(ValueError, match=r"line 3: patient, split, .* of 000001_01_01/109 differ"):
        read_table(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(READ_COLUMNS), st.text(max_size=20))
def test_parse_row__any_text_is_read_or_refused_in_one_line(column: str, text: str) -> None:
    try:
        (box,) = parse_row({c: FIRST[c] for c in READ_COLUMNS} | {column: text}).boxes
    except ValueError as error:
        assert column in str(error) and len(str(error).splitlines()) == 1
    else:
        assert isinstance(box, Box) and box.x1 < box.x2


def test_columns__are_those_of_the_official_table(lesions: Path) -> None:
    with (lesions / "DL_info.csv").open(newline="", encoding="utf-8-sig") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
