"""A scan cut to the part of the body between two landmarks, and nothing else about it changed.

The voxels that stay are the file's own: no resampling, no turning. A NIfTI file keeps its kind of
numbers, axes and header, and its affine moves by whole slices, so that every voxel stays where it
was in the patient. From DICOM, NRRD and MetaImage a NIfTI file is written of the volume as this
project reads it: HU, int16, the patient's axes, in the place that the headers give.

Like every image of a patient, a crop can identify them: NIfTI headers are copied as they are, with
whatever text they hold.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights import Weights, load

from ..data.nifti import nifti_lps
from ..data.volume import Volume
from ..reading.curve import Passage, passage, pearson_r
from ..reading.regions import Regions
from ..scores.scoring import score_one

EVEN_MM = 0.1
"""A NIfTI file holds one slice step; no slice may lie further than this from where the step puts
it.
"""


@dataclass(frozen=True)
class Cropped:
    """What `crop` wrote.

    path: the file. first, last: the slices kept, counted from the superior end, both included. of:
    how many there were. mm: from the first slice kept to the last. found: both ends and where the
    curve passes them. r: of the scan's curve. tilt: the reader's note where slices were moved
    in-plane, or "".
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
            f"{end} at {place.z_mm:.0f} mm" + " (the scan's end)" * bool(place.outside)
            for end, place in self.found
        ]
        kept = (
            f"{self.last - self.first + 1} of {self.of} slices kept ({self.first} to "
            f"{self.last}, {self.mm:.0f} mm)"
        )
        tilt = f"; {self.tilt}" if self.tilt else ""
        return f"{self.path}: {kept}; {', '.join(places)}; r {self.r:.3f}{tilt}"


def crop(
    scan: str | os.PathLike[str],
    weights: str | Path | Weights,
    regions: str | Path | Regions,
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
        weights: a file that `fit` wrote.
        regions: a file that `calibrate` wrote for these weights.
        out: a new .nii.gz file.
        start: where the crop begins: a landmark, a part (its upper border), or a score.
        end: where it ends: a landmark, a part (its lower border), or a score.
        margin_mm: kept beyond both ends.
        partial: cut to what the scan shows of the range instead of refusing a scan that shows not
            all of it.

    Raises:
        ValueError: what is given does not fit together (one line says how), or the scan does not
            show the range.
    """
    target = Path(out)
    if not target.name.endswith(".nii.gz") or target.name == ".nii.gz":
        raise ValueError(f"{out}: a crop is written as NIfTI; give an --out that ends in .nii.gz")
    if target.exists():
        raise ValueError(f"{out} exists; give a new --out")
    if not target.absolute().parent.is_dir():
        raise ValueError(f"{out}: its folder does not exist; make it first")
    if not (math.isfinite(margin_mm) and margin_mm >= 0):
        raise ValueError(f"margin_mm must be at least 0, got {margin_mm:g}")
    weights = weights if isinstance(weights, Weights) else load(weights)
    regions = regions if isinstance(regions, Regions) else Regions.load(regions)
    regions.check(weights.sha256())
    above, below = level_of(regions, start, upper=True), level_of(regions, end, upper=False)
    if not above < below:
        raise ValueError(
            f"from {start} (score {above:.3g}) does not lie above to {end} (score {below:.3g}); "
            "change places"
        )
    series, volume, scores = score_one(weights, Path(scan))
    if volume.place is None:
        why = "; ".join(w for w in volume.warnings if w.startswith(("oblique", "ungeometric")))
        raise ValueError(
            f"{scan} has no slices of its own in the patient's axes ({why}); resample it to them "
            "first"
        )
    top, bottom = passage(scores, volume.z_mm, above), passage(scores, volume.z_mm, below)
    missing = [
        name
        for name, place, level in ((start, top, above), (end, bottom, below))
        if place.outside and math.isfinite(level)
    ]
    apart = (
        top.outside == "inferior" or bottom.outside == "superior"
    )  # the scan ends before the range begins
    if missing and (apart or not partial):
        hint = "nothing of the range is in it" if apart else "--partial cuts to what is there"
        raise ValueError(
            f"{scan} does not show {' and '.join(missing)}: "
            f"{_shown(scores, volume.z_mm, regions)}; {hint}"
        )
    keep = np.flatnonzero(
        (volume.z_mm >= top.z_mm - margin_mm) & (volume.z_mm <= bottom.z_mm + margin_mm)
    )
    if not len(keep):
        raise ValueError(
            f"no slice of {scan} lies between {start} and {end}, both at {top.z_mm:.1f} mm; give "
            "a margin_mm"
        )
    first, last = int(keep[0]), int(keep[-1])
    window = slice(first, last + 1)
    image = (
        _nifti_part(series.files[0], volume, window)
        if series.kind == "nifti"
        else _volume_part(volume, window)
    )
    _save(image, target)
    found = [
        (f"{word} {name}", place)
        for word, name, place in (("from", start, top), ("to", end, bottom))
    ]
    tilt = (
        "; ".join(w for w in volume.warnings if w.startswith("tilt"))
        if series.kind != "nifti"
        else ""
    )
    mm = float(volume.z_mm[last] - volume.z_mm[first])
    return Cropped(
        target, first, last, len(scores), mm, tuple(found), pearson_r(scores, volume.z_mm), tilt
    )


def level_of(regions: Regions, name: str, *, upper: bool) -> float:
    """The score of a landmark, a border, the upper or lower border of a part (infinite for that of
    the outermost), or of a number.

    Raises `ValueError`, which says what there is, for other names.
    """
    if name in (levels := regions.levels()):
        return levels[name].score
    if name in regions.parts:
        borders = [-math.inf, *regions.thresholds.tolist(), math.inf]
        return float(borders[regions.parts.index(name) + (not upper)])
    try:
        level = float(name)
    except ValueError:
        level = math.nan
    if not math.isfinite(level):
        raise ValueError(
            f"unknown level {name!r}; allowed: {', '.join([*levels, *regions.parts])}; or a score"
        )
    return level


def _shown(scores: NDArray[np.float64], z_mm: NDArray[np.float64], regions: Regions) -> str:
    """What of the body a scan shows, in the words of the regions."""
    places = {name: passage(scores, z_mm, level.score) for name, level in regions.levels().items()}
    shown = ", ".join(
        f"{name} at {place.z_mm:.0f} mm" for name, place in places.items() if not place.outside
    )
    low, high = np.percentile(scores, [2, 98])
    return (
        f"it shows scores {low:.2f} to {high:.2f} (r {pearson_r(scores, z_mm):.2f}), "
        f"{shown or 'none of the levels known'}"
    )


def _nifti_part(path: str, volume: Volume, window: slice) -> Any:
    """The slices of a NIfTI file, stored values and header as they are but for size and origin."""
    import nibabel as nib

    image: Any = nib.load(path)
    axis, first, step = _slice_axis(nifti_lps(image), volume)
    ends = [first + step * window.start, first + step * (window.stop - 1)]
    start, stop = min(ends), max(ends) + 1
    header = image.header.copy()
    moved = np.eye(4)
    moved[axis, 3] = start
    # Only the origins change: nibabel's own slicer would write another sform code and drop the
    # qform.
    for name, value in zip(
        ("srow_x", "srow_y", "srow_z"), image.get_sform()[:3] @ moved[:, 3], strict=True
    ):
        header[name][3] = value
    if int(header["qform_code"]):  # else its numbers mean nothing
        for name, value in zip(
            ("qoffset_x", "qoffset_y", "qoffset_z"),
            image.get_qform()[:3] @ moved[:, 3],
            strict=True,
        ):
            header[name] = value
    stored = image.dataobj.get_unscaled()[(slice(None),) * axis + (slice(start, stop),)]
    part = type(image)(stored, None, header)
    part.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
    return part


def _slice_axis(lps: NDArray[np.float64], volume: Volume) -> tuple[int, int, int]:
    """Which array axis of a grid holds the volume's slices, the index of its first one there, and
    +1 or -1, where the next one lies.
    """
    assert volume.place is not None
    volume_to_grid = np.linalg.inv(np.vstack([lps, [0, 0, 0, 1]])) @ np.vstack(
        [volume.place, [0, 0, 0, 1]]
    )
    axis = int(
        np.abs(volume_to_grid[:3, :2]).sum(axis=1).argmin()
    )  # rows and columns run along the other two
    return axis, round(volume_to_grid[axis, 3]), int(np.sign(volume_to_grid[axis, 2]))


def _volume_part(volume: Volume, window: slice) -> Any:
    """Slices of a volume as NIfTI: x to the left, y to the back, z to the feet."""
    import nibabel as nib

    assert volume.place is not None
    z_mm = volume.z_mm[window]
    step = float(z_mm[-1] - z_mm[0]) / (len(z_mm) - 1) if len(z_mm) > 1 else volume.spacing_mm[0]
    off = np.abs(z_mm - z_mm[0] - step * np.arange(len(z_mm))).max()
    if off > EVEN_MM:
        steps = np.diff(z_mm)
        raise ValueError(
            f"the kept slices lie {steps.min():.2f} to {steps.max():.2f} mm apart, and NIfTI "
            "holds one step; resample the scan first"
        )
    lps = np.vstack(
        [
            volume.place
            @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, step, z_mm[0]], [0, 0, 0, 1]]),
            [0, 0, 0, 1],
        ]
    )
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    nifti: Any = nib.Nifti1Image
    image = nifti(np.ascontiguousarray(volume.hu[window].transpose(2, 1, 0)), ras)
    image.set_sform(ras, code="scanner")
    image.set_qform(ras, code="scanner")
    image.header.set_xyzt_units("mm")
    return image


def _save(image: Any, target: Path) -> None:
    """Write under a temporary name and rename."""
    import nibabel as nib

    part = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        nib.save(image, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
