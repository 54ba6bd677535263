"""Scores of slices: in batches, from HU and from the grid, with and without features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.made.networks import weights_of
from ubr.weights import Regressor, scorer
from ubr.weights.body import body_boxes
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
        grid = inputs.to_grid(torch.from_numpy(hu), spacing[1:], body_boxes(hu, spacing))
        expected = score_grid(one, inputs.with_neighbours(grid, z_mm))
        np.testing.assert_array_equal(score_slices(one, hu, spacing, z_mm), expected)
        assert expected.shape == (4,)
