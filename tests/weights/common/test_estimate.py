"""Estimates of what a training would need."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ubr.weights.common import estimate
from ubr.weights.common.estimate import Estimate, free_bytes, measure


class Slow(nn.Module):
    """A step of n parts takes n times `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.layer, self.seconds = nn.Linear(100, 10), seconds
        self.counts: list[int] = []

    def configure_optimizers(self) -> Any:
        return {"optimizer": torch.optim.AdamW(self.parameters())}

    def loss(self, _: int, parts: int) -> Tensor:
        self.counts.append(parts)
        time.sleep(self.seconds * parts)
        return self.layer(torch.ones(parts, 100)).sum()  # type: ignore[no-any-return]


def test_measure__takes_whole_steps_where_they_are_short() -> None:
    module = Slow(0.005)
    found = measure(module, module.loss, 8, device=torch.device("cpu"), bf16=False)
    assert module.counts == [1, 1, *[8] * 6]
    assert 0.04 <= found.step_s < 0.4
    numbers = 100 * 10 + 10
    assert found.weights == 4 * numbers
    # AdamW keeps two numbers a weight, and counts the steps of each tensor.
    assert found.checkpoint == 3 * 4 * numbers + 2 * 4


def test_measure__takes_a_part_where_a_step_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "BUDGET_S", 0.3)
    module = Slow(0.02)
    began = time.perf_counter()
    found = measure(module, module.loss, 100, device=torch.device("cpu"), bf16=False)
    assert module.counts == [1, 1] and time.perf_counter() - began < 1
    assert 2 <= found.step_s < 20


def test_estimate__says_what_is_left() -> None:
    made = Estimate(done=300, steps=1000, step_s=0.5, memory=None, disk=10**9, free=5 * 10**11)
    assert made.seconds == 350
    assert str(made) == (
        "would resume from step 300 of 1000; estimated from a few steps: 6 min without validation "
        "(0.5 s per step), memory unknown, disk about 1 GB (500 GB free)"
    )
    assert made.described()["seconds"] == 350 and made.described()["memory_bytes"] is None


def test_free_bytes__of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.2)
