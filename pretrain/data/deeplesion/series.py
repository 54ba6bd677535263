"""DeepLesion's folders of slices, read as CT volumes.

The format holds no geometry, so every volume carries the warning `ungeometric`. Slice numbers are
the only order there is. In DeepLesion they grow from head to foot: in 1,510 of 1,515 pairs of
annotated slices of one series the larger number lies lower in the body by the table's own
normalised location. Pixel and slice spacing stand in the table. A folder holds the neighbourhoods
of its annotated slices, so numbers jump; positions follow the numbers, and the jumps are recorded
as gaps.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..digests import UnreadableError, files_digest
from ..hu import HuScale
from ..orient import check_spacing
from ..volume import LeftOut, Series, UnusableError, Volume
from .images import IMAGES, load_hu
from .table import TABLE, spacing_by_folder

UNREADABLE_AT_MOST = 0.1
"""Share of a folder's files that may be damaged."""


def group_slices(paths: list[str], not_16_bit: set[str]) -> tuple[list[Series], list[LeftOut]]:
    """One series per folder of 16-bit PNG named by slice number, and what was left out, with one
    entry per folder and reason.
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
            named = re.fullmatch(r"(\d+)_\d+_\d+", Path(folder).name)
            patient = f"deeplesion-{named[1]}" if named else ""
            try:
                found.append(Series("png", files, files_digest(files), patient))
            except UnreadableError as error:
                left.append(error.of_series())
    return found, left


def read_series(series: Series) -> Volume:
    """Read the slices of one folder in the order of their numbers.

    z_mm = (number - first number) * slice spacing.

    Raises:
        UnusableError: the table with the spacing is missing or does not know the folder, sizes
            differ, the spacing is not a CT's, more than a tenth of the files cannot be read, or the
            values are not HU.
    """
    folder = Path(series.files[0]).parent
    x_mm, y_mm, step_mm = _spacing(folder)
    check_spacing((step_mm, y_mm, x_mm))
    scale = HuScale()
    numbers, slices = [], []
    for path in series.files:
        try:
            slices.append(scale.convert(load_hu(Path(path))))
            numbers.append(_number(path))
        except ValueError:
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


def _spacing(folder: Path) -> tuple[float, float, float]:
    """(x, y, z) mm of a folder, from the table beside its parent or in it."""
    for parent in (folder.parent.parent, folder.parent):
        table = parent / TABLE
        if table.is_file():
            try:
                return _spacings(table, table.stat().st_mtime_ns)[folder.name]
            except KeyError:
                raise UnusableError(
                    f"{TABLE} has no row for this folder, so its spacing is not known"
                ) from None
    raise UnusableError(
        f"no {TABLE} beside {IMAGES}: PNG hold no spacing, put DeepLesion's table there"
    )


@lru_cache(maxsize=4)
def _spacings(table: Path, _changed: int) -> dict[str, tuple[float, float, float]]:
    try:
        return spacing_by_folder(table)
    except ValueError:
        raise UnusableError(
            f"{TABLE} is not DeepLesion's table (columns File_name and Spacing_mm_px_)"
        ) from None


def _number(path: str) -> int:
    return int(Path(path).stem)
