"""A pool of processes in which a killed process costs the call it was answering, and nothing else.

Each process has a pipe of its own. The pools of the standard library share one pipe among all
processes: when one is killed with half of its answer sent, the others can no longer answer, and the
caller waits for ever.
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

_SPAWN = get_context("spawn")  # not forked: what has started threads must not be forked
_STARTING = threading.Lock()


def cores() -> int:
    """Cores this process may use; where the system does not say (macOS, Windows), all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Died(Exception):
    """The process ended before it had answered."""


class ProcessPool(Executor):
    """Up to `count` processes, started when they are needed.

    A call's future raises what the call raised, or `Died`.

    Raises:
        RuntimeError: where a script's top level would be run again in each process.
    """

    def __init__(self, count: int) -> None:
        check_guard("spawn")
        self._threads = ThreadPoolExecutor(count)  # each waits for one process
        self._idle: deque[_Process] = deque()

    def submit(self, call: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Future[Answer]:
        """The future answer of a call. Function, arguments and answer must be picklable."""
        return self._threads.submit(self._answer, call, args, kwargs)

    def _answer(self, *call: Any) -> Any:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process()
        try:
            answer, error, details = process.ask(call)
        except (EOFError, OSError):
            process.end()
            raise Died from None
        self._idle.append(process)
        if error is not None:
            raise error from RuntimeError(details)
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let running calls end, and waiting ones unless they are cancelled; end the processes."""
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
    """Answer calls until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets calls end
    # One core per process. Numerical libraries read it when they are first imported, later.
    os.environ["OMP_NUM_THREADS"] = "1"
    end_with_parent()
    while True:
        try:
            call, args, kwargs = pipe.recv()
        except EOFError:
            return
        answer, failure, details = None, None, ""
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            failure, details = error, f"in a process of the pool:\n{traceback.format_exc()}"
        pipe.send((answer, failure, details))
