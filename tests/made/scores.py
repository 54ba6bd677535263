"""Scores that are known without training.

The body made by `dicom` darkens towards the feet, and darker slices have higher scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ubr.pretrain.reading.regions import Level, Regions
from ubr.weights import InputSpec, Regressor, Weights, build, runtimes, scorer
from ubr.weights.network import Network

from .dicom import expected

INPUTS = InputSpec(size_px=32, window_hu=(-1000.0, 1000.0))


def darkness(_regressor: Any, grid: torch.Tensor | NDArray[np.int16]) -> NDArray[np.float32]:
    """Stands in for `scorer.score_grid`."""
    return (-torch.as_tensor(grid).float().mean(dim=(1, 2)) / 10).numpy()


def dark_network(*_: Any, **__: Any) -> Network:
    """Stands in for `runtimes.network_of`."""
    return Network("torch", 16, 1, lambda grid: (darkness(None, grid), None))


@contextmanager
def scored_by_darkness() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "score_grid", darkness)
        patch.setattr(runtimes, "network_of", dark_network)
        yield


def weights(seed: int = 0) -> Weights:
    """Weights of an untrained regressor; `darkness` scores in its place."""
    torch.manual_seed(seed)
    return Regressor(build("timm/test_resnet"), INPUTS).to_weights({}, "none")


def in_mm(of: Weights) -> Weights:
    """The same weights, as if the position loss had been on: a score of 1 is 50 mm."""
    return replace(of, provenance={**of.provenance, "recipe": {"position_weight": 1.0}})


def between(upper: int) -> float:
    """The score midway between slice `upper` of the made body and the next."""
    from ubr.weights.body import body_boxes

    hu = expected()
    scores = darkness(None, INPUTS.to_grid(hu, (4.0, 4.0), body_boxes(hu, (5.0, 4.0, 4.0))))
    assert (np.diff(scores) > 0).all()
    return float(scores[upper : upper + 2].mean())


def regions(of: Weights) -> Regions:
    """Landmarks `dome` and `crest` below slices 4 and 14 of the made body, parts between them,
    `sky` above and `hell` below all of it.
    """
    scores = {"sky": -1e6, "dome": between(4), "crest": between(14), "hell": 1e6}
    levels = {name: Level(score, None, 1, (), ()) for name, score in scores.items()}
    return Regions(
        of.sha256(), ("chest", "abdomen", "pelvis"), (levels["dome"], levels["crest"]), levels
    )
