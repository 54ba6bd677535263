"""Cutting a scan to the part of the body between two landmarks, and changing nothing else.

The voxels that stay are the file's own, neither resampled nor turned. A NIfTI file keeps its data
type, axes and header. Its affine moves by whole slices, so every voxel keeps its place in the
patient. DICOM, NRRD and MetaImage are written as NIfTI, as this project reads them: HU, int16, the
patient's axes, in the place that the headers give.

Like every image of a patient, a crop can identify them. NIfTI headers are copied with whatever text
they hold.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import whole
from ubr.weights.released import check_there

from ..data.volume import Series, Volume
from ..reading.chosen import chosen_regions
from ..reading.curve import Curve, Passage, pearson_r
from ..reading.intervals import COVERAGE, enough, interval
from ..reading.ranges import Range
from ..reading.regions import Regions
from ..scores.single import read_by, score_scan
from .nifti_parts import check_place, part_of_nifti, part_of_volume

if TYPE_CHECKING:
    from ubr.weights import Weights


class Found(NamedTuple):
    """Where an end of the range was found: its name, where the curve passes it, and in mm the
    interval that contains it with a probability of `COVERAGE`, where labelled volumes give one.
    """

    called: str
    at: Passage
    interval_mm: tuple[float, float] | None

    def text(self) -> str:
        """All of it."""
        outside = " (the scan's end)" if self.at.outside else ""
        within = ""
        if self.interval_mm:
            low, high = self.interval_mm
            within = f" ({100 * COVERAGE:.0f} % interval: {low:.0f} to {high:.0f})"
        return f"{self.called} at {self.at.z_mm:.0f} mm{outside}{within}"


@dataclass(frozen=True)
class Cropped:
    """What `crop` wrote.

    path: the file. first, last: the slices kept, counted from the superior end, both included. of:
    how many there were. mm: from the first slice kept to the last. found: both ends. r: Pearson r
    of the scan's curve. tilt: the reader's note where slices were moved in-plane, or "".
    """

    path: Path
    first: int
    last: int
    of: int
    mm: float
    found: tuple[Found, Found]
    r: float
    tilt: str

    def line(self) -> str:
        """All of it as one line."""
        kept = (
            f"{self.last - self.first + 1} of {self.of} slices kept ({self.first} to "
            f"{self.last}, {self.mm:.0f} mm)"
        )
        tilt = f"; {self.tilt}" if self.tilt else ""
        ends = ", ".join(end.text() for end in self.found)
        return f"{self.path}: {kept}; {ends}; r {self.r:.3f}{tilt}"


@claiming("out")
def crop(
    scan: str | os.PathLike[str],
    weights: str | Path | Weights,
    regions: str | Path | Regions | None,
    out: str | os.PathLike[str],
    *,
    start: str,
    end: str,
    margin_mm: float = 0.0,
    partial: bool = False,
) -> Cropped:
    """Cut one scan to the slices between two levels of the body.

    Args:
        scan: a file, or a folder with the files of one series.
        weights: a file that `fit` wrote, or "released".
        regions: a file that `calibrate` wrote for these weights; None between two scores, or for
            released weights, which come with their own.
        out: a new .nii.gz file; missing folders are created.
        start: where the crop begins: a landmark, a part (its upper border), or a number.
        end: where it ends: a landmark, a part (its lower border), or a number.
        margin_mm: length kept beyond both ends.
        partial: cut to what the scan shows of the range. Without it, a scan that does not show all
            of the range is refused.

    Raises:
        ValueError: the arguments contradict each other (the message says how), or the scan does
            not show the range.
    """
    target = _new_nifti(out)
    wanted = Range(start, end, margin_mm, partial)
    check_there(Path(scan), weights, regions)
    from ubr.weights import load

    weights = load(weights) if isinstance(weights, str | Path) else weights
    regions = chosen_regions(regions, weights)
    wanted.scores(regions)  # wrong levels are refused before the scan is read
    series, volume, scores = score_scan(weights, Path(scan))
    check_place(volume, str(scan))
    read = read_by(regions, scores, volume.z_mm)
    levels = Curve(np.asarray(read, np.float64), volume.z_mm)
    kept = wanted.kept(levels, scores, regions, str(scan))
    first, last = kept.first, kept.last
    _write_slices(series, volume, slice(first, last + 1), target)
    mm = float(volume.z_mm[last] - volume.z_mm[first])
    found = (
        Found(f"from {start}", kept.top, _interval(levels, regions, start, upper=True)),
        Found(f"to {end}", kept.bottom, _interval(levels, regions, end, upper=False)),
    )
    r = pearson_r(scores, volume.z_mm)
    return Cropped(target, first, last, len(scores), mm, found, r, _tilt(series, volume))


def _interval(
    levels: Curve, regions: Regions | None, name: str, *, upper: bool
) -> tuple[float, float] | None:
    level = regions.level(name, upper=upper) if regions else None
    return interval(*levels, level, COVERAGE) if level and enough(level, COVERAGE) else None


def _new_nifti(out: str | os.PathLike[str]) -> Path:
    """The file to write. Raises `ValueError` for one that cannot be written."""
    target = Path(out)
    if not target.name.endswith(".nii.gz") or target.name == ".nii.gz":
        raise ValueError(f"{out}: a crop is written as NIfTI; give an `out` that ends in .nii.gz")
    if target.exists():
        raise ValueError(f"{out} exists; give a new `out`")
    return target


def _write_slices(series: Series, volume: Volume, window: slice, target: Path) -> None:
    """Write some slices of a scan as a NIfTI file."""
    import nibabel as nib

    image = (
        part_of_nifti(series.files, volume, window)
        if series.kind == "nifti"
        else part_of_volume(volume, window)
    )
    with whole(target) as part:
        nib.save(image, part)


def _tilt(series: Series, volume: Volume) -> str:
    """The reader's note where slices were moved in-plane."""
    if series.kind == "nifti":  # its slices are written as they lie in the file
        return ""
    return "; ".join(warning for warning in volume.warnings if warning.startswith("tilt"))
