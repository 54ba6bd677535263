"""Which CT series the user's folders hold, and what is left out and why.

Files are told apart by content: DICOM by its preamble or first element, PNG by its signature;
NIfTI, NRRD and MetaImage by their ending, which those formats require (`.hdr` and `.img` by their
content too). Nothing stops the search: a file or folder that cannot be read is left out with the
reason, and so is what is neither: a pipe, a socket or a device would keep its reader waiting.
Hidden files and folders (a name that starts with a dot) are left out, unless they are the source
itself. Links to folders are followed, each folder is visited once.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ubr.weights.common.disk import is_part

from . import dicom, itk, nifti
from .deeplesion import images
from .deeplesion import series as deeplesion
from .digests import files_digest
from .volume import LeftOut, Series, UnusableError, Volume
from .workers import DIED, Workers, each

_BATCH = 32
"""Files per task: a header takes less time to read than to send to another process."""
HIDDEN = "hidden (the name begins with a dot); give it as a source of its own to have it read"
_NOTHING = "not DICOM, NIfTI, NRRD, MetaImage or PNG"


@dataclass(frozen=True)
class _Png:
    path: str
    is_16_bit: bool


def find_series(
    sources: Sequence[str | Path], *, workers: Workers = 0, progress: bool = False
) -> tuple[list[Series], list[LeftOut]]:
    """The readable series in files and folders (searched to any depth), and what gave none.

    Both lists are ordered by path and do not depend on `workers`, which read the headers.

    Raises `UnusableError` when a source does not exist.
    """
    paths, left = _walk(sources)
    headers: list[dicom.Header] = []
    pngs: list[_Png] = []
    series: list[Series] = []
    for looked in _look_at_all(paths, workers, progress):
        match looked:
            case dicom.Header():
                headers.append(looked)
            case _Png():
                pngs.append(looked)
            case Series():
                series.append(looked)
            case LeftOut():
                left.append(looked)
    for found, out in (
        dicom.group_series(headers),
        deeplesion.group_slices([p.path for p in pngs], {p.path for p in pngs if not p.is_16_bit}),
    ):
        series += found
        left += out
    once: dict[str, Series] = {}
    for one in sorted(series, key=lambda s: (s.files[0], s.uid)):
        if one.uid not in once:
            once[one.uid] = one
        elif one.files != once[one.uid].files:  # a pair is met at both of its files
            left.append(LeftOut(one.files[0], "a copy of another file"))
    data = {p for one in series if one.kind in ("itk", "nifti") for p in one.files[1:]}
    return list(once.values()), sorted(
        (o for o in left if o.path not in data), key=lambda o: (o.path, o.reason)
    )


def find_one(source: str | Path) -> Series:
    """The readable series of a file or folder that holds one.

    Raises `UnusableError` when the source does not exist, or holds none or several.
    """
    series, left = find_series([source])
    if len(series) > 1:
        raise UnusableError(f"{source} holds {len(series)} series; give the file or folder of one")
    if not series:
        raise UnusableError(
            f"{source} holds no CT series: {left[0].reason if left else 'it has no files'}"
        )
    return series[0]


def read_volume(series: Series) -> Volume:
    """The series' volume, in the project's axes.

    Raises `UnusableError` with the reason when it cannot be taken.
    """
    readers = {
        "dicom": dicom.read_series,
        "nifti": nifti.read_nifti,
        "itk": itk.read_itk,
        "png": deeplesion.read_series,
    }
    return readers[series.kind](series)


@contextmanager
def silence() -> Iterator[None]:
    """Silence warnings and logs: readers put values of tags there, which may identify a patient."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _walk(sources: Sequence[str | Path]) -> tuple[list[str], list[LeftOut]]:
    """Every file, once, and the folders that gave none."""
    paths: dict[str, None] = {}
    left: list[LeftOut] = []
    visited: set[str] = set()
    for source in sources:
        start = str(Path(source).expanduser().absolute())
        if not _is_there(start):
            raise UnusableError(f"{source} does not exist: give a file or folder that does")
        waiting = [start]
        while waiting:
            path = waiting.pop()
            try:
                if not _is_folder(path):
                    paths[path] = None
                    continue
            except (UnusableError, OSError) as error:
                left.append(LeftOut(path, _why_not(error, "file")))
                continue
            if (real := os.path.realpath(path)) in visited:
                continue
            visited.add(real)
            try:
                entries = sorted(os.scandir(path), key=lambda e: e.name)
            except OSError as error:
                left.append(LeftOut(path, _why_not(error, "folder")))
                continue
            if not entries:
                left.append(LeftOut(path, "the folder is empty"))
            for entry in entries:
                if entry.name.startswith("."):
                    left += _hidden(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    paths[entry.path] = None  # nearly all are, and this asks the disk nothing
                else:
                    waiting.append(entry.path)
    return sorted(paths), left


def _hidden(path: str) -> list[LeftOut]:
    """What is said of a hidden name: nothing, where this project itself is writing."""
    return [] if is_part(Path(path)) else [LeftOut(path, HIDDEN)]


def _is_there(path: str) -> bool:
    """Whether there is such a name, also where what it names cannot be reached."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_folder(path: str) -> bool:
    """Whether a path is a folder; if not it is a file.

    Raises `UnusableError` for what is neither, and `OSError` where a link leads nowhere, in circles
    or where one may not go.
    """
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        return stat.S_ISDIR(mode)
    kinds = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    raise UnusableError(f"a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file")


def _why_not(error: UnusableError | OSError, what: str) -> str:
    if isinstance(error, UnusableError):
        return str(error)
    return f"the {what} cannot be read ({error.strerror or type(error).__name__})"


def _look_at_all(
    paths: list[str], workers: Workers, progress: bool
) -> Iterator[dicom.Header | _Png | Series | LeftOut]:
    batches = [tuple(paths[first : first + _BATCH]) for first in range(0, len(paths), _BATCH)]
    unsure: list[tuple[str, ...]] = []
    for batch, looked in each(
        _look_at,
        batches,
        workers,
        name="looking for CT",
        unit=f" x {_BATCH} files",
        progress=progress,
    ):
        if looked is None:
            unsure += [(path,) for path in batch]
        else:
            yield from looked
    for (path,), looked in each(
        _look_at,
        unsure,
        workers,
        name="looking again",
        unit=" files",
        progress=progress and bool(unsure),
    ):
        yield from looked or [LeftOut(path, DIED)]


def _look_at(paths: tuple[str, ...]) -> list[dicom.Header | _Png | Series | LeftOut]:
    return [_look(path) for path in paths]


def _look(path: str) -> dicom.Header | _Png | Series | LeftOut:
    """What one file is. It never raises, so the batch continues."""
    name = path.lower()
    try:
        if members := nifti.nifti_files(path):
            return Series("nifti", members, files_digest(members), "")
        if name.endswith(itk.ENDINGS):
            members = itk.with_data(path)
            return Series("itk", members, files_digest(members), "")
        with Path(path).open("rb") as file:
            start = file.read(26)
        if start.startswith(images.SIGNATURE):
            return _Png(path, images.is_16_bit_grey(start))
        return dicom.read_header(path)
    except dicom.NotDicomError:
        nothing = nifti.NO_HEADER if name.endswith(nifti.IMAGES) else _NOTHING
        return LeftOut(path, nothing if start else "the file is empty")
    except UnusableError as error:
        return LeftOut(path, str(error))
    except OSError as error:
        return LeftOut(path, _why_not(error, "file"))
