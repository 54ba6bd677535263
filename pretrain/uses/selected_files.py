"""What was selected, as a list, and as links to files or copies of them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from ubr.weights.common.disk import whole

from ..data.find import search
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
        by_path: dict[str, dict[str, Named]] = {}
        for one in chosen:
            if one.series:
                by_path.setdefault(one.path, {})[one.series] = one
        for path, wanted in by_path.items():
            _place_all(path, wanted, part, form)


def _write_list(path: Path, chosen: Sequence[Named]) -> None:
    columns = COLUMNS if any(one.path for one in chosen) else COLUMNS[:-1]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(vars(one) for one in chosen)


def _place_all(path: str, wanted: Mapping[str, Named], target: Path, form: Form) -> None:
    """Find chosen series again where they were read from, in one search, and place their files.

    wanted: the choices by their series' keys; the folder may hold more.
    """
    missing = dict(wanted)
    try:
        with search([path]) as found:
            for series in found:
                if one := missing.pop(unread_scan(series).key, None):
                    _place(series, target / (one.study or "no-study") / one.series, form)
    except UnusableError:
        pass  # the folder has gone
    if missing:
        raise ValueError(f"series {min(missing)} is no longer where it was audited; audit again")


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
