"""A small data set with lesions, and weights to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.made.lesions import lesion_world
from ubr.downstream.detector import starting_weights
from ubr.weights import InputSpec, Weights


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lesion_world(tmp_path_factory.mktemp("lesions"))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return starting_weights(
        "timm/test_convnext", "random", InputSpec(size_px=32, window_hu=(-200.0, 500.0))
    )
