"""Slices of a store as small pictures that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.store import Store, StoreError
from ...reading.finding import Finding
from ..pictures import WINDOW_HU

THUMBNAIL_PX = 96
SHOWN = 3
"""Slices that are shown of a finding."""
MOST_THUMBNAILS = 600
"""Pictures of findings on a page: about 2 MB."""


class Thumbnails:
    """Slices of a store as data URIs.

    scored: number of scored slices, by series. left: how many pictures of findings may still be
    made.
    """

    def __init__(self, store: Store, scored: Mapping[str, int]) -> None:
        self.store, self.left = store, MOST_THUMBNAILS
        # A series that was ingested with more or fewer slices than it was scored with would show
        # the wrong ones.
        self.spacing_mm = {
            row.key: row.spacing_mm for row in store.rows() if row.slices == scored.get(row.key)
        }
        if not self.spacing_mm:
            raise ValueError(
                "the store holds none of the scored series; give the store that was scored"
            )

    def of_finding(self, key: str, found: Finding) -> list[tuple[int, str]]:
        """(index, picture) of a few slices of a finding."""
        steps = min(SHOWN, found.last - found.first + 1)
        spread = np.linspace(found.first, found.last, steps).round()
        chosen = sorted({int(i) for i in spread})[: max(0, self.left)]
        made = self.of(key, chosen)
        self.left -= len(made)
        return made

    def of(self, key: str, indices: Sequence[int]) -> list[tuple[int, str]]:
        """(index, picture) of slices; none where the store lacks the series or its pixels."""
        if key not in self.spacing_mm or not indices:
            return []
        try:
            hu = self.store.read(key, list(indices))
        except StoreError:
            return []
        return [
            (i, _picture(one, self.spacing_mm[key][1:])) for i, one in zip(indices, hu, strict=True)
        ]


def _picture(hu: NDArray[np.int16], spacing_yx: tuple[float, float]) -> str:
    """A slice as a grey WebP: square pixels, and a longer side of `THUMBNAIL_PX`."""
    from PIL import Image

    low, high = WINDOW_HU
    grey = (np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    mm = hu.shape[0] * spacing_yx[0], hu.shape[1] * spacing_yx[1]
    height, width = (max(1, round(THUMBNAIL_PX * side / max(mm))) for side in mm)
    stream = io.BytesIO()
    Image.fromarray(grey).resize((width, height), Image.Resampling.BOX).save(
        stream, "webp", quality=70
    )
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
