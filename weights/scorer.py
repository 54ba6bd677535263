"""Scores of slices: a regressor and HU in, one number per slice out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .body import body_boxes, showing
from .regressor import Regressor
from .runtimes import BATCH, Floats, Network

Key = TypeVar("Key")


def score_slices(
    regressor: Regressor,
    hu: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    z_mm: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Score all slices of a series. A slice without a body gets a score from those around it.

    Args:
        regressor: in evaluation mode, on the device to use.
        hu: `[n, y, x]`, superior to inferior.
        spacing_mm: (z, y, x).
        z_mm: `[n]` positions below the first slice, increasing.

    Returns:
        `[n]` scores.
    """
    boxes = body_boxes(hu, spacing_mm)
    taken = showing(boxes, np.arange(len(hu)))
    held = regressor.inputs.needed(z_mm, taken)
    grid = regressor.inputs.to_grid(torch.from_numpy(hu[held]), spacing_mm[1:], boxes, slices=held)
    grid = regressor.inputs.with_neighbours(grid, z_mm, taken)
    return filled(score_grid(regressor, grid), z_mm, taken)


def filled(values: Floats, z_mm: NDArray[np.float64], taken: NDArray[np.intp]) -> Floats:
    """What all slices have, from what some of them have: linear in the position.

    Between two slices the values lie on the line through both. Beyond the first and the last slice
    they continue the line through these two: a curve of the body is nearly straight.

    Args:
        values: `[k, ...]` scores or features of some slices.
        z_mm: `[n]` positions of all slices.
        taken: `[k]` indices of those that `values` belong to, ascending.

    Returns:
        `[n, ...]`; where a slice was taken, its own values, bit for bit.
    """
    if len(taken) == len(z_mm):
        return values
    every = np.arange(len(z_mm))
    upper = np.searchsorted(taken, every).clip(0, len(taken) - 1)
    lower = (upper - 1).clip(0)
    beyond = (every < taken[0]) | (every > taken[-1])
    lower, upper = np.where(beyond, 0, lower), np.where(beyond, len(taken) - 1, upper)
    low, high = z_mm[taken[lower]], z_mm[taken[upper]]
    share = np.divide(z_mm - low, high - low, out=np.ones_like(low), where=high > low)
    share = share.astype(np.float32)
    made: Floats = (values[lower].T * (1 - share) + values[upper].T * share).T
    made[taken] = values
    return made


@torch.inference_mode()
def score_grid(regressor: Regressor, grid: Tensor) -> NDArray[np.float32]:
    """Score slices that are on the contract's grid already.

    Args:
        regressor: in evaluation mode, on the device to use.
        grid: `[n, S, S]` int16 HU, or `[n, 3, S, S]` with neighbours.

    Returns:
        `[n]` scores.
    """
    device = next(regressor.parameters()).device
    parts = [
        regressor.score(part.to(device, non_blocking=True)) for part in torch.split(grid, BATCH)
    ]
    return torch.cat(parts).cpu().numpy()


def score_series(
    network: Network, series: Iterable[tuple[Key, NDArray[np.int16]]]
) -> Iterator[tuple[Key, Floats, Floats | None]]:
    """Score many series: batches run across them, and beside whatever yields the next series.

    Args:
        network: what `network_of` made ready.
        series: what the caller knows a series by, and its slices on the contract's grid, `[n, S,
            S]` int16 HU, or `[n, 3, S, S]` with neighbours. It is asked for the next one in the
            caller's thread, while batches of earlier ones are computed.

    Yields:
        Of each series in the order given: what it is known by, scores `[n]`, and features
        `[n, 512]` where the network gives them.
    """
    begun: deque[_Series[Key]] = deque()
    running: deque[tuple[Future[tuple[Floats, Floats | None]], list[_Part[Key]]]] = deque()
    with ThreadPoolExecutor(network.streams) as pool:
        try:
            for batch, parts in _batches(series, network.batch, begun):
                running.append((pool.submit(network.infer, batch), parts))
                while len(running) > 3 * network.streams or (running and running[0][0].done()):
                    _deal(*running.popleft())
                yield from _finished(begun)
            while running:
                _deal(*running.popleft())
            yield from _finished(begun)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(eq=False)
class _Series(Generic[Key]):
    """A series some of whose slices are scored: how many are `open`, and what is known so far."""

    key: Key
    open: int
    scores: list[Floats]
    features: list[Floats]


@dataclass(frozen=True)
class _Part(Generic[Key]):
    """Rows `first` to `last` of a batch are the next slices of a series."""

    series: _Series[Key]
    first: int
    last: int


def _batches(
    series: Iterable[tuple[Key, NDArray[np.int16]]], size: int, begun: deque[_Series[Key]]
) -> Iterator[tuple[NDArray[np.int16], list[_Part[Key]]]]:
    """Batches of one size, with what is in them; the last one is padded. Adds to `begun`."""
    batch, parts, filled = np.empty(0, np.int16), list[_Part[Key]](), 0
    for key, grid in series:
        one = _Series(key, len(grid), [], [])
        begun.append(one)
        at = 0
        while at < len(grid):
            if not filled:
                batch = np.zeros((size, *grid.shape[1:]), np.int16)
            take = min(size - filled, len(grid) - at)
            batch[filled : filled + take] = grid[at : at + take]
            parts.append(_Part(one, filled, filled + take))
            at, filled = at + take, filled + take
            if filled == size:
                yield batch, parts
                parts, filled = [], 0
    if filled:
        yield batch, parts


def _deal(future: Future[tuple[Floats, Floats | None]], parts: Iterable[_Part[Key]]) -> None:
    """Give each series of a batch its share of the result."""
    scores, features = future.result()
    for part in parts:
        part.series.open -= part.last - part.first
        part.series.scores.append(scores[part.first : part.last])
        if features is not None:
            part.series.features.append(features[part.first : part.last])


def _finished(begun: deque[_Series[Key]]) -> Iterator[tuple[Key, Floats, Floats | None]]:
    """The first series, as long as all of their slices are scored; they leave `begun`."""
    while begun and not begun[0].open:
        one = begun.popleft()
        features = np.concatenate(one.features) if one.features else None
        yield one.key, np.concatenate(one.scores), features
