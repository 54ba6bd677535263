"""Many phantoms in one folder, and the truth about them.

A phantom that is there is whole, so a run that was stopped resumes by skipping those. The truth
(`labels.csv`, `landmarks.csv`) follows from seed and settings without images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ubr.weights.common import disk, doors
from ubr.weights.common.claims import claim_folder
from ubr.weights.common.pool import cores

from ..data.deeplesion.images import IMAGES
from ..data.workers import each
from .forms import Form, add_rows, check_form, phantom_path, write_csv, write_phantom
from .scan import Case, draw, image

_SETTINGS = ".phantoms.json"


@dataclass(frozen=True)
class Phantoms:
    """What a phantom run made.

    folder: where. written: new phantoms; already: those that were there. slices: of all of them.
    """

    folder: Path
    written: int
    already: int
    slices: int

    def __str__(self) -> str:
        there = f" ({self.already} were there already)" if self.already else ""
        truth = "the truth is in labels.csv (one row per slice) and landmarks.csv"
        return (
            f"{self.written + self.already} phantoms{there}, {self.slices:,} slices in "
            f"{self.folder}; {truth}"
        )


def phantoms(
    out: Path,
    *,
    n: int = 24,
    seed: int = 0,
    form: Form = "dicom",
    size_px: int = 128,
    ascites: int = 0,
    workers: int | None = None,
) -> Phantoms:
    """Write synthetic CT scans of made-up patients, and the body part of every slice.

    Repeat an interrupted call to resume it.

    Patients differ in stature, fat, sex, organs and arms; scans in range, spacing, field of view,
    table, contrast, kernel, noise and metal. labels.csv has the columns file (name of the series'
    folder or file), slice (from the superior end, from 0), z_mm (below the first slice), region
    (head, neck, chest, abdomen, pelvis, thigh; the abdomen goes from the upper border of the liver
    to that of the ilium), body_mm (level in a body of 1750 mm, below the vertex). landmarks.csv has
    file, landmark, slice (not whole).

    Args:
        out: a new or empty folder, or one of an earlier run with the same options.
        n: how many phantoms.
        seed: seed of the first phantom; the others take the numbers that follow.
        form: dicom (one folder per series), nifti (one file per series) or png (DeepLesion's
            layout, HU + 32768).
        size_px: rows and columns of a slice.
        ascites: how many phantoms have ascites, counted from the first.
        workers: processes; one per core by default.

    Raises:
        ValueError: an option is out of range, or the folder holds something else.
    """
    if n < 1 or not 0 <= ascites <= n or (workers is not None and workers < 1):
        raise ValueError(
            f"n and workers must be at least 1 and ascites lie in 0..n, got n {n}, workers "
            f"{workers}, ascites {ascites}"
        )
    check_form(form)
    out = Path(out).expanduser()
    cases = [draw(seed + k, ascites=k < ascites, size_px=size_px) for k in range(n)]
    with claim_folder(out):
        _begin(out, {"n": n, "seed": seed, "form": form, "size_px": size_px, "ascites": ascites})
        todo = [case for case in cases if not phantom_path(case, out, form).exists()]
        if form == "png":
            disk.make_folder(out / IMAGES)
            add_rows(out, todo)
        _write_truth(out, cases, form)
        _write_all(todo, out, form, min(len(todo), workers or cores()))
    return Phantoms(out, len(todo), n - len(todo), sum(len(case.z_mm) for case in cases))


def _begin(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder this run's, or see that it is."""
    note = out / _SETTINGS
    if note.is_file():
        before = doors.read_json(note, dict[str, Any], "choose a new folder")
        changed = [
            f"{k} was {before.get(k)!r}, now {v!r}"
            for k, v in settings.items()
            if before.get(k) != v
        ]
        if changed:
            raise ValueError(
                f"{out} holds phantoms made with other options ({'; '.join(changed)}); use a new "
                "folder or the same options"
            )
    elif out.exists() and (not out.is_dir() or not all(map(_is_leftover, out.iterdir()))):
        raise ValueError(f"{out} is not empty and holds no phantoms; choose a new or empty folder")
    else:
        disk.write_text(note, json.dumps(settings))
    _sweep(out)
    _sweep(out / IMAGES)


def _is_leftover(path: Path) -> bool:
    """Whether a stopped run left this; earlier versions' names begin with .part-."""
    return disk.is_part(path) or path.name.startswith(".part-")


def _sweep(folder: Path) -> None:
    if not folder.is_dir():
        return
    disk.sweep(folder)
    for path in folder.glob(".part-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _write_all(cases: Sequence[Case], out: Path, form: Form, workers: int) -> None:
    task = partial(_write_one, out=out, form=form)
    staff = workers if workers > 1 else 0
    with closing(each(task, cases, staff, name="phantoms", unit="scan")) as results:
        for case, path in results:
            if path is None:
                raise RuntimeError(
                    f"the process that drew phantom {case.seed} died each time, most likely "
                    "out of memory; use fewer workers"
                )


def _write_one(case: Case, out: Path, form: Form) -> Path:
    return write_phantom(image(case), out, form)


def _write_truth(out: Path, cases: Iterable[Case], form: Form) -> None:
    labels, landmarks = [], []
    for case in cases:
        name = phantom_path(case, out, form).name
        for k, (z, region, u) in enumerate(zip(case.z_mm, case.region, case.body_mm, strict=True)):
            labels.append((name, k, f"{z:.3f}", region, f"{u:.2f}"))
        landmarks += [(name, mark, f"{index:.3f}") for mark, index in case.landmarks.items()]
    write_csv(out / "labels.csv", ("file", "slice", "z_mm", "region", "body_mm"), labels)
    write_csv(out / "landmarks.csv", ("file", "landmark", "slice"), landmarks)
