"""FROC: sensitivity at given numbers of false positives per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import Floats, ImageResult, Value, check_images, on_all, ranked, share, taken_lesions

FPS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False positives per image at which DeepLesion's literature reports sensitivity."""


@dataclass(frozen=True)
class Sensitivity:
    """FROC: the largest share of lesions found by any score threshold with at most `fps` false
    positives per image, for each of `fps`.

    That is a threshold one can set: between two thresholds nothing is interpolated. Detections of
    equal score pass a threshold together. Where the detector never makes that many false positives
    its last sensitivity stands: the tail is clamped, not extrapolated.
    """

    fps: tuple[float, ...] = FPS
    iou: float = 0.5

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Raises ValueError without images, for negative `fps` or an IoU outside [0, 1)."""
        check_images(results, self.iou)
        if not all(fp >= 0 for fp in self.fps):
            raise ValueError(f"fps={list(self.fps)}, expected false positives per image, 0 or more")
        lesions = np.array([float(len(r.truth)) for r in results])
        image, scores = ranked(results)
        hits = np.concatenate([taken_lesions(r.overlaps, self.iou) >= 0 for r in results])
        order = np.argsort(-scores, kind="stable")
        image, scores, hits = image[order], scores[order], hits[order]
        true, false = image[hits], image[~hits]
        # How many hits lie strictly above each false positive; all of them above none.
        above = np.append(np.searchsorted(-scores[hits], -scores[~hits]), len(true))
        fps = np.array(self.fps)

        def value(counts: Floats) -> Floats:
            allowed = np.floor(
                fps * counts.sum() + 1e-6
            )  # whole numbers: 0.29 * 100 is a little less than 29
            too_many = np.searchsorted(counts[false].cumsum(), allowed, side="right")
            found = np.append(0, counts[true].cumsum())
            return share(found[above[too_many]], counts @ lesions)

        return value


def sensitivity_at(
    results: Sequence[ImageResult], fps: Sequence[float] = FPS, iou: float = 0.5
) -> Floats:
    """Sensitivity at so many false positives per image, for each of `fps`; see `Sensitivity`."""
    return on_all(Sensitivity(tuple(fps), iou), results)
