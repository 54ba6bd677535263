"""Work in other processes that outlives one of them.

Readers of damaged files can crash (compiled decoders do), and the memory of a machine has an end. A process that dies costs the item it was
working on and nothing else. Processes are spawned, not forked: what has started threads must not be forked.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from ubr.weights.processes import UNGUARDED, end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

DIED = "the process that read it died twice, most likely for want of memory"


def cores() -> int:
    """Cores this process may use; where the system does not say (macOS, Windows), all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    task: Callable[[Item], Result], items: Iterable[Item], workers: int, *, name: str, progress: bool = True
) -> Generator[tuple[Item, Result | None], None, None]:
    """`task` of every item, as they finish, with a progress bar; None for an item whose process died.

    When a process dies, Python cannot tell on which item, and the whole pool is lost. All items under way are then tried again, each
    alone in a process of its own: the culprit is found, the others get done.

    Args:
        task: a function that can be pickled.
        items: a series of work each.
        workers: processes; 0 works in this one.
        name: of the progress bar.
        progress: show it.
    """
    from tqdm import tqdm

    waiting = deque(items)
    with tqdm(total=len(waiting), desc=name, unit="series", disable=not progress) as bar:
        while waiting and not workers:
            item = waiting.popleft()
            result = task(item)
            bar.update()
            yield item, result
        while waiting:
            suspects: list[Item] = []
            for item, result in _in_pool(task, waiting, workers, suspects):
                bar.update()
                yield item, result
            for item in suspects:
                outcome = list(_in_pool(task, deque([item]), 1, []))
                bar.update()
                yield outcome[0] if outcome else (item, None)


def pool_of(workers: int) -> ProcessPoolExecutor:
    """Spawned processes that end with this one. Raises `RuntimeError` where a script's top level would be run again in each of them."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        pool.shutdown()
        raise RuntimeError(UNGUARDED) from None
    return pool


def _in_pool(task: Callable[[Item], Result], waiting: deque[Item], workers: int, suspects: list[Item]) -> Iterator[tuple[Item, Result]]:
    """Work off `waiting` until it is empty or a process dies; what was under way then is added to `suspects`."""
    pool = pool_of(min(workers, len(waiting)))
    under_way: dict[Future[Result], Item] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < 2 * workers:  # one in work and one ready for each process
                under_way[pool.submit(task, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield under_way.pop(future), result
    except BrokenProcessPool:
        suspects.extend(under_way.values())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C is for the parent, which lets workers finish their series. A worker whose parent was killed must end by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # one core a process; read when numerical libraries are first imported, which is later
    end_with_parent()
