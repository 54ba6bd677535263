"""Worker processes: how they start, and that they end with their parent.

A process that has started threads must not be forked. A forked process also shares the trainer's
pages, each of which is copied when the trainer next writes it; on a CPU this costs seconds and
slows steps long afterwards. Loader workers are therefore forked from a small server process that
holds no data.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from functools import cache
from typing import Any

UNGUARDED = (
    "worker processes cannot start; a script that uses them must do so under if __name__ "
    "== '__main__':"
)


def loader_options(workers: int) -> dict[str, Any]:
    """Options of a `DataLoader` with this many worker processes; 0 loads in this process.

    Raises:
        RuntimeError: the script's top level would run again in each worker.
    """
    if not workers:
        return {}
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    check_guard(method)
    context = multiprocessing.get_context(method)
    return {
        "num_workers": workers,
        "worker_init_fn": _start_loading,
        "multiprocessing_context": context,
    }


@cache
def check_guard(method: str) -> None:
    """Raise `RuntimeError` if the script's top level would run again in each process.

    `method` is how processes are started: "spawn" or "forkserver".
    """
    context: Any = multiprocessing.get_context(method)
    try:
        trial = context.Process(target=os.getpid)
        trial.start()
        trial.join()
        # A negative code means that it was killed, which says nothing about the script.
        works = trial.exitcode is not None and trial.exitcode <= 0
    except (OSError, EOFError):  # it died before it received its task
        works = False
    if not works:
        raise RuntimeError(UNGUARDED)


def _start_loading(_: int) -> None:
    """Give the worker a lower priority.

    On a CPU it competes with training for the same cores, and prefetched batches are not urgent.
    Not the lowest: on a shared machine, where others also compete, it would hardly run at all.
    """
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(5)


def end_with_parent() -> None:
    """End this process when its parent ends, even if killed.

    With a fork server in between, it would not notice otherwise.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
