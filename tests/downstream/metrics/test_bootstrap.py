"""Intervals against simulations and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.made.detections import AWAY, BOX, seen, some
from ubr.downstream.metrics import (
    TYPES,
    CocoAp,
    ImageResult,
    Interval,
    Metric,
    Recall,
    Sensitivity,
    interval,
    intervals,
    paired_bootstrap,
    recall_at,
    sensitivity_at,
)

METRICS: list[Metric] = [
    Recall(2, among=tuple(TYPES.values())),
    Recall(1),
    Sensitivity((0.25, 1, 2)),
    CocoAp(),
]


@pytest.mark.parametrize(
    "metric", METRICS, ids=["recall by type", "recall", "sensitivity", "average precision"]
)
def test_metrics__an_image_that_counts_twice_is_in_the_list_twice(metric: Metric) -> None:
    """What makes the bootstrap fast is not allowed to change it."""
    for seed in range(10):
        # Scores are unlike between images: the order of equal ones is that of the list, which is
        # another one with repeats.
        results = some(seed, ties=False)
        counts = np.random.default_rng(seed).integers(0, 3, len(results))
        longer = [
            r for r, times in zip(results, counts.tolist(), strict=True) for _ in range(times)
        ]
        expected = metric.on(longer)(np.ones(len(longer)))
        np.testing.assert_allclose(metric.on(results)(counts.astype(float)), expected, atol=1e-12)


def patients_with(
    share: NDArray[np.float64], slices: int, rng: np.random.Generator
) -> list[ImageResult]:
    """One patient per entry; each of its slices has one lesion, found with that probability."""
    hit, miss = seen([BOX], [BOX]), seen([BOX], [AWAY])
    return [
        ImageResult(
            p,
            *(
                getattr(hit if rng.random() < chance else miss, name)
                for name in ("truth", "predicted", "scores", "types", "sizes_mm")
            ),
        )
        for p, chance in enumerate(share.tolist())
        for _ in range(slices)
    ]


def test_bootstrap__covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        # Chances of patients are uniform, so the true recall is one half; slices of a patient are
        # alike.
        one = interval(
            patients_with(rng.random(60), 4, rng), Recall(), draws=200, seed=int(rng.integers(1000))
        )
        inside += one.low <= 0.5 <= one.high
    assert (
        0.9 <= inside / 200 <= 0.98
    )  # 0.95, less what 60 patients cost, within two standard errors and a half


def test_bootstrap__draws_patients_not_slices() -> None:
    """Nine slices of a patient go together, so 900 say no more than their 100 patients; drawing
    slices would give a third of the width.
    """
    rng = np.random.default_rng(1)
    one = interval(patients_with(np.repeat([0.0, 1.0], 50), 9, rng), Recall(), draws=2000)
    assert one.value == 0.5
    assert one.high - one.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 100), rel=0.1)


def test_bootstrap__same_seed_same_interval_and_wider_at_a_higher_level() -> None:
    results = some(5, images=60)
    assert interval(results, Recall(), draws=50) == interval(results, Recall(), draws=50)
    assert interval(results, Recall(), draws=50) != interval(results, Recall(), draws=50, seed=1)
    wide, narrow = (interval(results, Recall(), level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low <= narrow.value <= narrow.high < wide.high


def test_bootstrap__one_patient_gives_no_interval() -> None:
    one = interval([seen([BOX], [BOX]), seen([BOX])], Recall(), draws=5)
    assert one.value == 0.5 and math.isnan(one.low) and math.isnan(one.high)


@pytest.mark.parametrize("metric", [Recall(), Sensitivity((1,))], ids=["recall", "sensitivity"])
def test_paired_bootstrap__identical_results_differ_by_exactly_nothing(metric: Metric) -> None:
    assert paired_bootstrap(some(2), some(2), metric, draws=50) == Interval(0, 0, 0)


def test_paired_bootstrap__sees_a_gain_that_is_far_smaller_than_the_spread_of_patients() -> None:
    rng = np.random.default_rng(2)
    before = patients_with(np.repeat([0.0, 1.0], 50), 5, rng)
    after = [
        seen([BOX], [BOX], patient=r.patient) if i % 25 == 0 else r for i, r in enumerate(before)
    ]  # half of these were found before
    gain = paired_bootstrap(before, after, Recall())
    assert gain.value == pytest.approx(recall_at(after) - recall_at(before)) == pytest.approx(0.02)
    assert 0 < gain.low < gain.value < gain.high < 0.04
    alone = interval(after, Recall())
    assert (
        alone.low < recall_at(before) < alone.high
    )  # apart, the two could not be told from each other
    assert paired_bootstrap(after, before, Recall()).high == pytest.approx(-gain.low)


def test_paired_bootstrap__of_other_images_is_refused() -> None:
    one, other, third = (
        seen([BOX], patient="x"),
        seen([BOX], patient="y"),
        seen([AWAY], patient="x"),
    )
    with pytest.raises(ValueError, match=r"1 and 2 images, expected the same"):
        paired_bootstrap([one], [one, other], Recall())
    for b in ([other, one], [one, third]):
        with pytest.raises(
            ValueError,
            match=r"image [01] differs in patient or lesions, expected the same images in the "
            r"same order",
        ):
            paired_bootstrap([one, other], b, Recall())


def test_intervals__one_for_each_value() -> None:
    results = some(4, images=40)
    assert [
        one.value for one in intervals(results, Sensitivity((1, 2)), draws=20)
    ] == sensitivity_at(results, (1, 2)).tolist()
    assert (
        interval(results, Sensitivity((2,)), draws=20)
        == intervals(results, Sensitivity((1, 2)), draws=20)[1]
    )
