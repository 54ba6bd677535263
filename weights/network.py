"""A network that is ready to score, and its batches. Nothing here knows what computes them.

Batches have one size, the last one is padded, and each slice is computed in the same way wherever
in a batch it lies. Its score therefore does not depend on the slices that it is scored with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Chosen = Literal["torch", "openvino", "onnx"]
Floats = NDArray[np.float32]
Infer = Callable[[NDArray[np.int16]], tuple[Floats, Floats | None]]
Key = TypeVar("Key")

PARITY = 1e-4
"""Largest difference of a score between runtimes; relative to the score if that is above 1."""
BATCH = 64
"""Slices per forward pass on a GPU: enough to fill it at 128 pixels."""
CPU_BATCH = 16
"""On a CPU: what a layer gives to the next stays in the cache, and as many fit as run at once."""
MOST_STREAMS = 8
"""Batches that run at once on a CPU. With more cores than these, each batch gets several."""


@dataclass(frozen=True)
class Network:
    """Weights that are ready to score batches.

    runtime: what computes. batch: slices in each call. streams: calls that may run at once, each
    from a thread of its own. infer: `[batch, ...]` int16 HU on the contract's grid -> scores
    `[batch]`, and the features `[batch, 512]` they are made of, or None. running: entered around
    all calls.
    """

    runtime: Chosen
    batch: int
    streams: int
    infer: Infer
    running: Callable[[], AbstractContextManager[None]] = nullcontext


Ready = Callable[[Callable[[], int]], tuple[Network, tuple[str, ...]]]
"""Makes weights ready to score: takes a function that counts the slices, called only if needed, and
returns the network and notes on why it does not use the runtime that "auto" would take."""


def cpu_streams(threads: int) -> tuple[int, int]:
    """Batches that run at once, and threads for each, of so many threads in all."""
    streams = min(threads, MOST_STREAMS)
    return streams, max(1, threads // streams)


def apart(scores: Floats, expected: Floats) -> float:
    """The largest difference of scores from what is expected, as `PARITY` counts it."""
    return float((np.abs(scores - expected) / np.maximum(1, abs(expected))).max())


def score_series(
    network: Network, series: Iterable[tuple[Key, NDArray[np.int16]]]
) -> Iterator[tuple[Key, Floats, Floats | None]]:
    """Score many series: batches span series, and run while the next series is read.

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
    with network.running(), ThreadPoolExecutor(network.streams) as pool:
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


def interpolated(values: Floats, z_mm: NDArray[np.float64], taken: NDArray[np.intp]) -> Floats:
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
