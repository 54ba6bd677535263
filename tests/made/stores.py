"""Made-up series to put into a store."""

from __future__ import annotations

import numpy as np

from ubr.pretrain.data.store import Store
from ubr.pretrain.data.volume import Series, Volume


def made_volume(seed: int, slices: int = 9) -> Volume:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3072, (slices, 20, 30), dtype=np.int16)
    return Volume(
        hu,
        (2.5, 0.75, 1.5),
        np.arange(slices) * 2.5,
        ("gap: 1 step of 5.0 mm after slice 3, usual 2.5 mm",),
    )


def made_series(seed: int, patient: str = "") -> Series:
    return Series("nifti", (f"/hospital/JANE-DOE-{seed}.nii",), f"1.2.840.{seed}", patient)


def made_boxes(volume: Volume) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    return np.tile(np.arange(4, dtype=np.int16), (len(volume.hu), 1))


def add(store: Store, seed: int, patient: str = "") -> str:
    volume = made_volume(seed)
    return store.add(made_series(seed, patient), volume, made_boxes(volume))
