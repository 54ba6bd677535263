"""A small data set in DeepLesion's layout whose lesions are bright squares, learnt in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.made.deeplesion import row, write_slice, write_table
from ubr.downstream.augmentation import Augmentation
from ubr.downstream.recipes import DetectorRecipe
from ubr.downstream.slices import View

SIZE = 96


def lesion_world(folder: Path, train: int = 10, val: int = 3, test: int = 3) -> Path:
    """Patients with a key slice and two neighbours each; one lesion of 14 to 24 px per slice."""
    rows = []
    for i in range(1, train + val + test + 1):
        rng = np.random.default_rng(i)
        side = int(rng.integers(14, 25))
        x, y = (int(v) for v in rng.integers(8, SIZE - 34, 2))
        for z in (9, 10, 11):
            hu = rng.normal(30, 15, (SIZE, SIZE)).astype(int)
            hu[y : y + side, x : x + side] += 300
            write_slice(folder, f"{i:06d}_01_01/{z:03d}", hu)
        rows.append(
            row(
                f"{i:06d}_01_01_010.png",
                Bounding_boxes=f"{x + 1}, {y + 1}, {x + side + 1}, {y + side + 1}",
                Lesion_diameters_Pixel_=f"{side}, {side - 2}",
                Spacing_mm_px_="0.8, 0.8, 2",
                Image_size=f"{SIZE}, {SIZE}",
                Slice_range="9, 11",
                Coarse_lesion_type=str(1 + i % 8),
                Possibly_noisy="0",
                Train_Val_Test=str(1 if i <= train else 2 if i <= train + val else 3),
            )
        )
    write_table(folder, rows)
    return folder


def tiny_recipe(**changes: object) -> DetectorRecipe:
    """Seconds of training on one core."""
    fields: dict[str, object] = {
        "view": View(longest_px=96),
        "augment": Augmentation(scale=(0.9, 1.1)),
        "steps": 6,
        "batch": 2,
        "lr": 0.01,
        "warmup": 2,
        "drops": (),
        "clip_norm": 10.0,
        "precision": "32",
        "seed": 1,
    }
    return DetectorRecipe(**{**fields, **changes})  # type: ignore[arg-type]
