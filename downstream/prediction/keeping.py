"""What is kept of a series until all are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.scans import UnreadScan
from ubr.pretrain.data.volume import Volume
from ubr.weights.common.working import Working

from .boxes import Boxes, joined
from .drawing import drawn, pictures
from .linking import Finding, link
from .tables import SeriesFindings

if TYPE_CHECKING:
    from .body import Body
    from .looking import Looker

NEEDED = ("index", "edges", "scores", "slices", "z_mm", "spacing_mm", "size", "place", "warnings")


def keep(
    working: Working,
    key: str,
    volume: Volume,
    slices: Sequence[int],
    looker: Looker,
    bar: Any,
    more: Mapping[str, NDArray[Any]],
) -> None:
    """Look at a series and keep what is found, with what tables and page need to know of it."""
    from .looking import BATCH

    parts = []
    least = cast(float, working.settings["min_score"])
    for number, part in enumerate(looker.look(volume, slices, least)):
        parts.append(part)
        bar.update(len(slices[number * BATCH : (number + 1) * BATCH]))
    boxes = joined(parts)
    findings = _linked(working, boxes, volume.z_mm, volume.spacing_mm, slices)
    working.add(
        key,
        index=boxes.index,
        edges=boxes.edges,
        scores=boxes.scores,
        slices=np.array(slices, np.intp),
        z_mm=volume.z_mm,
        spacing_mm=np.array(volume.spacing_mm),
        size=np.array(volume.hu.shape[1:]),
        place=np.empty((0, 4)) if volume.place is None else volume.place,
        warnings=np.array(volume.warnings, np.str_),
        **pictures(volume, boxes, findings),
        **more,
    )


def kept_series(working: Working, job: UnreadScan, body: Body | None) -> SeriesFindings:
    """What was kept of a series, linked."""
    kept = working.read(job.key, *NEEDED, *(["body_scores"] if body else []))
    boxes = Boxes(kept["index"], kept["edges"], kept["scores"])
    slices, z_mm, spacing_mm = kept["slices"].tolist(), kept["z_mm"], kept["spacing_mm"].tolist()
    return SeriesFindings(
        job.key,
        boxes,
        _linked(working, boxes, z_mm, spacing_mm, slices),
        z_mm,
        slices,
        (int(kept["size"][0]), int(kept["size"][1])),
        spacing_mm,
        kept["place"] if len(kept["place"]) else None,
        kept["warnings"].tolist(),
        job.source,
        where=body.columns(kept["body_scores"], z_mm) if body else {},
        pictures=drawn(kept),
        windows_hu=kept["windows"].tolist() if "windows" in kept else [],
    )


def _linked(
    working: Working,
    boxes: Boxes,
    z_mm: NDArray[np.float64],
    spacing_mm: Sequence[float],
    slices: Sequence[int],
) -> list[Finding]:
    return link(boxes, z_mm, spacing_mm, slices)[: cast(int | None, working.settings["top"])]
