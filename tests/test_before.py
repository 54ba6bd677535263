"""Files that an earlier version wrote are still read, and its half-done training is finished."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ubr import pretrain, weights
from ubr.pretrain.augment import Augment
from ubr.pretrain.data.store import Store
from ubr.pretrain.recipes import Recipe
from ubr.pretrain.scores.read import read_curves
from ubr.weights import InputSpec, Intervals, Machine
from ubr.weights.common.notes import Note, note

BEFORE = Path(__file__).parent / "made" / "before"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy of what the earlier version wrote."""
    return shutil.copytree(BEFORE, tmp_path / "before")


def test_weights__of_an_earlier_version_are_read() -> None:
    found = weights.load(BEFORE / "whole" / "weights.safetensors")
    assert found.backbone == "timm/test_efficientnet" and found.inputs.size_px == 32
    assert found.sha256() == found.about()["sha256"]
    assert found.build().channels == 64
    assert found.provenance["steps"] == 12 and found.provenance["held_out"]["series"] == 1


def test_store__of_an_earlier_version_is_read(before: Path) -> None:
    note.cache_clear()
    with pytest.warns(Note, match="series of the store are from a version without checksums"):
        rows = Store.open(before / "store").usable()
    with warnings.catch_warnings(action="error"):  # said once
        assert len(Store.open(before / "store").usable()) == 6
    assert len(rows) == 6 and {row.slices for row in rows} == {16}
    assert len({row.patient for row in rows}) == 6


def test_scores__of_an_earlier_version_are_read_and_made_again(before: Path) -> None:
    note.cache_clear()
    with pytest.warns(Note, match="the scores are from a version without checksums"):
        curves, digest = read_curves(before / "scores")
    assert len(curves) == 6
    assert digest == weights.load(BEFORE / "whole" / "weights.safetensors").sha256()
    made = before / "made"
    pretrain.score(before / "whole" / "weights.safetensors", [before / "store"], made)
    old, new = (pq.read_table(folder / "slices.parquet") for folder in (before / "scores", made))
    assert old.column("series").to_pylist() == new.column("series").to_pylist()
    assert np.allclose(old.column("score"), new.column("score"), atol=1e-4)
    left = [(folder / "left_out.csv").read_text() for folder in (before / "scores", made)]
    assert left[0] == left[1]


def test_fit__finishes_the_half_done_run_of_an_earlier_version(before: Path) -> None:
    recipe = Recipe(
        backbone="timm/test_efficientnet",
        inputs=InputSpec(size_px=32, window_hu=(-1000.0, 1000.0)),
        augment=Augment(crop_area=0.7, field_of_view=1.1, hu_shift=10, hu_scale=0.05),
        g=4,
        m=4,
        steps=12,
        optimizer="sgd",
        lr=1e-3,
        schedule="cosine",
        precision="32",
        seed=3,
    )
    run = pretrain.fit(
        before / "store",
        before / "half",
        recipe,
        holdout=0.2,
        machine=Machine(device="cpu"),
        intervals=Intervals(3, 3, log_every=3, progress=False),
    )
    lines = [json.loads(line) for line in (before / "half" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "val/r" in line] == [3, 6, 9, 12]
    ended, whole = weights.load(run.weights), weights.load(BEFORE / "whole" / "weights.safetensors")
    # With one thread, on the processor that wrote them, digests are equal; others round otherwise.
    for name, tensor in whole.trunk.items():
        assert torch.allclose(ended.trunk[name].double(), tensor.double(), atol=1e-3), name
    for name, tensor in whole.head.items():
        assert torch.allclose(ended.head[name], tensor, atol=1e-3), name
