"""What was selected, as a list, and as links to files or copies of them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from ubr.weights.common.disk import whole

from ..data.find import find_series
from ..data.scans import unread_scan
from ..data.volume import Series, UnusableError

Form = Literal["list", "links", "copies"]
COLUMNS = ("study", "series", "covers", "reason", "runner_up", "runner_up_reason", "path")


class Named(Protocol):
    """A choice, with the attributes in `COLUMNS`."""

    @property
    def study(self) -> str: ...

    @property
    def series(self) -> str: ...

    @property
    def path(self) -> str: ...


def write_selection(target: Path, chosen: Sequence[Named], form: Form) -> None:
    """The list as a file; or a folder with it and the files of each series."""
    with whole(target) as part:
        if form == "list":
            _write_list(part, chosen)
            return
        part.mkdir()
        _write_list(part / "selection.csv", chosen)
        for one in chosen:
            if one.series:
                _place(_files(one), part / (one.study or "no-study") / one.series, form)


def _write_list(path: Path, chosen: Sequence[Named]) -> None:
    columns = COLUMNS if any(one.path for one in chosen) else COLUMNS[:-1]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(vars(one) for one in chosen)


def _files(one: Named) -> Series:
    """The files of a chosen series, found again where it was read from: a folder may hold more."""
    try:
        found, _ = find_series([one.path])
    except UnusableError:
        found = []
    for series in found:
        if unread_scan(series).key == one.series:
            return series
    raise ValueError(f"series {one.series} is no longer where it was audited; audit again")


def _place(series: Series, folder: Path, form: Form) -> None:
    """Put links to files, or copies of them, into a new folder.

    Those of DICOM are numbered: they may come from several folders.
    """
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(series.files), 1):
        name = f"{number:05d}.dcm" if series.kind == "dicom" else Path(file).name
        if form == "links":
            (folder / name).symlink_to(Path(file).resolve())
        else:
            shutil.copyfile(file, folder / name)
