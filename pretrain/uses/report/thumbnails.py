"""Slices of a store, and series from the front, as small pictures that a page can hold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.notes import note
from ubr.weights.common.pages import webp_uri

from ...data.overviews import overview_webp, rows_of
from ...data.store import Store, StoreError
from ...reading.finding import Finding
from ..pictures import slice_picture, spread

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_PX = 96
SHOWN = 3
"""Slices that are shown of a finding."""
MOST_OF_FINDINGS = 600
"""Pictures of findings on a page: about 2 MB."""
MOST_OF_SERIES = 5000
"""Pictures of series on a page: 5 to 16 MB. The more series there are, the fewer slices of each."""
STRIP = 40
"""Slices that are shown of a series at most."""
RAYS = 64
"""Slices that the picture from the front is made of at most; of a thousand series they take a
minute or two to read.
"""


class Thumbnails:
    """Slices of a store as data URIs.

    scored: number of scored slices, by series. left: how many pictures of findings may still be
    made.
    """

    def __init__(self, store: Store, scored: Mapping[str, int]) -> None:
        self.store, self.left = store, MOST_OF_FINDINGS
        # A series that was ingested with more or fewer slices than it was scored with would show
        # the wrong ones.
        self.spacing_mm = {
            row.key: row.spacing_mm for row in store.rows() if row.slices == scored.get(row.key)
        }
        if not self.spacing_mm:
            raise ValueError(
                "the store holds none of the scored series; give the store that was scored"
            )

    def of_series(self, key: str, slices: int) -> list[tuple[int, str]]:
        """(index, picture) of slices at equal distances through a series."""
        share = max(1, MOST_OF_SERIES // len(self.spacing_mm))
        return self.of(key, spread(0, slices - 1, min(STRIP, share)))

    def overview(self, key: str, z_mm: NDArray[np.float64]) -> str:
        """A series from the front; "" where the store lacks it or its pixels."""
        if key not in self.spacing_mm:
            return ""
        indices = spread(0, len(z_mm) - 1, RAYS)
        try:
            hu = self.store.read(key, indices)
        except StoreError:  # told of by `of`
            return ""
        rows = rows_of(hu, self.spacing_mm[key][2])
        return webp_uri(overview_webp(rows, z_mm[indices], float(z_mm[-1])))

    def of_finding(self, key: str, found: Finding) -> list[tuple[int, str]]:
        """(index, picture) of a few slices of a finding."""
        made = self.of(key, spread(found.first, found.last, SHOWN)[: max(0, self.left)])
        self.left -= len(made)
        return made

    def of(self, key: str, indices: Sequence[int]) -> list[tuple[int, str]]:
        """(index, picture) of slices; none where the store lacks the series or its pixels."""
        if key not in self.spacing_mm or not indices:
            return []
        try:
            hu = self.store.read(key, list(indices))
        except StoreError as error:
            note(f"{error}; the page has no pictures of it")
            return []
        spacing_yx = self.spacing_mm[key][1:]
        pictures = (slice_picture(one, spacing_yx, THUMBNAIL_PX) for one in hu)
        return [(i, _webp(picture)) for i, picture in zip(indices, pictures, strict=True)]


def _webp(picture: Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "webp", quality=70)
    return webp_uri(stream.getvalue())
