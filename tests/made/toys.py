"""A small world for tests of the method:

volumes in which a lung shrinks and a bone grows from top to bottom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ubr.pretrain.augment import Augment
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.volume import Series, Volume
from ubr.pretrain.recipes import Recipe
from ubr.weights import InputSpec
from ubr.weights.body import body_boxes


def toy_volume(seed: int, slices: int = 30, size: int = 48) -> Volume:
    """One series, `size` px, about 3 mm between slices."""
    rng = np.random.default_rng(seed)
    top, step = rng.uniform(0, 20), rng.uniform(2, 4)
    y, x = np.mgrid[:size, :size] * (64 / size)
    hu = np.full((slices, size, size), -1000.0)
    for i in range(slices):
        z = top + i * step
        hu[i][((y - 32) / 22) ** 2 + ((x - 32) / 28) ** 2 < 1] = 40
        hu[i][(y - 32) ** 2 + (x - 20) ** 2 < (12 - z / 15) ** 2] = -800
        hu[i][(y - 42) ** 2 + (x - 40) ** 2 < (2 + z / 12) ** 2] = 700
    hu += rng.normal(0, 20, hu.shape)
    return Volume(hu.clip(-1024, 3071).astype(np.int16), (step, 6.0, 6.0), np.arange(slices) * step)


def toy_store(path: Path, volumes: int = 12, slices: int = 30) -> Store:
    """A store of toy volumes, each of its own patient."""
    store = Store.create(path)
    for seed in range(volumes):
        volume = toy_volume(seed, slices)
        series = Series("nifti", (f"/scans/{seed}.nii",), f"uid-{seed}", f"patient-{seed}")
        store.add(series, volume, body_boxes(volume.hu, volume.spacing_mm))
    return store


def toy_recipe(**changes: object) -> Recipe:
    """A recipe that trains in a second: a tiny ConvNeXt (no BatchNorm), 32 px, float32."""
    fields: dict[str, object] = {
        "backbone": "timm/test_convnext",
        "inputs": InputSpec(size_px=32, window_hu=(-1000.0, 1000.0)),
        "augment": Augment(crop_area=0.7, field_of_view=1.1, hu_shift=10, hu_scale=0.05),
        "g": 4,
        "m": 4,
        "steps": 10,
        "optimizer": "adamw",
        "lr": 1e-3,
        "schedule": "cosine",
        "precision": "32",
        "seed": 3,
    }
    return Recipe(**{**fields, **changes})  # type: ignore[arg-type]
