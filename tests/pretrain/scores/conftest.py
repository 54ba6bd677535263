"""Fixtures of the tests of scoring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.made.networks import weights_of
from tests.made.toys import toy_store
from ubr.pretrain.scores.scoring import score
from ubr.weights import Weights

from .helpers import SERIES


@pytest.fixture(scope="package")
def weights() -> Weights:
    return weights_of("timm/test_resnet")


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> Path:
    """Weights, a store, and its scores by a call that nothing disturbed."""
    root = tmp_path_factory.mktemp("world")
    weights.save(root / "w.safetensors")
    toy_store(root / "store", SERIES)
    score(weights, [root / "store"], root / "whole", workers=0, progress=False)
    return root
