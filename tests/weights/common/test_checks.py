"""Values that an option does not take are refused from Python as from the command line."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from ubr.downstream.recipes import DetectorRecipe
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.sampler import SliceSampler
from ubr.weights import Intervals, Machine
from ubr.weights.common.checks import check_choice


@pytest.mark.parametrize(
    ("options", "field", "wrong", "allowed"),
    [
        (Recipe, "schedule", "Cosine", "constant, steps, cosine"),
        (Recipe, "optimizer", "adam", "sgd, adamw"),
        (Recipe, "unit", "cm", "index, mm"),
        (Recipe, "begin", "end", "uniform, ends"),
        (Recipe, "balance", "size", "volumes, sizes"),
        (Recipe, "precision", "fp16", "auto, 32, bf16"),
        (Recipe, "precision", 32, "auto, 32, bf16"),
        (DetectorRecipe, "box_head", "heavy", "light, paper"),
        (DetectorRecipe, "norms", "batch", "frozen, measured"),
        (DetectorRecipe, "optimizer", "Adam", "sgd, adamw"),
        (DetectorRecipe, "precision", "16", "auto, 32, bf16"),
        (Machine, "device", "cuda:", "auto, cpu, cuda, cuda:N, mps"),
        (Machine, "devices", "all", "auto, int"),
        (Machine, "place", "disk", "auto, gpu, ram, file"),
    ],
)
def test_choices__of_options_are_checked(
    options: Any, field: str, wrong: object, allowed: str
) -> None:
    with pytest.raises(ValueError) as refused:
        options(**{field: wrong})
    assert str(refused.value) == f"{field} must be one of {allowed}, got {wrong!r}"


@pytest.mark.parametrize(
    ("options", "changes", "reason"),
    [
        (Machine, {"nodes": 0}, "nodes must be at least 1, got 0"),
        (Machine, {"devices": 0}, "devices must be at least 1, got 0"),
        (Machine, {"workers": -1}, "workers must be at least 0, got -1"),
        (Intervals, {"validate_every": 0}, "validate_every must be at least 1, got 0"),
        (Intervals, {"checkpoint_every": 0}, "checkpoint_every must be at least 1, got 0"),
        (Intervals, {"log_every": -5}, "log_every must be at least 1, got -5"),
        (DetectorRecipe, {"clip_norm": 0.0}, "clip_norm must be above 0 or null, got 0.0"),
        (Recipe, {"clip_norm": -1.0}, "clip_norm must be above 0 or null, got -1.0"),
    ],
)
def test_ranges__of_options_are_checked(options: Any, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        options(**changes)


@pytest.mark.parametrize("changes", [{"unit": "cm"}, {"begin": "start"}])
def test_choices__of_the_sampler_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be one of (index, mm|uniform, ends), got"):
        SliceSampler([np.arange(30.0)], g=1, m=4, **changes)


def test_check_choice__takes_the_other_types_of_a_union() -> None:
    hint = int | Literal["auto"] | None
    for value in (3, "auto", None):
        check_choice("devices", value, hint)
    check_choice("lr", "anything", float)  # no choice to check
    with pytest.raises(ValueError, match="devices must be one of auto, int, null, got 'all'"):
        check_choice("devices", "all", hint)
