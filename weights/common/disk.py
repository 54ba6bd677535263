"""Files and folders that appear whole or not at all.

A file is written into a new hidden folder beside the target, flushed to disk, and then renamed. A
reader never sees a partial file. A killed process leaves only the hidden folder, which `sweep`
removes once the process is gone. The folder is new and belongs to the writer, so a link that
somebody left at a temporary name is never followed, and one at the final name is replaced. Folders
that are filled step by step are made by `make_folder`, which takes no link for a folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

_STALE_S = 86400.0
_PART = re.compile(
    r"\.(?P<name>.*)\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)\.[^.]+\.part"
    r"|(?P<old_name>.+)\.(?P<old_host>[0-9a-f]{8})-(?P<old_process>\d+)\.tmp"  # earlier versions
)
_CLAIM = re.compile(r"\.(.+\.)?claim")


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a path at which to write a file or folder; it appears at `path` when the block ends.

    The yielded path has the name and ending of `path`. Parent folders are created. An existing file
    or empty folder is replaced. If the block raises, nothing is changed.

    Raises:
        OSError: the disk is full, the folder cannot be written to, or `path` is a folder that is
            not empty.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(path.parent, path.name) as made:
        part = made / path.name
        yield part
        for file in [*part.rglob("*"), part] if part.is_dir() else [part]:
            _to_disk(file)
        part.replace(path)
        _to_disk(path.parent)


@contextmanager
def scratch(folder: Path, name: str) -> Iterator[Path]:
    """Yield a new hidden folder in a folder, for the making of `name`; it is gone at the end."""
    made = tempfile.mkdtemp(prefix=f".{name}.{_host()}-{os.getpid()}.", suffix=".part", dir=folder)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def make_folder(path: str | Path, mode: int = 0o777) -> None:
    """Make a folder that is filled step by step, where it is not there.

    mode: who may read and write it, less what the umask takes.

    Raises:
        ValueError: a link lies there, which is not followed: it may lead anywhere.
    """
    path = Path(path)
    if path.is_symlink():
        raise ValueError(f"{path} is a link, which is not followed; replace it with a folder")
    path.mkdir(mode, exist_ok=True)


def append_text(path: str | Path, text: str) -> None:
    """Append to a UTF-8 text file. Raises `OSError` where a link lies there."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(data)


def is_part(path: Path) -> bool:
    """Whether a name is that of something not yet whole: a hidden folder of `whole`, or a claim.

    Temporary files of earlier versions count too.
    """
    return any(names.fullmatch(path.name) for names in (_PART, _CLAIM))


def sweep(folder: str | Path, *, claimed: str = "") -> None:
    """Remove what killed processes left in a folder.

    Whether another machine's process runs is unknown; what it left is removed after a day.

    claimed: the name that this process has claimed, or "*" where nobody else writes into the
    folder: whatever was begun under it is of a dead process.
    """
    for path in Path(folder).iterdir():
        if (found := _PART.fullmatch(path.name)) is None:
            continue
        with suppress(OSError):  # it was renamed meanwhile, or another process sweeps too
            here = (found["host"] or found["old_host"]) == _host()
            process = int(found["process"] or found["old_process"])
            old = time.time() - path.stat().st_mtime > _STALE_S
            mine = claimed in ("*", found["name"] or found["old_name"])
            if not (mine or old or (here and not _runs(process))):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _to_disk(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # some systems do not open folders
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _host() -> str:
    """What names a machine, or a container on it, within which processes see each other."""
    name = socket.gethostname()
    with suppress(OSError):  # not Linux
        name += str(Path("/proc/self/ns/pid").readlink())
    return blake2b(name.encode(), digest_size=4).hexdigest()


def _runs(process: int) -> bool:
    """Whether a process runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to somebody else
        return True
    return True
