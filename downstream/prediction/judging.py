"""How well a detector finds lesions in whole scans, where it is known where these lie.

A finding is a lesion's if their boxes in space overlap by an IoU above `IOU`, as nnDetection counts
(Baumgartner et al., MICCAI 2021): one slice more or less changes a thin lesion's box by half.
Findings are matched one to one, in order of score, as boxes in slices are (`downstream.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ubr.pretrain.data.deeplesion.images import IMAGES
from ubr.pretrain.data.deeplesion.table import read_table
from ubr.pretrain.data.scans import read
from ubr.pretrain.data.volume import Volume
from ubr.weights.common import doors
from ubr.weights.common.progress import progress_bar

from ..metrics import ImageResult, Sensitivity, intervals
from ..metrics.summary import as_row
from ..planting.rows import LESIONS
from .boxes import Boxes, joined
from .linking import MIN_SCORE, Finding, link
from .looking import Looker

IOU = 0.1
FPS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan."""
NEEDED: dict[str, doors.Cell] = {
    **{"folder": str, "coarse_lesion_type": int, "first_slice": int, "last_slice": int},
    **dict.fromkeys(("x1", "y1", "x2", "y2", "diameter_mm"), float),
}
REMEDY = "give a folder that plant --whole wrote"


def read_lesions(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of a data set's lesions.csv by series folder.

    Raises `ValueError` where there is none, or it is damaged.
    """
    path = folder / LESIONS
    if not path.is_file():
        raise ValueError(f"{path} is absent, so lesions in space are not known; {REMEDY}")
    found: dict[str, list[dict[str, str]]] = {}
    for _, row in doors.read_rows(path, NEEDED, REMEDY):
        found.setdefault(row["folder"], []).append(row)
    return found


@dataclass(frozen=True, eq=False)
class LookedAt:
    """What a detector found in the slices of a scan whose lesions are known.

    lesions: rows of lesions.csv. volume: the scan. boxes: in its slices.
    """

    patient: str | int
    lesions: Sequence[dict[str, str]]
    volume: Volume
    boxes: Boxes

    def linked(self, **linking: float) -> ImageResult:
        """Findings and lesions as boxes in space; linking: `overlap` and `gap_mm` of `link`."""
        volume = self.volume
        found = link(self.boxes, volume.z_mm, volume.spacing_mm, range(len(volume.hu)), **linking)
        return scan_result(self.patient, volume, self.lesions, found)


def look_at_scans(
    looker: Looker, folder: Path, split: str, *, least: float = MIN_SCORE, progress: bool = True
) -> Iterator[LookedAt]:
    """The boxes in every slice of each scan of a split, one scan at a time.

    Args:
        looker: the detector.
        folder: what `plant` wrote with `whole`.
        split: "train", "val" or "test".
        least: score that a box has at least.
        progress: show a progress bar.

    Raises:
        ValueError: there is no lesions.csv, or a scan cannot be read.
    """
    lesions = read_lesions(folder)
    patients = {key.folder: key.patient for key in read_table(folder, split=split)}
    for name, patient in progress_bar(
        list(patients.items()), title="scans", unit="scans", show=progress
    ):
        volume = read(folder / IMAGES / name)
        boxes = joined(list(looker.look(volume, range(len(volume.hu)), least)))
        yield LookedAt(patient, lesions.get(name, []), volume, boxes)


def scan_result(
    patient: str | int, volume: Volume, lesions: Sequence[dict[str, str]], found: Sequence[Finding]
) -> ImageResult:
    """Lesions, as rows of lesions.csv, and findings of a scan as boxes in space: pixels, and mm
    below its first slice.

    Raises `ValueError` where slices are missing.
    """
    truth = []
    for row in lesions:
        first, last = (int(row[name]) - 1 for name in ("first_slice", "last_slice"))
        if len(volume.hu) <= last:
            raise ValueError(f"{row['folder']} lacks slices; {REMEDY}")
        half = volume.spacing_mm[0] / 2
        x1, y1, x2, y2 = (float(row[name]) for name in ("x1", "y1", "x2", "y2"))
        truth.append([x1, y1, volume.z_mm[first] - half, x2, y2, volume.z_mm[last] + half])
    predicted = [[*one.edges[:2], one.z_mm[0], *one.edges[2:], one.z_mm[1]] for one in found]
    return ImageResult(
        patient,
        np.array(truth).reshape(-1, 6),
        np.array(predicted).reshape(-1, 6),
        np.array([one.score for one in found]),
        np.array([int(row["coarse_lesion_type"]) for row in lesions], int),
        np.array([float(row["diameter_mm"]) for row in lesions]),
    )


def scan_report(results: Sequence[ImageResult], *, draws: int = 1000) -> dict[str, Any]:
    """Sensitivity at so many false positives per scan, with intervals by patients, as plain
    values.
    """
    found = intervals(results, Sensitivity(FPS, IOU), draws=draws)
    return {
        "scans": len(results),
        "lesions": sum(len(one.truth) for one in results),
        "findings": sum(len(one.scores) for one in results),
        "iou": IOU,
        "froc": [{"fp_per_scan": fp, **as_row(v)} for fp, v in zip(FPS, found, strict=True)],
    }
