"""How well a detector finds lesions: recall at k, FROC and COCO's AP, and their uncertainty when
patients are drawn anew.

Every tool counts differently, so here is how this one does:

* A box is (x1, y1, x2, y2), its area (x2 - x1)(y2 - y1), without the pixel that some published
  evaluations of DeepLesion add.
* Detections are matched one to one, in order of score: a detection takes the lesion that it
  overlaps best among those still free, or none. A second detection of the same lesion is a false
  positive. (Published FROCs of DeepLesion let one detection find several lesions and count a second
  detection neither as hit nor as false positive, which gives higher numbers.)
* A lesion is found where the IoU is greater than 0.5, as in the paper (section 3.3). COCO's AP
  alone takes IoU >= the threshold.
* Equal scores keep the order in which the detector gave them, images the order of the list.
* An image without a lesion adds only its false positives. Where there is no lesion at all, a share
  of lesions is NaN.

A metric is prepared once, `Recall(k=5).on(results)`: lesions are matched there, and what comes back
is a function of how many times each image counts. The bootstrap then asks it a thousand times, at
the price of a few sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .deeplesion import LESION_TYPES

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]
Value = Callable[[Floats], Floats]
"""How many times each image counts [images] -> a metric's values [q]."""

FPS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False positives per image at which DeepLesion's literature reports sensitivity."""

MAX_DETECTIONS = 100
"""Detections of an image, best first, that enter COCO's AP."""

COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_COCO_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The lesions of one image and what a detector says of it. Arrays are copied and read-only.

    Args:
        patient: whose image; images of one patient are drawn together.
        truth: lesions `[n, 4]` (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2.
        predicted: detections `[m, 4]`, x1 <= x2 and y1 <= y2.
        scores: `[m]`, larger is surer.
        types: coarse lesion type `[n]`, -1 where unknown; names in `TYPES`.
        sizes_mm: size of the lesion `[n]`, its long diameter or the side of its box; NaN where
            unknown.

    Raises:
        ValueError: an array of another shape; coordinates or scores that are not finite; corners in
            the wrong order; types that are no integers.
    """

    patient: str | int
    truth: NDArray[Any]
    predicted: NDArray[Any]
    scores: NDArray[Any]
    types: NDArray[Any]
    sizes_mm: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("truth", "predicted"):
            self._set(name, self._boxes(name))
        for name, of in (
            ("scores", self.predicted),
            ("types", self.truth),
            ("sizes_mm", self.truth),
        ):
            given = np.array(getattr(self, name))
            if given.shape != (len(of),):
                raise ValueError(
                    f"{name} has shape {list(given.shape)}, expected [{len(of)}]: one for each box"
                )
            if name == "types" and given.size and given.dtype.kind not in "iu":
                raise ValueError(
                    f"types are {given.dtype}, expected integers: -1 stands for unknown"
                )
            self._set(name, given.astype(np.int64 if name == "types" else np.float64))
        if not np.isfinite(self.scores).all():
            raise ValueError(
                f"{(~np.isfinite(self.scores)).sum()} of {len(self.scores)} scores are not "
                "finite: the detector has diverged"
            )

    def _boxes(self, name: str) -> Floats:
        boxes = np.array(getattr(self, name), dtype=np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(
                f"{name} has shape {list(boxes.shape)}, expected [n, 4] (x1, y1, x2, y2): "
                "without boxes [0, 4]"
            )
        if not np.isfinite(boxes).all():
            raise ValueError(f"{name} has coordinates that are not finite: leave such boxes out")
        sides = boxes[:, 2:] - boxes[:, :2]
        # A detector may shrink a box to nothing, a lesion has an area.
        wrong = (sides <= 0 if name == "truth" else sides < 0).any(1)
        if wrong.any():
            raise ValueError(
                f"{name} has the box {boxes[wrong][0].tolist()}, expected x1 < x2 and y1 < y2: "
                "give corners, not corner and size"
            )
        return boxes

    def _set(self, name: str, array: NDArray[Any]) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @cached_property
    def order(self) -> Indices:
        """Detections, best first."""
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def overlaps(self) -> Floats:
        """IoU of each detection, best first, with each lesion `[m, n]`."""
        found = self.predicted[self.order][:, None]
        sides = np.minimum(found[..., 2:], self.truth[:, 2:]) - np.maximum(
            found[..., :2], self.truth[:, :2]
        )
        common = sides.clip(min=0).prod(-1)
        areas = (found[..., 2:] - found[..., :2]).prod(-1) + (
            self.truth[:, 2:] - self.truth[:, :2]
        ).prod(-1)
        return np.asarray(common / (areas - common))


def _taken(overlaps: Floats, iou: float, *, or_equal: bool = False) -> Indices:
    """For each detection the lesion that it takes, -1 where none; of equally good ones the last, as
    COCO does.

    overlaps: IoU `[m, n]`, the best detection first.
    """
    reached = overlaps >= iou if or_equal else overlaps > iou
    taken = np.full(len(overlaps), -1, np.intp)
    free = np.ones(overlaps.shape[1], np.bool_)
    for detection in np.flatnonzero(reached.any(1)):
        lesions = np.flatnonzero(reached[detection] & free)[::-1]
        if lesions.size:
            taken[detection] = lesions[overlaps[detection, lesions].argmax()]
            free[taken[detection]] = False
    return taken


def matched(result: ImageResult, iou: float = 0.5) -> Flags:
    """Which detections find a lesion `[m]`, in the order of `result.predicted`; their number is
    that of the lesions found.

    In order of score each detection takes the lesion that it overlaps best among those still free,
    if the IoU is greater than `iou`.
    """
    flags = np.zeros(len(result.scores), np.bool_)
    flags[result.order] = _taken(result.overlaps, iou) >= 0
    return flags


Group = Callable[[ImageResult], Flags]
"""Which lesions of an image belong to a group `[n]`."""


def every_lesion(result: ImageResult) -> Flags:
    """The group of all lesions."""
    return np.ones(len(result.truth), np.bool_)


def _of_type(result: ImageResult, code: int) -> Flags:
    return np.asarray(result.types == code)


def _of_size(result: ImageResult, least: float, most: float) -> Flags:
    return np.asarray((result.sizes_mm >= least) & (result.sizes_mm <= most))


TYPES: Mapping[str, Group] = {
    name: partial(_of_type, code=code) for code, name in (*LESION_TYPES.items(), (-1, "unknown"))
}
"""DeepLesion's coarse lesion types, 1 to 8, and -1."""

SIZES: Mapping[str, Group] = {
    "< 10 mm": partial(_of_size, least=0, most=math.nextafter(10, 0)),
    "10-30 mm": partial(_of_size, least=10, most=30),
    "> 30 mm": partial(_of_size, least=math.nextafter(30, 31), most=math.inf),
}


class Metric(Protocol):
    """One or several numbers that say how well a detector does on some images."""

    def on(self, results: Sequence[ImageResult]) -> Value:
        """The metric as a function of how many times each of the images counts."""
        ...


@dataclass(frozen=True)
class Recall:
    """Share of lesions that the k best detections of their image find: one value for each group of
    `among`.

    Detections are matched with all lesions, and a lesion counts in its group. One value, of all
    lesions, by default.
    """

    k: int = 5
    iou: float = 0.5
    among: tuple[Group, ...] = (every_lesion,)

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Raises ValueError without images, for k < 1 or an IoU outside [0, 1)."""
        _check(results, self.iou)
        if self.k < 1:
            raise ValueError(f"k={self.k}, expected at least 1 detection an image")
        lesions = np.zeros((len(results), len(self.among)))
        found = np.zeros_like(lesions)
        for i, result in enumerate(results):
            # Matching goes down the scores, so the matches of the best k are the first k of all
            # matches.
            hit = np.zeros(len(result.truth), np.bool_)
            taken = _taken(result.overlaps[: self.k], self.iou)
            hit[taken[taken >= 0]] = True
            for j, group in enumerate(self.among):
                members = group(result)
                lesions[i, j], found[i, j] = members.sum(), hit[members].sum()
        return lambda counts: _share(counts @ found, counts @ lesions)


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
        _check(results, self.iou)
        if not all(fp >= 0 for fp in self.fps):
            raise ValueError(f"fps={list(self.fps)}, expected false positives per image, 0 or more")
        lesions = np.array([float(len(r.truth)) for r in results])
        image, scores = _ranked(results)
        hits = np.concatenate([_taken(r.overlaps, self.iou) >= 0 for r in results])
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
            return _share(found[above[too_many]], counts @ lesions)

        return value


@dataclass(frozen=True)
class CocoAp:
    """COCO's average precision, all lesions as one class: AP50 and AP50:95.

    IoU >= threshold, the 100 best detections of an image, precision made monotone and read at 101
    recalls; AP50:95 is the mean over the IoU thresholds 0.50, 0.55, ..., 0.95 (Lin et al., ECCV
    2014, and the evaluation code of the data set).
    """

    def on(self, results: Sequence[ImageResult]) -> Value:
        """Raises ValueError without images."""
        _check(results, COCO_IOUS[0])
        lesions = np.array([float(len(r.truth)) for r in results])
        image, scores = _ranked(results, MAX_DETECTIONS)
        order = np.argsort(-scores, kind="stable")
        image = image[order]
        # Precision and recall only rise at hits, so a threshold needs no more than where its hits
        # stand in the ranking.
        places = []
        for iou in COCO_IOUS:
            taken = [_taken(r.overlaps[:MAX_DETECTIONS], iou, or_equal=True) for r in results]
            places.append(np.flatnonzero((np.concatenate(taken) >= 0)[order]))

        def value(counts: Floats) -> Floats:
            times = counts[image]
            whole, detections = counts @ lesions, times.cumsum()
            if whole == 0:
                return np.full(2, np.nan)
            precisions = [
                _average_precision(times[at].cumsum(), detections[at], whole) for at in places
            ]
            return np.array([precisions[0], np.mean(precisions)])

        return value


def _average_precision(hits: Floats, detections: Floats, lesions: float) -> float:
    """hits, detections: how many so far, at each hit; images that do not count leave both at 0."""
    precision = np.maximum.accumulate((hits / detections.clip(min=1))[::-1])[::-1]
    return float(np.append(precision, 0)[np.searchsorted(hits / lesions, _COCO_RECALLS)].mean())


def _ranked(results: Sequence[ImageResult], most: int | None = None) -> tuple[Indices, Floats]:
    """Image and score of each detection:

    image by image, in each the best first and no more than `most`.
    """
    scores = [r.scores[r.order][:most] for r in results]
    return np.repeat(np.arange(len(results)), [len(s) for s in scores]), np.concatenate(scores)


def _check(results: Sequence[ImageResult], iou: float) -> None:
    if not results:
        raise ValueError("no images, expected at least one: is the split empty?")
    if not 0 <= iou < 1:
        raise ValueError(f"iou={iou}, expected 0 <= iou < 1")


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # 0 of 0 is NaN, and meant
        return np.asarray(part / whole)


def _plain(metric: Metric, results: Sequence[ImageResult]) -> Floats:
    return metric.on(results)(np.ones(len(results)))


def recall_at(results: Sequence[ImageResult], k: int = 5, iou: float = 0.5) -> float:
    """Share of all lesions that the k best detections of their image find with IoU > `iou` (the
    paper's Fig. 3c: k = 5, 0.5).
    """
    return float(_plain(Recall(k, iou), results)[0])


def froc(results: Sequence[ImageResult], fps: Sequence[float] = FPS, iou: float = 0.5) -> Floats:
    """Sensitivity at so many false positives per image, for each of `fps`; see `Sensitivity`."""
    return _plain(Sensitivity(tuple(fps), iou), results)


class AveragePrecision(NamedTuple):
    """ap50: at IoU 0.5. ap: mean over IoU 0.50, 0.55, ..., 0.95."""

    ap50: float
    ap: float


def coco_ap(results: Sequence[ImageResult]) -> AveragePrecision:
    """COCO's average precision; see `CocoAp`."""
    return AveragePrecision(*_plain(CocoAp(), results).tolist())


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval; NaN where there is none."""

    value: float
    low: float
    high: float


def intervals(
    results: Sequence[ImageResult],
    metric: Metric,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval]:
    """An interval for each of the metric's values: its quantiles when patients are drawn with
    replacement, all their images together.

    A draw in which a value does not exist (no lesion of a group) is left out of its interval. One
    patient alone gives no interval: NaN. Where all lesions are found, or none, every draw agrees
    and the interval has no width, which is no proof of certainty.

    Raises:
        ValueError: no images, no draws, or a level outside (0, 1).
    """
    value = metric.on(results)
    drawn = [value(counts) for counts in _drawn(results, draws, seed)]
    return _quantiles(value(np.ones(len(results))), np.array(drawn), level, _patients(results))


def bootstrap(
    results: Sequence[ImageResult],
    metric: Metric,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The interval of a metric with one value, such as `Recall(k=5)` or `Sensitivity((4,))`; how,
    see `intervals`.
    """
    return _only(intervals(results, metric, draws=draws, seed=seed, level=level))


def paired_bootstrap(
    a: Sequence[ImageResult],
    b: Sequence[ImageResult],
    metric: Metric,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The interval of the difference b - a of two detectors on the same images: both are measured
    on the same patients in each draw.

    Raises:
        ValueError: the two are not of the same images in the same order (patient and lesions are
            compared), and what `intervals` raises.
    """
    if len(a) != len(b):
        raise ValueError(
            f"{len(a)} and {len(b)} images, expected the same: run both detectors on one split"
        )
    for i, (one, other) in enumerate(zip(a, b, strict=True)):
        if one.patient != other.patient or not np.array_equal(one.truth, other.truth):
            raise ValueError(
                f"image {i} differs in patient or lesions, expected the same images in the same "
                "order: run both detectors on one split"
            )
    before, after = metric.on(a), metric.on(b)
    drawn = [after(counts) - before(counts) for counts in _drawn(a, draws, seed)]
    once = np.ones(len(a))
    return _only(_quantiles(after(once) - before(once), np.array(drawn), level, _patients(a)))


def by_group(
    results: Sequence[ImageResult],
    metric: Recall,
    groups: Mapping[str, Group],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Recall among the lesions of each group, such as `TYPES` or `SIZES`. The detections of an
    image compete for k whatever their group.

    A group without lesions has the value NaN, one with lesions of a single patient has no interval.
    """
    found = intervals(
        results, replace(metric, among=tuple(groups.values())), draws=draws, seed=seed, level=level
    )
    return {
        name: one
        if _patients([r for r in results if group(r).any()]) > 1
        else Interval(one.value, math.nan, math.nan)
        for (name, group), one in zip(groups.items(), found, strict=True)
    }


def _patients(results: Sequence[ImageResult]) -> int:
    return len({r.patient for r in results})


def _drawn(results: Sequence[ImageResult], draws: int, seed: int) -> Iterator[Floats]:
    """How many times each image counts, draw by draw."""
    if draws < 1:
        raise ValueError(f"draws={draws}, expected at least 1; 1000 give steady 95 % intervals")
    numbers: dict[str | int, int] = {}
    owner = np.array([numbers.setdefault(r.patient, len(numbers)) for r in results])
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        times = np.bincount(rng.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        yield times[owner].astype(np.float64)


def _quantiles(values: Floats, drawn: Floats, level: float, patients: int) -> list[Interval]:
    """values: `[q]`. drawn: `[draws, q]`."""
    if not 0 < level < 1:
        raise ValueError(f"level={level}, expected between 0 and 1, such as 0.95")
    found = []
    for value, column in zip(values.tolist(), drawn.T, strict=True):
        there = column[~np.isnan(column)]
        enough = patients > 1 and len(there) > 0
        low, high = (
            np.quantile(there, [(1 - level) / 2, (1 + level) / 2]).tolist()
            if enough
            else (math.nan, math.nan)
        )
        found.append(Interval(value, low, high))
    return found


def _only(found: list[Interval]) -> Interval:
    if len(found) != 1:
        raise ValueError(
            f"the metric has {len(found)} values, expected 1: use `intervals`, or a metric of "
            "one value"
        )
    return found[0]


def report(
    results: Sequence[ImageResult],
    *,
    k: int = 5,
    iou: float = 0.5,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """All that is measured, as plain values for JSON: recall at k, FROC, AP, recall by type and by
    size, each as value, low, high.

    What does not exist is null. `false_positives_per_image` is what the detector makes without a
    threshold: from there on FROC is clamped.

    Raises:
        ValueError: as the metrics and `intervals` do.
    """
    options: dict[str, Any] = {"draws": draws, "seed": seed, "level": level}
    recall = Recall(k, iou)
    hits = sum(int(matched(r, iou).sum()) for r in results)
    lesions, detections = sum(len(r.truth) for r in results), sum(len(r.scores) for r in results)
    ap50, ap = intervals(results, CocoAp(), **options)
    sensitivities = intervals(results, Sensitivity(FPS, iou), **options)
    return {
        "images": len(results),
        "images_without_lesions": sum(not len(r.truth) for r in results),
        "patients": _patients(results),
        "lesions": lesions,
        "detections": detections,
        "false_positives_per_image": (detections - hits) / len(results),
        "iou": iou,
        "k": k,
        "bootstrap": options,
        "recall": _row(bootstrap(results, recall, **options)),
        "froc": [
            {"fp_per_image": fp, **_row(one)} for fp, one in zip(FPS, sensitivities, strict=True)
        ],
        "ap50": _row(ap50),
        "ap50_95": _row(ap),
        "recall_by_type": _rows(results, TYPES, by_group(results, recall, TYPES, **options)),
        "recall_by_size": _rows(results, SIZES, by_group(results, recall, SIZES, **options)),
    }


def _row(one: Interval) -> dict[str, float | None]:
    return {
        name: None if math.isnan(x) else x
        for name, x in (("value", one.value), ("low", one.low), ("high", one.high))
    }


def _rows(
    results: Sequence[ImageResult], groups: Mapping[str, Group], found: Mapping[str, Interval]
) -> dict[str, dict[str, float | None]]:
    return {
        name: {"lesions": sum(int(groups[name](r).sum()) for r in results), **_row(one)}
        for name, one in found.items()
    }
