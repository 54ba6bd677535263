"""Intervals of metrics: patients are drawn with replacement, all their images together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .matching import Floats, ImageResult, Metric
from .recall import Group, Recall


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
    return _quantiles(value(np.ones(len(results))), np.array(drawn), level, count_patients(results))


def interval(
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
    return _only(_quantiles(after(once) - before(once), np.array(drawn), level, count_patients(a)))


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
        if count_patients([r for r in results if group(r).any()]) > 1
        else Interval(one.value, math.nan, math.nan)
        for (name, group), one in zip(groups.items(), found, strict=True)
    }


def count_patients(results: Sequence[ImageResult]) -> int:
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
