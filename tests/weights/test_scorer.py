"""Scores of slices: in batches, from HU and from the grid, with and without features."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.made.networks import weights_of
from ubr.weights import Regressor, scorer
from ubr.weights.body import body_boxes
from ubr.weights.network import Network, interpolated, score_series
from ubr.weights.runtimes import network_of
from ubr.weights.scorer import score_grid, score_slices


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return Regressor.from_weights(weights_of("timm/test_resnet")).eval()


def grid_of(regressor: Regressor, n: int) -> torch.Tensor:
    size = regressor.inputs.size_px
    return torch.randint(-1000, 1000, (n, size, size), dtype=torch.int16)


def test_score_grid__is_the_regressor_in_batches(
    regressor: Regressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    grid = grid_of(regressor, 5)
    with torch.inference_mode():
        expected = regressor.score(grid).numpy()
    np.testing.assert_allclose(score_grid(regressor, grid), expected, rtol=1e-5)
    monkeypatch.setattr(scorer, "BATCH", 2)
    np.testing.assert_allclose(score_grid(regressor, grid), expected, rtol=1e-5)


def test_score_slices__resamples_and_adds_neighbours(regressor: Regressor) -> None:
    hu = np.full((4, 40, 40), -1000, np.int16)
    for z in range(4):
        hu[z, 5:35, 5:35] = 10 + 80 * z
    spacing, z_mm = (5.0, 8.0, 8.0), 5.0 * np.arange(4)
    for neighbours in (None, 7.0):
        inputs = replace(regressor.inputs, neighbours_mm=neighbours)
        one = Regressor(regressor.backbone, inputs, regressor.head).eval()
        grid = inputs.to_grid(hu, spacing[1:], body_boxes(hu, spacing))
        expected = score_grid(one, inputs.with_neighbours(grid, z_mm))
        np.testing.assert_array_equal(score_slices(one, hu, spacing, z_mm), expected)
        assert expected.shape == (4,)


def test_score_slices__without_a_body_have_no_score_of_their_own(regressor: Regressor) -> None:
    hu = np.full((9, 40, 40), -1000, np.int16)
    for z in (2, 3, 5, 7):
        hu[z, 5:35, 5:35] = 10 + 80 * z
    spacing, z_mm = (5.0, 8.0, 8.0), 5.0 * np.arange(9)
    scores = score_slices(regressor, hu, spacing, z_mm)
    shown = [2, 3, 5, 7]
    alone = score_slices(regressor, hu[shown], spacing, z_mm[shown])
    assert np.array_equal(scores[shown], alone)
    chord = np.polyfit([10.0, 35.0], alone[[0, 3]], 1)
    np.testing.assert_allclose(scores[[0, 1, 8]], np.polyval(chord, [0, 5, 40]), rtol=1e-4)
    between = np.interp([20.0, 30.0], z_mm[shown], alone)
    np.testing.assert_allclose(scores[[4, 6]], between, rtol=1e-5)
    # In a series that shows no body at all every slice is scored as it is.
    nothing = np.full((3, 40, 40), -1000, np.int16)
    assert np.ptp(score_slices(regressor, nothing, spacing, z_mm[:3])) < 1e-6


@pytest.mark.parametrize(
    ("taken", "values", "expected"),
    [
        ([0, 1, 2, 3], [5, 1, 4, 2], [5, 1, 4, 2]),
        ([0, 3], [2, 8], [2, 3, 4, 8]),  # at 0, 1, 2 and 6 mm
        ([1, 2], [4, 6], [2, 4, 6, 14]),
        ([2], [7], [7, 7, 7, 7]),
    ],
)
def test_filled__by_hand(taken: list[int], values: list[float], expected: list[float]) -> None:
    z_mm = np.array([0.0, 1, 2, 6])
    made = interpolated(np.array(values, np.float32), z_mm, np.array(taken))
    assert made.dtype == np.float32 and made.tolist() == expected
    two = interpolated(np.array([values, values], np.float32).T, z_mm, np.array(taken))
    assert two.tolist() == [[one, one] for one in expected]


@pytest.mark.parametrize("features", [False, True])
def test_score_series__do_not_depend_on_the_company_they_are_scored_in(
    regressor: Regressor, features: bool
) -> None:
    lengths = [1, 40, 3, 16, 17, 64, 2]
    series = {f"s{n}": grid_of(regressor, n).numpy() for n in lengths}
    network = network_of(regressor, "torch", features=features)
    found = list(score_series(network, series.items()))
    assert [key for key, _, _ in found] == list(series)
    turned = {key: scores for key, scores, _ in score_series(network, [*series.items()][::-1])}
    for key, scores, pooled in found:
        with torch.inference_mode():
            wanted = regressor.pool6(torch.from_numpy(series[key]))
            expected = regressor.head.score(wanted).numpy()
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
        assert (pooled is not None) == features
        if pooled is not None:
            np.testing.assert_allclose(pooled, wanted.numpy(), rtol=1e-4, atol=1e-5)
        ((_, alone, _),) = score_series(network, [(key, series[key])])
        assert alone.tobytes() == scores.tobytes() == turned[key].tobytes()


def test_score_series__fills_batches_across_series() -> None:
    sizes = []

    def infer(grid: NDArray[Any]) -> tuple[NDArray[Any], None]:
        sizes.append(grid.shape)
        return grid[:, 0, 0].astype(np.float32), None

    series = [(n, np.full((n, 2, 2), n, np.int16)) for n in (1, 2, 5, 9, 3)]  # 20 slices
    found = list(score_series(Network("torch", 8, 2, infer), series))
    assert sizes == [(8, 2, 2)] * 3
    assert [(key, scores.tolist()) for key, scores, _ in found] == [
        (n, [n] * n) for n in (1, 2, 5, 9, 3)
    ]


def test_score_series__computes_while_the_next_series_is_read() -> None:
    begun, read = threading.Event(), []

    def infer(grid: NDArray[Any]) -> tuple[NDArray[Any], None]:
        begun.set()
        return np.zeros(len(grid), np.float32), None

    def reading() -> Iterator[tuple[int, NDArray[Any]]]:
        yield 0, np.zeros((4, 2, 2), np.int16)
        read.append(begun.wait(10))  # else it would wait for the reader
        yield 1, np.zeros((4, 2, 2), np.int16)

    assert [key for key, _, _ in score_series(Network("torch", 4, 1, infer), reading())] == [0, 1]
    assert read == [True]


def test_score_series__an_error_of_the_network_ends_it(regressor: Regressor) -> None:
    def infer(grid: NDArray[Any]) -> tuple[NDArray[Any], None]:
        raise MemoryError("out of memory")

    series = [(n, np.zeros((30, 2, 2), np.int16)) for n in range(9)]
    with pytest.raises(MemoryError, match="out of memory"):
        list(score_series(Network("torch", 8, 2, infer), series))
