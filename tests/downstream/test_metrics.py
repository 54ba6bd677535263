"""Metrics against loops written from their definitions, against COCO's own code, and in closed
form; intervals against simulations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from ubr.downstream.metrics import (
    SIZES,
    TYPES,
    CocoAp,
    ImageResult,
    Interval,
    Metric,
    Recall,
    Sensitivity,
    bootstrap,
    by_group,
    coco_ap,
    froc,
    intervals,
    matched,
    paired_bootstrap,
    recall_at,
    report,
)

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


def best_of(result: ImageResult, k: int) -> list[int]:
    return sorted(range(len(result.scores)), key=lambda d: -result.scores[d])[:k]


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_matched__is_the_greedy_loop(seed: int, iou: float) -> None:
    for result in some(seed):
        assert set(np.flatnonzero(matched(result, iou))) == set(
            found_by(result, range(len(result.scores)), iou)
        )


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_recall_at__is_the_loop_over_the_best_k(seed: int, k: int) -> None:
    results = some(seed)
    found = sum(len(found_by(r, best_of(r, k), 0.5)) for r in results)
    assert recall_at(results, k) == pytest.approx(
        found / sum(len(r.truth) for r in results), abs=1e-12
    )


def swept(results: Sequence[ImageResult], fps: Sequence[float], iou: float) -> list[float]:
    """FROC from the definition:

    at every threshold all detections of at least that score are matched anew.
    """
    thresholds = sorted({s for r in results for s in r.scores.tolist()} | {math.inf})
    points = []
    for threshold in thresholds:
        kept = [np.flatnonzero(r.scores >= threshold).tolist() for r in results]
        hits = sum(len(found_by(r, keep, iou)) for r, keep in zip(results, kept, strict=True))
        points.append((sum(map(len, kept)) - hits, hits))
    lesions = sum(len(r.truth) for r in results)
    return [
        max(hits for false, hits in points if false / len(results) <= fp) / lesions for fp in fps
    ]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_froc__is_the_sweep_over_every_threshold(seed: int, ties: bool) -> None:
    results = some(seed, ties=ties)
    fps = (0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 16)
    np.testing.assert_allclose(froc(results, fps), swept(results, fps, 0.5), atol=1e-12)


def test_froc__reaches_a_limit_that_no_binary_number_hits_exactly() -> None:
    """29 false positives in 100 images are 0.29 an image, though 0.29 * 100 is less than 29 in
    floating point.
    """
    results = (
        [seen([], [AWAY], [0.9]) for _ in range(29)]
        + [seen([]) for _ in range(70)]
        + [seen([BOX], [BOX], [0.5])]
    )
    np.testing.assert_array_equal(froc(results, (0.28, 0.29)), [0, 1])


def judged_by_coco(results: Sequence[ImageResult]) -> tuple[float, float]:
    """AP50 and AP50:95 by COCO's own code."""
    coco = pytest.importorskip("pycocotools.coco")
    judge = pytest.importorskip("pycocotools.cocoeval").COCOeval
    truth, found = coco.COCO(), coco.COCO()
    images = [{"id": i} for i in range(len(results))]

    def rows(i: int, boxes: NDArray[np.float64]) -> list[dict[str, object]]:
        sides = boxes[:, 2:] - boxes[:, :2]
        return [
            {
                "image_id": i,
                "category_id": 1,
                "bbox": [*box[:2].tolist(), *side.tolist()],
                "area": float(side.prod()),
                "iscrowd": 0,
            }
            for box, side in zip(boxes, sides, strict=True)
        ]

    lesions = [row for i, r in enumerate(results) for row in rows(i, r.truth)]
    detections = [
        {**row, "score": s}
        for i, r in enumerate(results)
        for row, s in zip(rows(i, r.predicted), r.scores.tolist(), strict=True)
    ]
    for data, boxes in ((truth, lesions), (found, detections)):
        numbered = [{**row, "id": n} for n, row in enumerate(boxes, 1)]
        data.dataset = {"images": images, "annotations": numbered, "categories": [{"id": 1}]}
        data.createIndex()
    evaluation = judge(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, -1]  # all areas, 100 detections
    return float(precision[0].mean()), float(precision.mean())


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_coco_ap__is_that_of_pycocotools(seed: int, ties: bool) -> None:
    results = some(seed, images=40, ties=ties)
    np.testing.assert_allclose(coco_ap(results), judged_by_coco(results), atol=1e-12)


def test_coco_ap__only_the_best_hundred_detections_of_an_image() -> None:
    results = [seen([BOX], [AWAY] * 100 + [BOX]), seen([BOX], [AWAY] * 99 + [BOX])]
    np.testing.assert_allclose(coco_ap(results), judged_by_coco(results), atol=1e-12)
    assert 0 < coco_ap(results).ap50 < 0.01 and coco_ap(results[:1]).ap50 == 0


def test_coco_ap__is_that_of_torchmetrics() -> None:
    detection = pytest.importorskip("torchmetrics.detection")
    pytest.importorskip("pycocotools")
    import torch

    results = some(3, images=40)
    judge = detection.MeanAveragePrecision(
        max_detection_thresholds=[1, 10, 100]
    )  # it takes three, no fewer
    for r in results:
        boxes, truth = torch.tensor(r.predicted), torch.tensor(r.truth)
        found = {
            "boxes": boxes,
            "scores": torch.tensor(r.scores),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
        }
        judge.update(
            [found], [{"boxes": truth, "labels": torch.ones(len(truth), dtype=torch.int64)}]
        )
    theirs = judge.compute()
    # Their boxes are float32.
    np.testing.assert_allclose(
        coco_ap(results), [float(theirs["map_50"]), float(theirs["map"])], atol=1e-5
    )


def test_definitions_differ__an_iou_of_exactly_one_half() -> None:
    """The paper asks for IoU > 0.5, COCO for IoU >= 0.5: a box of half the lesion finds it for COCO
    alone.
    """
    half = [seen([[0, 0, 20, 20]], [[0, 0, 20, 10]])]
    assert recall_at(half) == 0 and froc(half).tolist() == [0] * 6 and not matched(half[0]).any()
    assert coco_ap(half).ap50 == 1 == pytest.approx(judged_by_coco(half)[0])


def test_definitions_differ__a_second_detection_of_a_lesion() -> None:
    """Here, as for COCO, it is a false positive, and no detection finds two lesions; published
    FROCs of DeepLesion do otherwise.
    """
    twice = [seen([BOX], [BOX, BOX])]
    assert matched(twice[0]).tolist() == [True, False]
    assert report(twice, draws=2)["false_positives_per_image"] == 1
    neighbours = [seen([BOX, [12, 10, 32, 30]], [[11, 10, 31, 30]])]  # IoU 0.9 with both
    assert recall_at(neighbours) == 0.5


def test_definitions_differ__no_pixel_is_added_to_a_box() -> None:
    """3 by 2 pixels of 3 by 4 are an IoU of 0.5; with a pixel added to each side it would be 12 /
    20.
    """
    assert recall_at([seen([[0, 0, 3, 4]], [[0, 0, 3, 2]])]) == 0


def test_perfect_detector() -> None:
    results = [seen([BOX, AWAY], [BOX, AWAY], patient=i) for i in range(4)]
    assert recall_at(results) == 1
    assert froc(results, (0, 0.5, 16)).tolist() == [1, 1, 1]
    np.testing.assert_allclose(coco_ap(results), 1)


def test_nothing_found() -> None:
    for results in ([seen([BOX]), seen([AWAY])], [seen([BOX], [AWAY])]):
        assert recall_at(results) == 0
        assert froc(results).tolist() == [0] * 6
        assert coco_ap(results) == (0, 0)


def test_one_lesion_with_two_hits_counts_once_and_the_second_may_find_another() -> None:
    assert recall_at([seen([BOX, AWAY], [BOX, BOX])]) == 0.5
    overlapping = [seen([BOX, [10, 10, 30, 36]], [BOX, BOX])]  # IoU 1 and 0.77
    assert matched(overlapping[0]).tolist() == [True, True] and recall_at(overlapping) == 1


def test_a_detection_takes_the_best_lesion_and_the_best_detection_chooses_first() -> None:
    """The surer box takes the lesion that only the other could have found, although a better
    assignment exists.
    """
    first, second = [0, 0, 20, 20], [0, 0, 20, 28]
    result = seen([first, second], [[0, 0, 20, 19], [0, 0, 20, 12]])
    assert matched(result).tolist() == [True, False]
    assert matched(
        seen([first, second], [[0, 0, 20, 19], [0, 0, 20, 12]], [0.1, 0.9])
    ).tolist() == [True, True]


def test_recall_at__k_smaller_than_the_number_of_lesions() -> None:
    boxes = [[40.0 * i, 0, 40.0 * i + 20, 20] for i in range(8)]
    assert [recall_at([seen(boxes, boxes)], k) for k in (1, 5, 8, 50)] == [1 / 8, 5 / 8, 1, 1]


def test_equal_scores_keep_the_order_of_the_detector() -> None:
    assert recall_at([seen([BOX], [BOX, AWAY], [0.5, 0.5])], k=1) == 1
    assert recall_at([seen([BOX], [AWAY, BOX], [0.5, 0.5])], k=1) == 0


def test_froc__tail_is_clamped_and_its_beginning_needs_a_threshold() -> None:
    results = [seen([BOX], [AWAY, BOX], [0.9, 0.8]), seen([BOX], [], [])]
    # Half a false positive an image, and half of the lesions: before that no threshold finds
    # anything, after that there is no more to find.
    assert froc(results, (0, 0.49, 0.5, 1, 1000)).tolist() == [0, 0, 0.5, 0.5, 0.5]


def test_images_without_lesions_count_for_false_positives_only() -> None:
    with_lesion = [seen([BOX], [BOX], [0.5])]
    noise = [seen([], [AWAY, AWAY], [0.9, 0.8])]
    assert recall_at(with_lesion + noise) == 1
    assert froc(with_lesion + noise, (0.5, 1)).tolist() == [0, 1]
    assert froc(with_lesion + [seen([])] * 3, (0,)).tolist() == [1]
    assert coco_ap(with_lesion + noise).ap50 == pytest.approx(1 / 3)


def test_no_lesion_at_all_is_nan() -> None:
    results = [seen([], [AWAY], patient=i) for i in range(3)]
    assert math.isnan(recall_at(results))
    assert np.isnan(froc(results)).all() and np.isnan(coco_ap(results)).all()
    assert all(math.isnan(x) for x in vars(bootstrap(results, Recall(), draws=5)).values())


METRICS: list[Metric] = [
    Recall(2, among=tuple(TYPES.values())),
    Recall(1),
    Sensitivity((0.25, 1, 2)),
    CocoAp(),
]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
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


def test_by_group__shares_of_lesions_of_each_type_and_size() -> None:
    row = [BOX, AWAY, [200, 0, 220, 20]]
    results = [
        seen(row, [BOX, AWAY], patient=0, types=[1, 4, 5], sizes_mm=[9.9, 10, 30]),
        seen(row, [AWAY, BOX], patient=1, types=[4, 5, -1], sizes_mm=[30.1, math.nan, 5]),
    ]
    by_type = by_group(results, Recall(5), TYPES, draws=20)
    assert {name: one.value for name, one in by_type.items() if not math.isnan(one.value)} == {
        "bone": 1,
        "liver": 1,
        "lung": 0.5,
        "unknown": 0,
    }
    assert math.isnan(by_type["bone"].low) and by_type["liver"] == Interval(
        1, 1, 1
    )  # one patient has bone lesions: no interval
    assert [one.value for one in by_group(results, Recall(5), SIZES, draws=20).values()] == [
        0.5,
        0.5,
        1,
    ]
    assert (
        by_group(results, Recall(1), TYPES, draws=20)["liver"].value == 0
    )  # those of other types compete for k


def patients_with(
    share: NDArray[np.float64], slices: int, rng: np.random.Generator
) -> list[ImageResult]:
    """A patient an entry, each of whose slices has one lesion that is found with that probability."""
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
        one = bootstrap(
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
    one = bootstrap(patients_with(np.repeat([0.0, 1.0], 50), 9, rng), Recall(), draws=2000)
    assert one.value == 0.5
    assert one.high - one.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 100), rel=0.1)


def test_bootstrap__same_seed_same_interval_and_wider_at_a_higher_level() -> None:
    results = some(5, images=60)
    assert bootstrap(results, Recall(), draws=50) == bootstrap(results, Recall(), draws=50)
    assert bootstrap(results, Recall(), draws=50) != bootstrap(results, Recall(), draws=50, seed=1)
    wide, narrow = (bootstrap(results, Recall(), level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low <= narrow.value <= narrow.high < wide.high


def test_bootstrap__one_patient_gives_no_interval() -> None:
    one = bootstrap([seen([BOX], [BOX]), seen([BOX])], Recall(), draws=5)
    assert one.value == 0.5 and math.isnan(one.low) and math.isnan(one.high)


@pytest.mark.parametrize("metric", [Recall(), Sensitivity((1,))], ids=repr)
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
    alone = bootstrap(after, Recall())
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


def test_report__is_plain_json_and_agrees_with_its_parts() -> None:
    results = some(7, images=30)
    given = json.loads(json.dumps(report(results, k=3, draws=30), allow_nan=False))
    assert given["recall"]["value"] == recall_at(results, 3)
    assert [row["value"] for row in given["froc"]] == froc(results).tolist()
    assert (given["ap50"]["value"], given["ap50_95"]["value"]) == coco_ap(results)
    assert given["recall"]["low"] == bootstrap(results, Recall(3), draws=30).low
    assert given["recall_by_type"]["kidney"] == {
        "lesions": 0,
        "value": None,
        "low": None,
        "high": None,
    }
    for groups in ("recall_by_type", "recall_by_size"):
        found = sum(
            row["lesions"] * row["value"] for row in given[groups].values() if row["lesions"]
        )
        assert found / given["lesions"] == pytest.approx(given["recall"]["value"])
    assert (
        given["images"] == 30
        and given["patients"] == 10
        and given["images_without_lesions"] == sum(not len(r.truth) for r in results)
    )


def arrays(**changes: ArrayLike) -> dict[str, NDArray[np.float64]]:
    whole = {
        "truth": [BOX],
        "predicted": [BOX, AWAY],
        "scores": [0.5, 0.4],
        "types": [1],
        "sizes_mm": [12.0],
        **changes,
    }
    return {name: np.asarray(value) for name, value in whole.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": BOX}, r"truth has shape \[4\], expected \[n, 4\] .*: without boxes \[0, 4\]$"),
        ({"predicted": [[*BOX, 0.5]]}, r"predicted has shape \[1, 5\], expected \[n, 4\]"),
        ({"scores": [0.5]}, r"scores has shape \[1\], expected \[2\]: one for each box"),
        ({"types": [1, 2]}, r"types has shape \[2\], expected \[1\]"),
        ({"types": [1.0]}, r"types are float64, expected integers"),
        ({"sizes_mm": [[3.0]]}, r"sizes_mm has shape \[1, 1\], expected \[1\]"),
        ({"scores": [math.nan, 0.5]}, r"1 of 2 scores are not finite"),
        (
            {"predicted": [BOX, [0, 0, math.inf, 1]]},
            r"predicted has coordinates that are not finite",
        ),
        (
            {"truth": [[10, 10, 10, 30]]},
            r"truth has the box \[10.0, 10.0, 10.0, 30.0\], expected x1 < x2",
        ),
        (
            {"predicted": [[1, 1, 1, 1], [30, 30, 20, 40]]},
            r"predicted has the box \[30.0, 30.0, 20.0, 40.0\], expected",
        ),
    ],
)
def test_image_result__refuses(changes: dict[str, ArrayLike], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ImageResult("p", **arrays(**changes))
    assert "\n" not in str(caught.value)


def test_image_result__keeps_a_copy_that_cannot_change() -> None:
    given = arrays()
    result = ImageResult("p", **given)
    given["scores"][0] = 0
    assert result.scores[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        result.scores[0] = 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: recall_at([]), r"no images, expected at least one"),
        (lambda r: recall_at(r, k=0), r"k=0, expected at least 1"),
        (lambda r: recall_at(r, iou=50), r"iou=50, expected 0 <= iou < 1"),
        (lambda r: froc(r, fps=(-1.0,)), r"fps=\[-1.0\], expected"),
        (lambda r: bootstrap(r, Recall(), draws=0), r"draws=0, expected at least 1"),
        (
            lambda r: bootstrap(r, Recall(), draws=2, level=95),
            r"level=95, expected between 0 and 1",
        ),
        (
            lambda r: bootstrap(r, CocoAp(), draws=2),
            r"the metric has 2 values, expected 1: use `intervals`",
        ),
    ],
)
def test_metrics__refuse(call: Callable[[list[ImageResult]], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(some(0))


def test_intervals__one_for_each_value() -> None:
    results = some(4, images=40)
    assert [one.value for one in intervals(results, Sensitivity((1, 2)), draws=20)] == froc(
        results, (1, 2)
    ).tolist()
    assert (
        bootstrap(results, Sensitivity((2,)), draws=20)
        == intervals(results, Sensitivity((1, 2)), draws=20)[1]
    )
