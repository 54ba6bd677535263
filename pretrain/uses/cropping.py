"""Cutting a scan to the part of the body between two landmarks, and changing nothing else.

The voxels that stay are the file's own, neither resampled nor turned. A NIfTI file keeps its data
type, axes and header. Its affine moves by whole slices, so every voxel keeps its place in the
patient. DICOM, NRRD and MetaImage are written as NIfTI, as this project reads them: HU, int16, the
patient's axes, in the place that the headers give.

Like every image of a patient, a crop can identify them. NIfTI headers are copied with whatever text
they hold.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import whole

from ..data.volume import Series, Volume
from ..reading.chosen import chosen_regions
from ..reading.curve import Passage, passage, pearson_r
from ..reading.regions import Regions, level_score
from ..scores.single import read_by, score_scan
from .nifti_parts import part_of_nifti, part_of_volume

if TYPE_CHECKING:
    from ubr.weights import Weights


@dataclass(frozen=True)
class Cropped:
    """What `crop` wrote.

    path: the file. first, last: the slices kept, counted from the superior end, both included. of:
    how many there were. mm: from the first slice kept to the last. found: both ends and where the
    curve passes them. r: Pearson r of the scan's curve. tilt: the reader's note where slices were
    moved in-plane, or "".
    """

    path: Path
    first: int
    last: int
    of: int
    mm: float
    found: tuple[tuple[str, Passage], ...]
    r: float
    tilt: str

    def line(self) -> str:
        """All of it as one line."""
        places = [
            f"{end} at {at.z_mm:.0f} mm" + " (the scan's end)" * bool(at.outside)
            for end, at in self.found
        ]
        kept = (
            f"{self.last - self.first + 1} of {self.of} slices kept ({self.first} to "
            f"{self.last}, {self.mm:.0f} mm)"
        )
        tilt = f"; {self.tilt}" if self.tilt else ""
        return f"{self.path}: {kept}; {', '.join(places)}; r {self.r:.3f}{tilt}"


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
            released weights, which bring their own.
        out: a new .nii.gz file; its folders are made.
        start: where the crop begins: a landmark, a part (its upper border), or a score.
        end: where it ends: a landmark, a part (its lower border), or a score.
        margin_mm: length kept beyond both ends.
        partial: cut to what the scan shows of the range. Without it, a scan that does not show all
            of the range is refused.

    Raises:
        ValueError: what is given does not fit together (one line says how), or the scan does not
            show the range.
    """
    from ubr.weights import load

    target = _new_nifti(out)
    if not (math.isfinite(margin_mm) and margin_mm >= 0):
        raise ValueError(f"margin_mm must be at least 0, got {margin_mm:g}")
    weights = load(weights) if isinstance(weights, str | Path) else weights
    regions = chosen_regions(regions, weights)
    above, below = level_score(regions, start, upper=True), level_score(regions, end, upper=False)
    if not above < below:
        raise ValueError(
            f"from {start} (score {above:.3g}) does not lie above to {end} (score {below:.3g}); "
            "change places"
        )
    series, volume, scores = score_scan(weights, Path(scan))
    if volume.place is None:
        why = "; ".join(w for w in volume.warnings if w.startswith(("oblique", "ungeometric")))
        raise ValueError(
            f"{scan} has no slices of its own in the patient's axes ({why}); resample it to them "
            "first"
        )
    levels = read_by(regions, scores, volume.z_mm)
    top, bottom = passage(levels, volume.z_mm, above), passage(levels, volume.z_mm, below)
    if refusal := _not_shown((start, above, top), (end, below, bottom), partial=partial):
        shown = _shown(scores, levels, volume.z_mm, regions)
        raise ValueError(f"{scan} does not show {refusal[0]}: {shown}; {refusal[1]}")
    keep = (volume.z_mm >= top.z_mm - margin_mm) & (volume.z_mm <= bottom.z_mm + margin_mm)
    if not keep.any():
        raise ValueError(
            f"no slice of {scan} lies between {start} and {end}, both at {top.z_mm:.1f} mm; give "
            "a `margin_mm`"
        )
    first, last = (int(i) for i in np.flatnonzero(keep)[[0, -1]])
    _write_slices(series, volume, slice(first, last + 1), target)
    mm = float(volume.z_mm[last] - volume.z_mm[first])
    found = ((f"from {start}", top), (f"to {end}", bottom))
    r = pearson_r(scores, volume.z_mm)
    return Cropped(target, first, last, len(scores), mm, found, r, _tilt(series, volume))


def _new_nifti(out: str | os.PathLike[str]) -> Path:
    """The file to write. Raises `ValueError` for one that cannot be written."""
    target = Path(out)
    if not target.name.endswith(".nii.gz") or target.name == ".nii.gz":
        raise ValueError(f"{out}: a crop is written as NIfTI; give an `out` that ends in .nii.gz")
    if target.exists():
        raise ValueError(f"{out} exists; give a new `out`")
    return target


def _not_shown(
    top: tuple[str, float, Passage], bottom: tuple[str, float, Passage], *, partial: bool
) -> tuple[str, str] | None:
    """The ends (name, score, passage) that a scan must show and does not, and a hint."""
    missing = [
        name for name, score, found in (top, bottom) if found.outside and math.isfinite(score)
    ]
    # The scan ends before the range begins, or begins after the range ends.
    apart = top[2].outside == "inferior" or bottom[2].outside == "superior"
    if not missing or (partial and not apart):
        return None
    hint = "nothing of the range is in it" if apart else "set `partial` to cut to what is there"
    return " and ".join(missing), hint


def _shown(
    scores: NDArray[np.float64],
    levels: NDArray[np.floating],
    z_mm: NDArray[np.float64],
    regions: Regions | None,
) -> str:
    """What of the body a scan shows, in the words of the regions."""
    low, high = np.percentile(scores, [2, 98])
    of = f"it shows scores {low:.2f} to {high:.2f} (r {pearson_r(scores, z_mm):.2f})"
    if regions is None:
        return of
    places = {name: passage(levels, z_mm, level.score) for name, level in regions.levels().items()}
    shown = ", ".join(
        f"{name} at {place.z_mm:.0f} mm" for name, place in places.items() if not place.outside
    )
    return f"{of}, {shown or 'none of the levels known'}"


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
