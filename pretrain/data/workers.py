"""Work in other processes, of this machine or of a Dask cluster, that outlives one of them.

Readers of damaged files can crash (compiled decoders do), and the memory of a machine has an end. A process that dies costs the item it was
working on and nothing else. Processes are spawned, not forked: what has started threads must not be forked.

Dask's executor has the interface of the local pool, so both are worked with in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeVar

from ubr.weights.processes import check_guard, end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

Workers = int | str
"""How many processes of this machine (0: work in this one), or the address of a Dask scheduler, whose workers see the same files."""

DIED = "the process that read it died each time, most likely for want of memory"
ALONE = 2
"""How often what was under way in a dying process is tried again alone, before it is held to be the reason."""
ANSWERS_S = 5


def cores() -> int:
    """Cores this process may use; where the system does not say (macOS, Windows), all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen(workers: int | None, scheduler: str | None, *, default: int, least: int) -> Workers:
    """The workers that the options of a verb ask for. Raises `ValueError` for both at once and for a number too small."""
    if workers is not None and workers < least:
        raise ValueError(f"workers must be at least {least}, got {workers}")
    if workers is not None and scheduler:
        raise ValueError(f"give either workers ({workers}) or a scheduler ({scheduler}): a cluster has workers of its own")
    return scheduler or (default if workers is None else workers)


def each(
    task: Callable[[Item], Result],
    items: Iterable[Item],
    workers: Workers,
    *,
    name: str,
    unit: str = "series",
    already: int = 0,
    progress: bool = True,
) -> Generator[tuple[Item, Result | None], None, None]:
    """`task` of every item, as they finish, with a progress bar; None for an item whose process died.

    When a process dies, Python cannot tell on which item, and the whole pool is lost. All items under way are then tried again, each
    alone: the culprit is found, the others get done.

    Args:
        task: a function that can be pickled.
        items: a series of work each.
        workers: who works.
        name: of the progress bar.
        unit: what an item is.
        already: items that are done and count in the bar.
        progress: show it.

    Raises:
        ValueError: Dask is not installed.
        ConnectionError: no scheduler answers at the address, or it is gone.
    """
    from tqdm import tqdm

    waiting = deque(items)
    with tqdm(total=already + len(waiting), initial=already, desc=name, unit=unit, disable=not progress) as bar:
        for item, result in _results(task, waiting, workers):
            bar.update()
            yield item, result


def _results(task: Callable[[Item], Result], waiting: deque[Item], workers: Workers) -> Iterator[tuple[Item, Result | None]]:
    while waiting and not workers:
        item = waiting.popleft()
        yield item, task(item)
    while waiting:
        suspects: deque[Item] = deque()
        yield from _work_off(task, waiting, workers, suspects)
        for _ in range(ALONE):
            died: deque[Item] = deque()
            while suspects:
                yield from _work_off(task, suspects, workers, died, alone=True)
            suspects = died
        yield from ((item, None) for item in suspects)


def _work_off(
    task: Callable[[Item], Result], waiting: deque[Item], workers: Workers, died: deque[Item], *, alone: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Work off `waiting` until it is empty or a process dies; what was under way then is added to `died`. alone: one item at a time."""
    with _pool(workers, 1 if alone else len(waiting)) as pool:
        under_way: dict[Future[Result], Item] = {}
        whole = True
        while under_way or (waiting and whole):
            room = 1 if alone else pool.room()
            try:
                while waiting and whole and len(under_way) < room:
                    under_way[pool.executor.submit(task, waiting[0])] = waiting[0]
                    waiting.popleft()
            except pool.death:
                whole = False
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                item = under_way.pop(future)
                try:
                    result = future.result()
                except pool.death:
                    whole = False
                    died.append(item)
                else:
                    yield item, result


@dataclass(frozen=True)
class _Pool:
    """executor: who works. room: how many items may be under way: one in work and one ready for each process. death: raised for an item
    whose process died."""

    executor: Executor
    room: Callable[[], int]
    death: type[Exception]


@contextmanager
def _pool(workers: Workers, items: int) -> Iterator[_Pool]:
    if isinstance(workers, str):
        with _cluster(workers) as pool:
            yield pool
        return
    check_guard("spawn")
    count = min(workers, items)
    executor = ProcessPoolExecutor(count, get_context("spawn"), _start_worker)
    try:
        yield _Pool(executor, lambda: 2 * count, BrokenExecutor)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C is for the parent, which lets workers finish their series. A worker whose parent was killed must end by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # one core a process; read when numerical libraries are first imported, which is later
    end_with_parent()


@contextmanager
def _cluster(address: str) -> Iterator[_Pool]:
    """The workers of a Dask scheduler. They may come and go: Dask gives the work of one that died to another."""
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise ValueError('a scheduler needs Dask: pip install "ubr-pretrain[cluster]"') from None
    try:
        asyncio.run(_knock(distributed, address))  # a client that fails to connect is not quiet about it
    except Exception:  # whatever the answer of something that is no scheduler leads to
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} within {ANSWERS_S} s; give the address that dask scheduler prints (tcp://HOST:8786)"
        ) from None
    with _unlogged("distributed.client"), distributed.Client(address, set_as_default=False) as client:
        if not client.nthreads():
            sys.stderr.write(f"{address} has no worker yet; waiting for one\n")  # else the bar stands still unexplained
        executor = client.get_executor(pure=False)  # pure: the same work again would give the same failure
        try:
            yield _Pool(executor, lambda: 2 * max(1, sum(client.nthreads().values())), distributed.KilledWorker)
        except (CancelledError, distributed.comm.CommClosedError):
            raise ConnectionError(f"the Dask scheduler at {address} is gone; start one, and the same command goes on") from None
        finally:
            executor.shutdown(wait=False)


@contextmanager
def _unlogged(name: str) -> Iterator[None]:
    """A logger whose tracebacks would bury the line that says what happened."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _knock(distributed: Any, address: str) -> None:
    comm = await distributed.comm.connect(address, timeout=ANSWERS_S, **distributed.Security().get_connection_args("client"))
    await comm.close()
