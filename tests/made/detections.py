"""Images with lesions and detections, and the definition of a hit as a loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ubr.downstream.metrics import ImageResult

BOX = [10.0, 10.0, 30.0, 30.0]
AWAY = [100.0, 100.0, 120.0, 120.0]


def seen(
    truth: Sequence[Sequence[float]],
    predicted: Sequence[Sequence[float]] = (),
    scores: Sequence[float] | None = None,
    patient: str | int = 0,
    types: ArrayLike | None = None,
    sizes_mm: ArrayLike | None = None,
) -> ImageResult:
    """One image; by default scores fall from detection to detection."""
    return ImageResult(
        patient,
        np.reshape(np.asarray(truth, float), (-1, 4)),
        np.reshape(np.asarray(predicted, float), (-1, 4)),
        np.asarray(-np.arange(float(len(predicted))) if scores is None else scores, float),
        np.full(len(truth), -1) if types is None else np.asarray(types),
        np.full(len(truth), np.nan) if sizes_mm is None else np.asarray(sizes_mm),
    )


def some(seed: int, images: int = 12, *, ties: bool = True, most: int = 12) -> list[ImageResult]:
    """Crowded images:

    up to four lesions, detections that nearly hit one or two of them, images without either, scores
    that are equal.
    """
    rng = np.random.default_rng(seed)
    results = []
    for i in range(images):
        centres = rng.uniform(20, 60, (rng.integers(5), 2))
        halves = rng.uniform(5, 15, centres.shape)
        truth = np.hstack([centres - halves, centres + halves])
        predicted = rng.uniform(0, 60, (rng.integers(most), 2)).repeat(2, 1)[:, [0, 2, 1, 3]] + [
            0,
            0,
            20,
            20,
        ]
        if len(truth) and len(predicted):
            near = rng.random(len(predicted)) < 0.7
            jitter = rng.normal(0, 2.5, (near.sum(), 4))
            predicted[near] = truth[rng.integers(len(truth), size=near.sum())] + jitter
        scores = rng.integers(1, 8, len(predicted)) / 8 if ties else rng.random(len(predicted))
        types = rng.choice([-1, 1, 5], len(truth))
        results.append(
            ImageResult(
                int(i // 3),
                truth,
                predicted,
                scores,
                types,
                rng.choice([5.0, 10.0, 30.0, 31.0], len(truth)),
            )
        )
    return results


def iou_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return float(common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common))


def found_by(result: ImageResult, detections: Sequence[int], iou: float) -> dict[int, int]:
    """Detection -> lesion, from the definition:

    down the scores, each takes the free lesion of largest IoU if that is above `iou`.
    """
    pairs: dict[int, int] = {}
    for d in sorted(detections, key=lambda d: -result.scores[d]):  # Python's sort is stable
        best, best_iou = None, iou
        for g in range(len(result.truth)):
            overlap = iou_of(result.predicted[d], result.truth[g])
            if g not in pairs.values() and overlap > best_iou:
                best, best_iou = g, overlap
        if best is not None:
            pairs[d] = best
    return pairs
