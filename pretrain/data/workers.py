"""Work in other processes, of this machine or of a Dask cluster, that survives the death of one.

Readers of damaged files can crash (compiled decoders do), and memory is limited. A process that
dies costs the item it was working on and nothing else. Dask's executor has the interface of the
local pool, so one code path serves both.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

from ...weights.common.optional import optional
from ...weights.common.pool import Died, ProcessPool
from ...weights.common.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Held:
    """Processes that several calls of `each` share."""

    executor: ProcessPool
    count: int


Workers = int | str | Held
"""How many processes of this machine, 0 being this one, or the address of a Dask scheduler, or
processes that are held (`held`).

The scheduler's workers must see the same files.
"""

DIED = "the process that read it died each time, most likely out of memory"
ALONE = 2
"""How often an item whose process died is tried again, alone, before it is held to be the reason.
"""
ANSWERS_S = 5
AT_ONCE = 2
"""How many processes start before there is work: a few series need no more."""


def chosen(workers: int | None, scheduler: str | None, *, default: int, least: int) -> Workers:
    """The workers that a command's options ask for.

    Raises `ValueError` for both at once and for a number too small.
    """
    if workers is not None and workers < least:
        raise ValueError(f"workers must be at least {least}, got {workers}")
    if workers is not None and scheduler:
        raise ValueError(
            f"give either workers ({workers}) or a scheduler ({scheduler}): a cluster has "
            "workers of its own"
        )
    return scheduler or (default if workers is None else workers)


@contextmanager
def held(workers: Workers, ready: Callable[[], object] | None = None) -> Iterator[Workers]:
    """Processes of this machine for all calls of `each` within the block; a cluster stays one.

    ready: what the first processes do while the caller goes on. Imports take seconds, so the one
    who calls has work to do meanwhile. By default they start when there is work.
    """
    if not isinstance(workers, int) or not workers:
        yield workers
        return
    executor = ProcessPool(workers)
    try:
        if ready is not None:
            for _ in range(min(workers, AT_ONCE)):
                executor.submit(ready)
        yield Held(executor, workers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def each(
    task: Callable[[Item], Result],
    items: Iterable[Item],
    workers: Workers,
    *,
    name: str,
    unit: str = "series",
    already: int = 0,
    progress: bool = True,
    threads: bool = False,
) -> Generator[tuple[Item, Result | None], None, None]:
    """Apply `task` to every item and yield the results as they finish, with a progress bar
    (`ubr.weights.common.progress`).

    The result of an item whose process died is None. Where memory is short, the system may kill the
    wrong process. Such an item is therefore tried again at the end, when nothing else is running.

    Args:
        task: a function that can be pickled.
        items: what to work on. No more are asked for than there is room for.
        workers: where.
        name: title of the progress bar.
        unit: what an item is.
        already: items that are done and count in the bar.
        progress: show the bar.
        threads: workers that are a number are threads of this process, for work that leaves the
            interpreter: processes take seconds to start.

    Raises:
        ValueError: Dask is not installed.
        ConnectionError: no scheduler answers at the address, or it is gone.
    """
    total = already + len(items) if isinstance(items, Sized) else None
    with progress_bar(total=total, done=already, title=name, unit=unit, show=progress) as bar:
        for item, result in _results(task, iter(items), workers, threads):
            bar.update()
            yield item, result


def _results(
    task: Callable[[Item], Result], items: Iterator[Item], workers: Workers, threads: bool
) -> Iterator[tuple[Item, Result | None]]:
    if not workers:
        yield from ((item, task(item)) for item in items)
        return
    first = list(islice(items, 1))
    if not first:  # then no cluster need be there
        return
    died: deque[Item] = deque()
    with _pool(workers, threads) as pool:
        yield from _work_off(task, chain(first, items), pool, pool.room, died)
        for _ in range(ALONE):
            again, died = died, deque()
            yield from _work_off(task, iter(again), pool, lambda: 1, died)
    yield from ((item, None) for item in died)


def _work_off(
    task: Callable[[Item], Result],
    items: Iterator[Item],
    pool: _Pool,
    room: Callable[[], int],
    died: deque[Item],
) -> Iterator[tuple[Item, Result]]:
    """Work through `items`, as many at a time as there is room for; no others are asked for.

    Items whose process died are added to `died`.
    """
    under_way: dict[Future[Result], Item] = {}
    while True:
        for item in islice(items, max(0, room() - len(under_way))):
            under_way[pool.executor.submit(task, item)] = item
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            item = under_way.pop(future)
            try:
                result = future.result()
            except pool.death:
                died.append(item)
            else:
                yield item, result


@dataclass(frozen=True)
class _Pool:
    """Workers of one kind.

    room: how many items may be submitted at a time: one running and one ready for each.
    death: raised for an item whose process died.
    """

    executor: Executor
    room: Callable[[], int]
    death: type[Exception]


@contextmanager
def _pool(workers: Workers, threads: bool) -> Iterator[_Pool]:
    if isinstance(workers, str):
        with _cluster(workers) as pool:
            yield pool
        return
    if isinstance(workers, Held):
        yield _Pool(workers.executor, lambda: 2 * workers.count, Died)
        return
    executor = ThreadPoolExecutor(workers) if threads else ProcessPool(workers)
    try:
        yield _Pool(executor, lambda: 2 * workers, Died)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _cluster(address: str) -> Iterator[_Pool]:
    """The workers of a Dask scheduler.

    They may come and go: Dask gives the work of one that died to another.
    """
    distributed = optional("distributed", extra="cluster", purpose="a scheduler")
    try:
        # A client that fails to connect is not quiet about it.
        asyncio.run(_knock(distributed, address))
    except Exception:  # whatever the answer of something that is no scheduler leads to
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} within {ANSWERS_S} s; give the address "
            "that dask scheduler prints (tcp://HOST:8786)"
        ) from None
    with (
        _unlogged("distributed.client"),
        distributed.Client(address, set_as_default=False) as client,
    ):
        if not client.nthreads():
            # Else the bar would stand still unexplained.
            sys.stderr.write(f"{address} has no worker yet; waiting for one\n")
        # pure: the same work again would give the same failure
        executor = client.get_executor(pure=False)

        def room() -> int:
            return 2 * max(1, int(sum(client.nthreads().values())))

        try:
            yield _Pool(executor, room, distributed.KilledWorker)
        except (CancelledError, distributed.comm.CommClosedError):
            raise ConnectionError(
                f"the Dask scheduler at {address} is gone; start one and repeat the command"
            ) from None
        finally:
            executor.shutdown(wait=False)


@contextmanager
def _unlogged(name: str) -> Iterator[None]:
    """Silence a logger whose tracebacks would bury the line that says what happened."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _knock(distributed: Any, address: str) -> None:
    comm = await distributed.comm.connect(
        address, timeout=ANSWERS_S, **distributed.Security().get_connection_args("client")
    )
    await comm.close()
