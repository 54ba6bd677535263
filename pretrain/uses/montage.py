"""Contact sheets: slices of a series with their indices, so that people can label them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.weights.common.claims import claim, claim_folder
from ubr.weights.common.disk import whole, write_text

from ..data.scans import Scan, UnreadScan, scans_of, why_unread
from ..data.volume import LeftOut, reasons
from .pictures import slice_picture, spread

if TYPE_CHECKING:
    from PIL.Image import Image

BEGUN = ".montage.json"
"""What a call drew that has not ended; the same call continues with the missing sheets."""
TILE_PX, TEXT_PX, GAP_PX = 192, 14, 4
BACK = 40
"""Grey level behind the slices, which are black at their edges."""


@dataclass(frozen=True)
class Montage:
    """The sheets that were written, and the series without one."""

    sheets: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]

    def table(self) -> str:
        """The summary of a montage as text."""
        one = self.sheets[0]
        where = one if len(self.sheets) == 1 else f"{len(self.sheets):,} sheets in {one.parent}"
        left = [f"left out  {len(self.left_out):,}"] if self.left_out else []
        return "\n".join([str(where), *left, *reasons(self.left_out, 10, with_paths=False)])


def contact_sheets(
    source: str | Path,
    out: str | Path,
    *,
    series: str | None = None,
    slices: int = 40,
    between: str | None = None,
    overwrite: bool = False,
) -> Montage:
    """Draw slices of each series at equal distances, with their indices and positions.

    Repeat an interrupted call that writes a folder to resume it.

    Indices count from 0 at the superior end, as in `labels.csv` of `calibrate`.

    Args:
        source: a store, or a file or folder with scans.
        out: a .png file for the sheet of one series, or a folder, in which each sheet is called
            KEY.png after its series.
        series: the key of one series, or the beginning of it; by default all series.
        slices: the most slices that a sheet shows.
        between: the first and last slice to choose from, in one series, e.g. 40-60; by default the
            whole series.
        overwrite: replace earlier sheets of the same names.

    Raises:
        ValueError: no scans, no such series, several series for one file, slices that a series does
            not have, or a sheet that exists.
    """
    if slices < 1:
        raise ValueError(f"slices must be at least 1, got {slices}")
    out = Path(out)
    with claim_folder(out) if _is_folder(out) else claim(out):
        return _contact_sheets(source, out, series, slices, between, overwrite)


def _contact_sheets(
    source: str | Path,
    out: Path,
    series: str | None,
    slices: int,
    between: str | None,
    overwrite: bool,
) -> Montage:
    found, left_out = _chosen(source, series)
    if between is not None and len(found) > 1:
        raise ValueError(
            f"between {between} applies to one series, but {len(found)} match; give `series`"
        )
    keys = [scan.key for scan in found]
    asked = json.dumps({"series": keys, "slices": slices, "between": between})
    note = out / BEGUN if _is_folder(out) else None
    resumes = note is not None and note.is_file() and note.read_text("utf-8", "replace") == asked
    targets = _targets(out, keys, overwrite or resumes)
    made, refused = [], list(left_out)
    for unread, target in zip(found, targets, strict=True):
        if resumes and not overwrite and target.exists():
            made.append(target)
            continue
        try:
            scan = unread.read()
        except Exception as error:  # one series must not end the others
            refused.append(LeftOut(unread.source, why_unread(error), unread.key))
            continue
        first, last = _range(between, scan)
        if note is not None and not made:
            write_text(note, asked)
        with whole(target) as part:
            _draw(scan, spread(first, last, slices)).save(part)
        made.append(target)
    if not made:
        raise ValueError(f"none of the {len(found)} series can be read: {refused[-1].reason}")
    if note is not None:
        note.unlink(missing_ok=True)
    return Montage(tuple(made), tuple(refused))


def _chosen(source: str | Path, series: str | None) -> tuple[list[UnreadScan], list[LeftOut]]:
    """The series to draw, and what gave none."""
    scans = scans_of([source])
    if series is None:
        return list(scans.unread), scans.left_out
    found = [scan for scan in scans.unread if series and scan.key.startswith(series)]
    if len(found) != 1:
        keys = ", ".join(scan.key for scan in (found or scans.unread)[:5])
        raise ValueError(
            f"series must begin one series' key, got {series!r}, which matches {len(found)} of "
            f"{len(scans.unread)}; give one of: {keys}{', ...' if len(scans.unread) > 5 else ''}"
        )
    return found, []


def _is_folder(out: Path) -> bool:
    """Whether a path is that of a folder of sheets, which may be yet to make."""
    return out.is_dir() or not (out.suffix or out.exists())


def _targets(out: Path, keys: Sequence[str], overwrite: bool) -> list[Path]:
    """The file of each sheet. Raises `ValueError` where they may not be written."""
    if out.suffix == ".png" and not out.is_dir():
        if len(keys) > 1:
            raise ValueError(
                f"{out} is one file, but there are {len(keys)} series; give a folder, or one "
                "`series`"
            )
        targets = [out]
    elif _is_folder(out):
        targets = [out / f"{key}.png" for key in keys]
    else:
        raise ValueError(f"{out}: `out` must be a .png file or a folder")
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise ValueError(f"{there[0]} exists; give another `out`, or set `overwrite`")
    return targets


def _range(between: str | None, scan: Scan) -> tuple[int, int]:
    """The first and last slice to choose from."""
    slices = len(scan.volume.hu)
    if between is None:
        return 0, slices - 1
    span = re.fullmatch(r"(\d+)-(\d+)", between)
    first, last = (int(end) for end in span.groups()) if span else (1, 0)
    if not first <= last < slices:
        raise ValueError(
            f"between must be FIRST-LAST within 0-{slices - 1}, got {between!r}; "
            f"series {scan.key} has {slices} slices"
        )
    return first, last


def _draw(scan: Scan, chosen: Sequence[int]) -> Image:
    """The sheet of a series."""
    from PIL import Image, ImageDraw, ImageFont

    volume, font = scan.volume, ImageFont.load_default(TEXT_PX)
    tiles = [slice_picture(volume.hu[i], volume.spacing_mm[1:], TILE_PX) for i in chosen]
    columns = min(8, math.ceil(math.sqrt(1.5 * len(tiles))))
    wide = max(2, columns) * (TILE_PX + GAP_PX) + GAP_PX
    row_px, top = tiles[0].height + TEXT_PX + 2 * GAP_PX, 2 * (TEXT_PX + GAP_PX) + GAP_PX
    sheet = Image.new("L", (wide, top + row_px * math.ceil(len(tiles) / columns)), BACK)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, GAP_PX), f"series {scan.key}", 255, font)
    about = f"{len(volume.hu)} slices, {volume.z_mm[-1]:.0f} mm; 0 is the most superior"
    draw.text((GAP_PX, 2 * GAP_PX + TEXT_PX), about, 190, font)
    for place, (index, tile) in enumerate(zip(chosen, tiles, strict=True)):
        x = GAP_PX + place % columns * (TILE_PX + GAP_PX)
        y = top + place // columns * row_px
        draw.text((x, y), f"{index}", 255, font)
        position = f"{volume.z_mm[index]:.0f} mm"
        draw.text((x + TILE_PX - draw.textlength(position, font), y), position, 150, font)
        sheet.paste(tile, (x + (TILE_PX - tile.width) // 2, y + TEXT_PX + GAP_PX))
    return sheet
