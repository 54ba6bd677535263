"""DeepLesion's table `DL_info.csv`: one annotated lesion per row, read into key slices with boxes.

Boxes are the official ones minus 1, so 0-based, and are from here on taken as continuous edges:
column i covers i..i+1. DeepLesion does not say whether its numbers mean a pixel's middle or its
edge; the difference is half a pixel, and its boxes have a margin of five.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .images import IMAGES

TABLE = "DL_info.csv"
SPLITS = {"train": 1, "val": 2, "test": 3}
"""Names of the official splits and their numbers in column Train_Val_Test."""
LESION_TYPES = {
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
}
"""Values of column Coarse_lesion_type; the whole training split has -1, unknown."""
COLUMNS = (
    "File_name",
    "Patient_index",
    "Study_index",
    "Series_ID",
    "Key_slice_index",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Normalized_lesion_location",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "DICOM_windows",
    "Patient_gender",
    "Patient_age",
    "Train_Val_Test",
)
"""The official 18 columns, in their order."""
READ_COLUMNS = (
    "File_name",
    "Patient_index",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Normalized_lesion_location",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "Train_Val_Test",
)
"""The columns that are read. Age and sex are not."""
WHOLE_PX = 100
"""From this side on an image is a whole slice, whose field is compared."""


@dataclass(frozen=True)
class Box:
    """One annotated lesion: edges in pixels of the slice, 0-based.

    lesion_type: a key of `LESION_TYPES`, or -1. diameters_px: long and short axis, as measured.
    noisy: marked as possibly wrong.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    lesion_type: int = -1
    diameters_px: tuple[float, ...] = ()
    noisy: bool = False

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2


@dataclass(frozen=True)
class KeySlice:
    """An annotated slice.

    folder: `<patient>_<study>_<series>`. index: number of the slice in its series, which grows from
    head to foot. spacing_mm: (x, y, z), z being the distance between slices. slice_range: first and
    last slice that come with it. size_px: (width, height). z_position: where the slice lies in the
    body by DeepLesion's own normalised location, 0 at the head; None where the table does not say.
    """

    folder: str
    index: int
    patient: int
    split: str
    boxes: tuple[Box, ...]
    spacing_mm: tuple[float, float, float]
    slice_range: tuple[int, int]
    size_px: tuple[int, int]
    z_position: float | None = None

    @property
    def name(self) -> str:
        """`<folder>/<slice>`, the name of its file without the ending."""
        return f"{self.folder}/{self.index:03d}"

    def agrees(self, other: KeySlice) -> bool:
        """Whether two rows of one file agree, apart from boxes and positions."""
        return (self.patient, self.split, self.spacing_mm, self.slice_range, self.size_px) == (
            other.patient,
            other.split,
            other.spacing_mm,
            other.slice_range,
            other.size_px,
        )


def read_table(
    folder: Path, *, split: str | None = None, keep_noisy: bool = False
) -> list[KeySlice]:
    """Read the key slices of a folder, in the order of the table.

    Args:
        folder: in DeepLesion's layout.
        split: one of `SPLITS`; None for all.
        keep_noisy: keep boxes that are marked as possibly noisy. Without them a key slice that has
            no other box is left out.

    Raises:
        ValueError: the table or a column is absent, a row cannot be read or contradicts another row
            of its file, or the split has no images.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    found = []
    for line, row in table_rows(folder):
        try:
            found.append((line, parse_row(row)))
        except ValueError as error:
            raise ValueError(f"{TABLE}, line {line}: {error}") from None
    keys, contradictions = merge_rows(found)
    for contradiction in contradictions:
        raise ValueError(contradiction)
    if not keep_noisy:
        keys = without_noisy(keys)
    if split is not None:
        keys = [k for k in keys if k.split == split]
    if not keys:
        raise ValueError(
            f"{TABLE} has no images of split {split or 'any'} (Train_Val_Test "
            f"{SPLITS.get(split or '', '1, 2, 3')}); choose another"
        )
    return keys


def table_rows(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a folder's table with their line numbers.

    Raises:
        ValueError: the table is absent, is not text, or lacks a column.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        raise ValueError(
            f"no {TABLE} in {path.parent.name or 'the folder'}: give the folder that holds "
            f"{TABLE} and {IMAGES}"
        )
    return _rows(path, READ_COLUMNS)


def spacing_by_folder(table: Path) -> dict[str, tuple[float, float, float]]:
    """Spacing (x, y, z) in mm of each folder that a table names.

    Only the columns File_name and Spacing_mm_px_ are needed.

    Raises:
        ValueError: the file is not text, lacks a column, or holds a spacing that is not three
            numbers.
    """
    return {
        row["File_name"].rpartition("_")[0]: _spacing(row)
        for _, row in _rows(table, ("File_name", "Spacing_mm_px_"))
    }


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, the columns asked for)."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        try:
            if absent := [c for c in columns if c not in (reader.fieldnames or ())]:
                raise ValueError(
                    f"{TABLE}, line 1: no column {', '.join(absent)}; take the table as "
                    "DeepLesion ships it"
                )
            for row in reader:
                yield reader.line_num, {c: row[c].strip() for c in columns}
        except (UnicodeDecodeError, csv.Error):
            raise ValueError(
                f"{TABLE}, after line {reader.line_num}: not UTF-8 text in columns; take the "
                "table as DeepLesion ships it"
            ) from None


def parse_row(row: dict[str, str]) -> KeySlice:
    """Read a row as a key slice with one box.

    Raises:
        ValueError: a value cannot be read; the text names the column, the value and what it should
            be.
    """
    match = re.fullmatch(r"(\d+_\d+_\d+)_(\d+)\.png", row["File_name"])
    if match is None:
        raise ValueError(
            f"File_name {row['File_name']!r} is not <patient>_<study>_<series>_<slice>.png"
        )
    x1, y1, x2, y2 = (v - 1 for v in _numbers(row, "Bounding_boxes", 4))
    if not (x1 < x2 and y1 < y2):
        raise ValueError(
            f"Bounding_boxes {row['Bounding_boxes']!r} has no area: x1, y1, x2, y2 with x1 < x2 "
            "and y1 < y2"
        )
    spacing_mm = _spacing(row)
    if min(spacing_mm) == 0:
        raise ValueError(f"Spacing_mm_px_ {row['Spacing_mm_px_']!r} must not be 0")
    first, last = _integers(row, "Slice_range", 2)
    if first > last:
        raise ValueError(f"Slice_range {row['Slice_range']!r} must be first, last")
    width, height = _integers(row, "Image_size", 2)
    if min(width, height) < 1:
        raise ValueError(f"Image_size {row['Image_size']!r} must be positive")
    _check_unit(row, spacing_mm, (width, height))
    (lesion_type,), (noisy,), (patient,), (number,) = (
        _integers(row, c, 1)
        for c in ("Coarse_lesion_type", "Possibly_noisy", "Patient_index", "Train_Val_Test")
    )
    if lesion_type != -1 and lesion_type not in LESION_TYPES:
        raise ValueError(f"Coarse_lesion_type {lesion_type} must be 1..{max(LESION_TYPES)} or -1")
    if noisy not in (0, 1):
        raise ValueError(f"Possibly_noisy {noisy} must be 0 or 1")
    split = next((name for name, n in SPLITS.items() if n == number), None)
    if split is None:
        raise ValueError(f"Train_Val_Test {number} must be 1, 2 or 3")
    box = Box(x1, y1, x2, y2, lesion_type, _measured(row["Lesion_diameters_Pixel_"]), bool(noisy))
    location = _measured(row["Normalized_lesion_location"])
    z_position = location[2] if len(location) == 3 else None
    return KeySlice(
        match[1],
        int(match[2]),
        patient,
        split,
        (box,),
        spacing_mm,
        (first, last),
        (width, height),
        z_position,
    )


def merge_rows(found: Iterable[tuple[int, KeySlice]]) -> tuple[list[KeySlice], list[str]]:
    """Merge rows (line number, key slice with one box) by file.

    Returns the key slices, and one message per row that contradicts the first row of its file.
    """
    keys: dict[tuple[str, int], KeySlice] = {}
    contradictions = []
    for line, row in found:
        first = keys.setdefault((row.folder, row.index), row)
        if not row.agrees(first):
            contradictions.append(
                f"{TABLE}, line {line}: patient, split, spacing, slice range or size of "
                f"{row.name} differ from an earlier row of that "
                "image; take the table as DeepLesion ships it"
            )
        elif row is not first:
            z_position = row.z_position if first.z_position is None else first.z_position
            keys[row.folder, row.index] = dataclasses.replace(
                first, boxes=first.boxes + row.boxes, z_position=z_position
            )
    return list(keys.values()), contradictions


def without_noisy(keys: Iterable[KeySlice]) -> list[KeySlice]:
    """Leave out the boxes marked as possibly noisy, and the key slices that then have none."""
    kept = (dataclasses.replace(k, boxes=tuple(b for b in k.boxes if not b.noisy)) for k in keys)
    return [k for k in kept if k.boxes]


def _spacing(row: dict[str, str]) -> tuple[float, float, float]:
    """(x, y, z) in mm; some tables give them a sign."""
    x_mm, y_mm, z_mm = (abs(v) for v in _numbers(row, "Spacing_mm_px_", 3))
    return x_mm, y_mm, z_mm


def _check_unit(
    row: dict[str, str], spacing_mm: tuple[float, float, float], size_px: tuple[int, int]
) -> None:
    """Refuse a spacing that no CT has in mm, as one in cm, m or um is."""
    *pixel_mm, step_mm = spacing_mm
    in_plane = 0.1 <= min(pixel_mm) and max(pixel_mm) <= 10
    field_mm = max(n * mm for n, mm in zip(size_px, pixel_mm, strict=True))
    field = max(size_px) < WHOLE_PX or 60 <= field_mm <= 1000
    # DeepLesion's validation and test images have steps of 0.25 to 5 mm.
    if not (in_plane and field and 0.2 <= step_mm <= 30):
        raise ValueError(
            f"Spacing_mm_px_ {row['Spacing_mm_px_']!r} with Image_size {row['Image_size']!r} is "
            "not plausible for a CT in mm: pixels of 0.1..10 mm, slices 0.2..30 mm apart, a field "
            "of 60..1000 mm; give mm"
        )


def _numbers(row: dict[str, str], column: str, n: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in row[column].split(","))
    except ValueError:
        values = ()
    if len(values) != n or not all(map(math.isfinite, values)):
        raise ValueError(f"{column} {row[column]!r} must be {n} number{'s' if n > 1 else ''}")
    return values


def _integers(row: dict[str, str], column: str, n: int) -> tuple[int, ...]:
    values = _numbers(row, column, n)
    if any(v != int(v) for v in values):
        raise ValueError(f"{column} {row[column]!r} must be {n} whole number{'s' if n > 1 else ''}")
    return tuple(int(v) for v in values)


def _measured(text: str) -> tuple[float, ...]:
    """Numbers that a row may lack; empty if any of them is not a finite number."""
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()
