"""Scoring series and keeping what they give: reading, the network and writing run in parallel."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...weights.common.working import Working
from ...weights.inputs import InputSpec
from ...weights.network import Network, interpolated, score_series
from ..data.gridding import Slices, slices_of
from ..data.scans import UnreadScan
from ..data.volume import LeftOut
from ..data.workers import DIED, Workers, each


def add_all(
    network: Network,
    inputs: InputSpec,
    todo: Iterable[UnreadScan],
    working: Working,
    already: int,
    staff: Workers,
    progress: bool,
    overviews: bool,
) -> list[LeftOut]:
    """Score series and keep what they give. Returns those that gave nothing."""
    left_out: list[LeftOut] = []
    every_mm = cast(float | None, working.settings["every_mm"])
    task = partial(slices_of, inputs, every_mm, overview=overviews)
    # Decompressing a store leaves the interpreter. Decoding files does not, and may crash.
    first = next(iter(todo), None)
    stored = first is not None and isinstance(first.origin, tuple)
    results = each(
        task, todo, staff, name="score", already=already, progress=progress, threads=stored
    )

    def usable() -> Generator[tuple[tuple[UnreadScan, Slices], NDArray[np.int16]]]:
        for job, slices in results:
            if isinstance(slices, Slices):
                yield (job, slices), slices.grid
            else:
                left_out.append(LeftOut(job.source, slices or DIED, job.key))

    with closing(results), closing(usable()) as series:
        for (job, slices), scores, features in score_series(network, series):
            made = (
                {"scores": scores} if features is None else {"scores": scores, "features": features}
            )
            _keep(working, job, slices, made)
    return left_out


def _keep(
    working: Working, job: UnreadScan, slices: Slices, made: Mapping[str, NDArray[np.float32]]
) -> None:
    """Keep what a series' slices gave; the others get it from those around them.

    Scores are linear in the features, so both may be interpolated.
    """
    z_mm, taken = slices.z_mm, slices.taken
    arrays: dict[str, NDArray[Any]] = {
        name: interpolated(one, z_mm, taken) for name, one in made.items()
    }
    arrays["interpolated"] = ~np.isin(np.arange(len(z_mm)), taken)
    if slices.overview is not None:
        arrays["overview"] = slices.overview
    warnings = np.array(slices.warnings, np.str_)
    counts = np.array(job.counts)
    working.add(job.key, **arrays, z_mm=z_mm, warnings=warnings, counts=counts)
