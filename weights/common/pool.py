"""A pool of processes, each with its own pipe: a killed process costs only the call it was running.

The pools of the standard library share one pipe among all processes. If a process is killed while
it sends an answer, the others can no longer answer and the caller waits forever.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .processes import check_guard, end_with_parent

Answer = TypeVar("Answer")

_SPAWN = get_context("spawn")  # a process that has started threads must not be forked
_STARTING = threading.Lock()


def cores() -> int:
    """Cores this process may use; where the system does not say (macOS, Windows), all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Died(Exception):
    """The process ended before it answered."""


class ProcessPool(Executor):
    """Up to `count` processes, started when needed.

    A call's future raises what the call raised, or `Died`.

    Raises:
        RuntimeError: the script's top level would run again in each process.
    """

    def __init__(self, count: int) -> None:
        check_guard("spawn")
        self._threads = ThreadPoolExecutor(count)  # each waits for one process
        self._idle: deque[_Process] = deque()

    def submit(self, call: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Future[Answer]:
        """A future of the call's result. Function, arguments and result must be picklable."""
        return self._threads.submit(self._answer, call, args, kwargs)

    def _answer(self, *call: Any) -> Any:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process()
        try:
            answer, error, trace = process.ask(call)
        except (EOFError, OSError):
            process.end()
            raise Died from None
        self._idle.append(process)
        if error is not None:
            raise error from RuntimeError(trace)
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish running calls, and waiting ones unless cancelled; then end the processes."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while self._idle:
            self._idle.pop().end()


class _Process:
    def __init__(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,))
        with _STARTING:
            self._process.start()
        theirs.close()  # the pipe ends with the process

    def ask(self, call: Any) -> Any:
        self._pipe.send(call)
        return self._pipe.recv()

    def end(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """Run calls until the pipe ends or the parent dies.

    Ctrl-C is left to the parent, which lets calls finish.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One core per process. Numerical libraries read this when they are first imported, later.
    os.environ["OMP_NUM_THREADS"] = "1"
    end_with_parent()
    while True:
        try:
            call, args, kwargs = pipe.recv()
        except EOFError:
            return
        answer, failure, trace = None, None, ""
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            failure, trace = error, f"in a process of the pool:\n{traceback.format_exc()}"
        pipe.send((answer, failure, trace))
