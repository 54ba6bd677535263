"""A command of either command line, run in a fork of this process.

A fork starts in milliseconds with everything imported, so thousands of commands take minutes; and
whatever a command does (a crash, endless memory, a hang) ends with its process. Pools of processes
are replaced by the process itself: what a reader does is the same, and so is the order.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY_BYTES = 6 << 30
"""How much a command may ask for beyond what is loaded."""
FAULT = 70
"""Exit status of a command that raised."""


@dataclass(frozen=True)
class Ran:
    """What a command did.

    status: its exit status, `FAULT` where it raised, minus the signal that ended it. out, err: what
    it printed. hung: it was ended because it took too long.
    """

    status: int
    out: str
    err: str
    hung: bool = False


@dataclass(frozen=True)
class Running:
    """A command that has been started in a folder."""

    pid: int
    folder: Path
    until: float

    def wait(self) -> Ran:
        """Wait for its end, or end it."""
        status, hung = self._ended()
        code = os.waitstatus_to_exitcode(status)
        texts = [
            (self.folder / name).read_text("utf-8", "backslashreplace") for name in ("out", "err")
        ]
        return Ran(code, texts[0], texts[1], hung)

    def _ended(self) -> tuple[int, bool]:
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status, False
            if time.monotonic() > self.until:
                os.killpg(self.pid, signal.SIGKILL)
                return os.waitpid(self.pid, 0)[1], True
            time.sleep(0.002)


def load_everything() -> None:
    """Import what the verbs import when they are called."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for package in ("weights", "pretrain", "downstream"):
        module = importlib.import_module(f"ubr.{package}")
        for one in pkgutil.walk_packages(module.__path__, f"ubr.{package}."):
            if not one.name.endswith((".d2", ".__main__")):
                importlib.import_module(one.name)
    others = "nibabel SimpleITK highdicom pyarrow.parquet blosc2 matplotlib.pyplot sklearn.svm"
    for name in (*others.split(), "onnx", "onnxruntime", "torch.utils.tensorboard"):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def start(
    words: Sequence[str],
    folder: Path,
    *,
    said_in: Path | None = None,
    seconds: float = 60,
    before: Callable[[], None] | None = None,
) -> Running:
    """Start a command.

    Args:
        words: the program ("ubr-pretrain" or "ubr-detect"), the verb and its options.
        folder: where it runs.
        said_in: a folder for what it prints and for temporary files, made anew.
        seconds: after which it is ended.
        before: called in its process before it begins.
    """
    said = said_in or folder.with_name(f"{folder.name}.said")
    shutil.rmtree(said, ignore_errors=True)
    (said / "tmp").mkdir(parents=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Running(pid, said, time.monotonic() + seconds)
    status = FAULT
    try:
        os.setsid()
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, said / "out", os.O_WRONLY | os.O_CREAT),
            (2, said / "err", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(name, flags, 0o600), number)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # whatever stands in for them
        os.chdir(folder)
        _prepare(said / "tmp")
        if before:
            before()
        status = _main(words)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(words: Sequence[str], folder: Path, **options: Any) -> Ran:
    """`start` a command and wait for its end."""
    return start(words, folder, **options).wait()


def _main(words: Sequence[str]) -> int:
    from ubr.downstream import cli as detect
    from ubr.pretrain import cli as pretrain

    main = detect.main if words[0] == "ubr-detect" else pretrain.main
    status: int = main(list(words[1:]))
    return status


def _prepare(temporary: Path) -> None:
    """Make a process safe, and what it writes a function of what it reads."""
    import tempfile

    from ubr.pretrain.data import workers
    from ubr.weights.common import runs

    loaded = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (loaded + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    os.fsync = lambda fd: None  # a killed process loses nothing that it wrote
    secrets.token_hex = lambda nbytes=None: "5e" * (nbytes or 32)
    runs.commit = lambda: "a commit"
    workers.ProcessPool = InThisProcess  # type: ignore[assignment, attr-defined]


class InThisProcess(Executor):
    """Stands in for a pool of processes."""

    def __init__(self, count: int) -> None:
        pass

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A call that is done when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below a folder, and folders that are empty, with their relative names."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_dir():
            yield name, path
        elif not any(path.iterdir()):
            yield f"{name}/", path
