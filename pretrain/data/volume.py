"""The one form in which a CT series enters the project, whatever file it came from.

Slice order is the label UBR learns from, so a series read upside-down is a label error. Every
reader therefore turns what it finds into a `Volume` whose axes are fixed: z runs from superior to
inferior, y from anterior to posterior, x from the patient's right to the left (as a radiologist
sees an axial slice). Direction comes from geometry, never from names.

Warnings are short texts that begin with one of the codes in `WARNINGS`. Neither warnings nor errors
ever hold a path, a name, an id, a date or a UID: they are kept in stores and reports that leave the
hospital.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WARNINGS = {
    "clipped": "HU above HU_RANGE were clipped (metal)",
    "duplicate": "slices at a position already taken were dropped",
    "gap": "slices are missing: a step of more than 1.5 times the usual one around it",
    "uneven": "the slice step varies by more than 5 % without a gap",
    "oblique": "the axes were resampled to the patient's",
    "tilt": "the gantry was tilted; slices were sheared back where needed",
    "transform": "one of two transforms to the patient is not valid; the other was taken",
    "rescale": "no rescale slope and intercept; values were taken as HU",
    "ungeometric": "the format holds no geometry; order or spacing was taken from elsewhere",
    "mixed": "the series held several stacks, patients or studies; this is one of them",
    "joined": "every slice had a series UID of its own; one scan was made of them",
    "single": "one of several series of one slice each that lie on one stack",
    "blank": "slices without a body have no score of their own",
    "unreadable": "files of the series that could not be read were left out",
}
UID_OF_ANOTHER = "mixed: another patient in the store has this series' UID"


class UnusableError(ValueError):
    """A file or series that cannot be taken.

    The text is the reason in one line, without path or identity.
    """


@dataclass(frozen=True)
class Volume:
    """A CT volume in the project's axes.

    hu: `[z, y, x]` int16, Hounsfield units within `HU_RANGE`; z superior -> inferior, y anterior ->
    posterior, x patient right -> left.
    spacing_mm: (z, y, x) in mm; z is the median step between slices.
    z_mm: `[z]` float64, mm below the first slice along the slice normal; strictly increasing,
    starts at 0.
    warnings: texts that begin with a code of `WARNINGS` ("gap: 1 step of 10.0 mm after slice 12,
    usual 2.5 mm").
    place: `[3, 4]`, where the volume lies: `place @ (x, y, z_mm, 1)` is the point of column x and
    row y at z_mm below the first slice, in DICOM's LPS (mm to the patient's left, back and head).
    None where the format does not say, or the slices are not the file's own because they were
    resampled.

    Raises `UnusableError` when the arrays contradict each other.
    """

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...] = field(default=())
    place: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16 or 0 in self.hu.shape:
            raise UnusableError(
                f"a volume is [z, y, x] int16, got shape {self.hu.shape} of {self.hu.dtype}"
            )
        check_positions(self.z_mm, len(self.hu))
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise UnusableError(f"spacing must be positive, got {self.spacing_mm} mm")


def check_positions(z_mm: NDArray[np.float64], slices: int) -> None:
    """Raise `UnusableError` for positions that are not those of so many slices."""
    if (
        len(z_mm) != slices
        or not np.isfinite(z_mm).all()
        or z_mm[0] != 0
        or (np.diff(z_mm) <= 0).any()
    ):
        raise UnusableError("slice positions must start at 0 and increase, one per slice")


@dataclass(frozen=True)
class Series:
    """A readable unit found in the user's folders, before its pixels are read.

    kind: which reader takes it.
    files: absolute paths; for DICOM in no particular order; for others the header's first.
    uid: what makes it this series and no other (DICOM: SeriesInstanceUID and the stack's number;
    else a digest of the content). It is hashed before anything is written.
    patient: what makes two series one patient's, or "" where the format does not say. Hashed
    likewise.
    frames: of each DICOM file, which of its frames belong to the series; () for all of all files.
    warnings: what the search already knows; they become warnings of the volume.
    own_patient: the patient of the files themselves, where a table of patients names the patient.
    """

    kind: Literal["dicom", "nifti", "itk", "png"]
    # Not in the repr: Dask writes what it failed on into its workers' logs.
    files: tuple[str, ...] = field(repr=False)
    uid: str = field(repr=False)
    patient: str = field(repr=False)
    frames: tuple[tuple[int, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    own_patient: str | None = field(default=None, repr=False)


def shown(path: str) -> str:
    """A path as it can be written anywhere: one line, with U+FFFD for what cannot be printed.

    On disk a name may be any bytes. Those that are not UTF-8 reach Python as surrogates, which
    neither tables nor terminals take.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in path)


def cannot_be_read(error: OSError, what: str = "file") -> str:
    """Why, without the path that the error itself may hold."""
    return f"the {what} cannot be read ({error.strerror or type(error).__name__})"


@dataclass(frozen=True)
class LeftOut:
    """A file or series that was left out, and why.

    path: where; it may hold a name, so it is shown only to those who ask for paths.
    reason: without identity.
    key: the series' key in a store or scores, where its header could be read.
    """

    path: str
    reason: str
    key: str = ""


def reasons(left_out: Iterable[LeftOut], indent: int, with_paths: bool) -> list[str]:
    """Lines of a table: how often each reason occurred, most frequent first, with an example."""
    alike: dict[str, list[LeftOut]] = {}
    for left in left_out:  # reasons that differ in their numbers only are one reason
        alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", left.reason), []).append(left)
    lines = []
    for group in sorted(alike.values(), key=len, reverse=True):
        lines.append(f"{'':{indent}}{len(group):6,} {group[0].reason}")
        key = group[0].key and f"series {group[0].key}"
        if example := shown(group[0].path) if with_paths else key:
            lines.append(f"{'':{indent}}{'':6} e.g. {example}")
    return lines
