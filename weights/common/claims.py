"""Claims: one process at a time writes a folder or a file.

A claim is a lock of the operating system on a hidden file, `.claim` in a folder that is filled
step by step, `.NAME.claim` beside what appears whole (`disk.whole`). The system lets go of it when
the process ends, however it ends, so the claim of a dead process is taken over at once.

Some network file systems keep locks within each machine, or have none. The file therefore says
which machine claimed it, and its time is renewed as long as the process runs. A claim that another
machine left, or any claim where there are no locks, is watched for a minute, and is taken over if
it was not renewed meanwhile. Clocks of machines are not compared.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import inspect
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import ParamSpec, TypeVar

from . import disk

P = ParamSpec("P")
R = TypeVar("R")

RENEW_S, WATCH_S = 10.0, 60.0
"""Seconds between two renewals, and for which another machine's claim is watched.

Network file systems may show a renewal some seconds late.
"""
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class Claimed(ValueError):
    """Another process is writing this file or folder."""


@contextmanager
def claim(path: str | Path) -> Iterator[None]:
    """Claim a file or folder that appears whole, and remove what killed processes left of it.

    Raises:
        Claimed: another process is writing it.
        OSError: nothing can be written beside it.
    """
    path = Path(path)
    with _claimed(path.parent / f".{path.name}.claim", path):
        disk.sweep(path.parent, claimed=path.name)
        yield


@contextmanager
def claim_folder(path: str | Path) -> Iterator[None]:
    """Claim a folder that is filled step by step, and remove what killed processes left in it.

    It is made, and removed again if it is still empty at the end.

    Raises:
        Claimed: another process is writing it.
        OSError: it is a file, or cannot be written to.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give a new folder")
    with _claimed(path / ".claim", path):
        disk.sweep(path)
        yield


def claiming(name: str, *, fills: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that writes what its argument `name` names, so that it is claimed.

    fills: the function fills a folder step by step (`claim_folder`).
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def claimed(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            if (path := given.arguments[name]) is None:
                return function(*args, **kwargs)
            with claim_folder(path) if fills else claim(path):
                return function(*args, **kwargs)

        return claimed

    return decorate


@contextmanager
def _claimed(file: Path, what: Path) -> Iterator[None]:
    made = [one for one in (file.parent, *file.parent.parents) if not one.exists()]
    try:
        descriptor = _acquired(file, what)
        ended = threading.Event()
        renewal = threading.Thread(target=_renew, args=(descriptor, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()  # else it could renew another file that gets the same descriptor
            if _is_at(descriptor, file):
                file.unlink()
            os.close(descriptor)
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something, or was not made
                folder.rmdir()


def _acquired(file: Path, what: Path) -> int:
    """The descriptor of the claim, which holds the lock until it is closed."""
    while True:
        if (opened := _opened(file)) is None:
            continue
        descriptor, new = opened
        try:
            locks = _lock(descriptor, what)
            if not _is_at(descriptor, file):
                raise FileNotFoundError  # its process has just ended
            if not new and not (locks and _owner(descriptor)[0] in (_machine(), "")):
                _watch(file, what)
                if not locks and _is_at(descriptor, file):
                    file.unlink()  # of several that took it over, one makes the next
                    raise FileNotFoundError
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{_machine()} {os.getpid()}".encode(), 0)
        except FileNotFoundError:
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor


def _opened(file: Path) -> tuple[int, bool] | None:
    """A descriptor of the file, and whether it is new; None where it has just been removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():
        file.unlink()
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileExistsError, FileNotFoundError):
        return os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    with suppress(FileNotFoundError):
        return os.open(file, flags), False
    return None


def _lock(descriptor: int, what: Path) -> bool:
    """Lock the file. Returns whether its file system has locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        machine, process = _owner(descriptor)
        here = f"process {process}" if machine == _machine() else "a process"
        raise _refusal(what, here) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _watch(file: Path, what: Path) -> None:
    """Watch a claim; return once it is known to be of a dead process."""
    sys.stderr.write(
        f"{what} was claimed by a process of another machine; watching for {WATCH_S:.0f} s "
        "to see whether it is still running\n"
    )
    ends, before = time.monotonic() + WATCH_S, file.stat().st_mtime_ns
    while time.monotonic() < ends:
        time.sleep(min(1.0, WATCH_S / 10))
        if file.stat().st_mtime_ns != before:
            raise _refusal(what, "another machine")


def _refusal(what: Path, who: str) -> Claimed:
    return Claimed(f"{what} is being written by {who}; wait until it has ended, or end it")


def _renew(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(OSError):
            os.utime(descriptor)


def _owner(descriptor: int) -> tuple[str, str]:
    """The machine and the number of the process that made a claim."""
    machine, _, process = os.pread(descriptor, 100, 0).decode("ascii", "replace").partition(" ")
    return machine, process


def _machine() -> str:
    """What names this machine since it was started: containers on it share its locks."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except OSError:  # not Linux
        name = socket.gethostname()
    return blake2b(name.encode(), digest_size=8).hexdigest()


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat(follow_symlinks=False))
    except OSError:
        return False
