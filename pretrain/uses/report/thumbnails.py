"""Slices of a store as small pictures that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ubr.weights.common.notes import note

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
        return [(i, _data_uri(picture)) for i, picture in zip(indices, pictures, strict=True)]


def _data_uri(picture: Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "webp", quality=70)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
