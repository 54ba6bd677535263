"""The sequence model that positions are compared with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import context
from benchmarks.context import table, trained_model


def test_model__learns_places_from_truth_and_reads_a_series_that_it_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context, "EPOCHS", 30)
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(2, 512))

    def series(begins: float, length: float, step: float) -> tuple[Any, Any, Any]:
        z_mm = np.arange(0, length, step)
        body = begins + z_mm
        angle = body[:, None] / 700
        features = np.sin(angle) * waves[0] + np.cos(angle) * waves[1]
        noisy = features + rng.normal(0, 0.3, features.shape)
        return noisy.astype(np.float32), z_mm, body

    known = [series(rng.uniform(0, 800), rng.uniform(250, 600), 5.0) for _ in range(24)]
    real = [series(rng.uniform(0, 800), 400, 3.0)[:2] for _ in range(6)]
    read = trained_model([*known, *((*one, None) for one in real)], 0)
    for begins, step in ((150.0, 5.0), (500.0, 2.5)):
        features, z_mm, body = series(begins, 400, step)
        curve: Any = SimpleNamespace(series=SimpleNamespace(z_mm=z_mm))
        assert np.abs(50 * read(features, curve) - body).mean() < 80  # knowing nothing: 200


def test_table__has_bone_and_soft_apart() -> None:
    rows = [
        {"reading": "line", "kind": kind, "error_mm": mm}
        for kind, mm in (("bone", 4.0), ("bone", 8.0), ("soft", 20.0))
    ]
    _, bone, soft = table(rows).splitlines()
    assert bone.split() == ["line", "bone", "2", "6.0", "7.6"]
    assert soft.split() == ["line", "soft", "1", "20.0", "20.0"]
