"""A run folder of two steps: its detector works, and finds nothing in particular."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.downstream.helpers import QUIET, sets
from tests.made.lesions import lesion_world, tiny_recipe
from ubr.downstream.detector import starting_weights
from ubr.downstream.training import finetune
from ubr.weights import InputSpec


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    world = lesion_world(folder / "lesions", train=2, val=1, test=0)
    weights = starting_weights("timm/test_convnext", "random", InputSpec(size_px=32))
    recipe = tiny_recipe(steps=2)
    finetune(weights, *sets(world, weights, recipe), folder / "run", recipe, **QUIET)
    return folder / "run"
