"""Worker processes: how they start, and that they end with the process they work for.

What has started threads must not be forked, and what is forked shares its pages: each has to be
copied when the trainer next writes it, which on a CPU costs seconds, and slower steps long after.
Workers of a loader are therefore forked from a small server that holds nothing.
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
    """Options of a `DataLoader` with so many worker processes; with 0 it loads in this one.

    Raises:
        RuntimeError: where a script's top level would be run again in each worker.
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
    """Raise `RuntimeError` where a script's top level would be run again in each process that is
    started so ("spawn", "forkserver").
    """
    context: Any = multiprocessing.get_context(method)
    try:
        trial = context.Process(target=os.getpid)
        trial.start()
        trial.join()
        works = (
            trial.exitcode is not None and trial.exitcode <= 0
        )  # below 0: killed, which is another matter
    except (OSError, EOFError):  # it died before it was told what to do
        works = False
    if not works:
        raise RuntimeError(UNGUARDED)


def _start_loading(_: int) -> None:
    """On a CPU a worker wants the cores that training computes on, and batches ahead are in no
    hurry.
    """
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(19)


def end_with_parent() -> None:
    """Let this process end by itself when the one that started it is gone, even killed; a server in
    between would not tell it.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
