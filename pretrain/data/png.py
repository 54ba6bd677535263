"""DeepLesion's layout: folders `<patient>_<study>_<series>/` of 16-bit PNG `<slice>.png`, HU =
value - 32768.

The format holds no geometry, so every volume carries the warning `ungeometric`. Slice numbers are
the only order there is; in DeepLesion they grow from head to foot (in 1,510 of 1,515 pairs of
annotated slices of one series the larger number lies lower in the body by the table's own
normalised location). Pixel and slice spacing stand in `DL_info.csv` beside `Images_png`. A folder
holds the neighbourhoods of its annotated slices, so numbers jump; positions follow the numbers, and
the jumps are recorded as gaps.
"""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from .digests import files_digest
from .hu import HuScale
from .volume import LeftOut, Series, UnusableError, Volume

OFFSET = 32768
"""Stored value of 0 HU."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
UNREADABLE_AT_MOST = 0.1

_NO_TABLE = "no DL_info.csv beside Images_png: PNG hold no spacing, put DeepLesion's table there"


def is_16_bit_grey(start: bytes) -> bool:
    """From the first 26 bytes of a PNG file: bit depth 16, colour type 0."""
    return start[24:26] == b"\x10\x00"


def group(paths: list[str], not_16_bit: set[str]) -> tuple[list[Series], list[LeftOut]]:
    """A series a folder of 16-bit PNG that are named by their slice number, and what is none, one
    line a folder and reason.
    """
    folders: dict[str, list[str]] = {}
    for path in sorted(paths):
        folders.setdefault(str(Path(path).parent), []).append(path)
    found, left = [], []
    for folder, members in folders.items():
        shallow = [p for p in members if p in not_16_bit]
        unnamed = [p for p in members if p not in not_16_bit and not Path(p).stem.isdecimal()]
        for out, reason in (
            (shallow, "PNG that are not 16-bit grey: HU are lost"),
            (unnamed, "PNG that are not named by a slice number"),
        ):
            if out:
                left.append(LeftOut(folder, f"{reason} ({len(out)} files)"))
        files = tuple(sorted((p for p in members if p not in {*shallow, *unnamed}), key=_number))
        if files:
            patient = re.fullmatch(r"(\d+)_\d+_\d+", Path(folder).name)
            found.append(
                Series(
                    "png", files, files_digest(files), f"deeplesion-{patient[1]}" if patient else ""
                )
            )
    return found, left


def read(series: Series) -> Volume:
    """The slices of one folder, in the order of their numbers; z_mm = (number - first number) *
    slice spacing.

    Raises `UnusableError` when the table with the spacing is missing or does not know the folder,
    when sizes differ, when more than a tenth of the files cannot be read, or when the values are no
    HU.
    """
    folder = Path(series.files[0]).parent
    x_mm, y_mm, step_mm = _spacing(folder)
    scale = HuScale()
    numbers, slices = [], []
    for path in series.files:
        try:
            slices.append(scale.convert(_load(path), 1.0, -float(OFFSET)))
            numbers.append(_number(path))
        except (OSError, SyntaxError, ValueError):  # Pillow's words for damaged
            continue
    notes: tuple[str, ...] = ("ungeometric: order from slice numbers, spacing from DL_info.csv",)
    failed = len(series.files) - len(slices)
    if failed > UNREADABLE_AT_MOST * len(series.files):
        raise UnusableError(f"{failed} of {len(series.files)} PNG are damaged")
    if failed:
        notes += (f"unreadable: {failed} of {len(series.files)} files",)
    if len({s.shape for s in slices}) > 1:
        raise UnusableError("slices differ in size")
    notes += scale.warnings()
    jumps = np.diff(numbers)
    if (jumps == 0).any():
        raise UnusableError("two files have the same slice number")
    wide = np.flatnonzero(jumps > 1)
    if len(wide):
        notes += (
            f"gap: {len(wide)} of up to {jumps.max() * step_mm:.1f} mm, the first after slice "
            f"{wide[0]}, usual {step_mm:.1f} mm",
        )
    z_mm = (np.array(numbers) - numbers[0]) * step_mm
    return Volume(np.stack(slices), (step_mm, y_mm, x_mm), z_mm, notes)


def _load(path: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode != "I;16":
            raise ValueError("not 16-bit grey")
        return np.asarray(image, np.uint16)


def _spacing(folder: Path) -> tuple[float, float, float]:
    """(x, y, z) mm of a folder, from the table beside its parent or in it."""
    for place in (folder.parent.parent, folder.parent):
        table = place / "DL_info.csv"
        if table.is_file():
            try:
                return _table(table, table.stat().st_mtime_ns)[folder.name]
            except KeyError:
                raise UnusableError(
                    "DL_info.csv has no row for this folder, so its spacing is not known"
                ) from None
    raise UnusableError(_NO_TABLE)


@lru_cache(maxsize=4)
def _table(path: Path, _changed: int) -> dict[str, tuple[float, float, float]]:
    """Folder name -> spacing.

    Column File_name is `<folder>_<slice>.png`, Spacing_mm_px_ is "x, y, z".
    """
    spacing = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                x, y, z = (abs(float(v)) for v in row["Spacing_mm_px_"].split(","))
                spacing[row["File_name"].rpartition("_")[0]] = (x, y, z)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise UnusableError(
                    "DL_info.csv is not DeepLesion's table (columns File_name and Spacing_mm_px_)"
                ) from None
    return spacing


def _number(path: str) -> int:
    return int(Path(path).stem)
