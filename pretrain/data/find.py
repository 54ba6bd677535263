"""Which CT series the user's folders hold, and what is left out and why.

Files are told apart by content: DICOM by its preamble or first element, PNG by its signature;
NIfTI, NRRD and MetaImage by their ending, which those formats require (`.hdr` and `.img` by their
content too). No file stops the search: a file or folder that cannot be read is left out with the
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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ...weights.common.disk import is_part
from ...weights.common.progress import progress_bar
from ...weights.released import check_there
from . import dicom, itk, nifti
from .deeplesion import images
from .deeplesion import series as deeplesion
from .digests import files_digest
from .index import Index, Stamp, told
from .volume import LeftOut, Series, UnusableError, Volume, cannot_be_read
from .workers import DIED, Workers, each

_BATCH = 32
"""Files per task: a header takes less time to read than to send to another process."""
HIDDEN = "hidden (the name begins with a dot); give it as a source of its own to have it read"
_NOTHING = "not DICOM, NIfTI, NRRD, MetaImage or PNG"


@dataclass(frozen=True)
class _Png:
    is_16_bit: bool


def find_series(
    sources: Sequence[str | Path], *, workers: Workers = 0, progress: bool = False
) -> tuple[list[Series], list[LeftOut]]:
    """The readable series in files and folders (searched to any depth), and what was left out.

    Both lists are ordered by path and do not depend on `workers`, which read the headers.

    Raises `UnusableError` when a source does not exist.
    """
    with search(sources, workers=workers, progress=progress) as found:
        return list(found), list(found.left_out())


@contextmanager
def search(
    sources: Sequence[str | Path],
    *,
    workers: Workers = 0,
    progress: bool = False,
    keep: Path | None = None,
) -> Iterator[Index]:
    """The same for any number of files: the results stay on disk while this is open.

    keep: a file that holds what was read, so that the same search rereads only what has changed.
    The caller removes it.

    Raises:
        UnusableError: a source does not exist, or what `keep` holds is damaged.
        OSError: the disk is full, or cannot be written to.
    """
    try:
        check_there(*map(Path, sources))
    except ValueError as error:
        raise UnusableError(str(error)) from None
    with told(keep), closing(Index(keep)) as index:
        with progress_bar(title="looking for CT", unit="files", show=progress) as bar:
            new = _new_files(sources, index, bar)
            for path, looked in _look_at_all(new, workers):
                index.add(path, looked.is_16_bit if isinstance(looked, _Png) else looked)
        index.end_search()
        for found in _series_and_others(index):
            if isinstance(found, Series):
                index.found(found)
            else:
                index.leave_out(found)
        index.drop_copies()
        yield index


def _series_and_others(index: Index) -> Iterator[Series | LeftOut]:
    yield from dicom.group_series(index)
    for paths, shallow in index.png_folders():
        series, left = deeplesion.group_slices(paths, shallow)
        yield from series
        yield from left


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
    """The series' volume, in the project's axes. What its libraries print or log is not shown.

    Raises `UnusableError` with the reason when it cannot be taken.
    """
    readers = {
        "dicom": dicom.read_series,
        "nifti": nifti.read_nifti,
        "itk": itk.read_itk,
        "png": deeplesion.read_series,
    }
    with silence():
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


def _walk(sources: Sequence[str | Path]) -> Iterator[tuple[str, Stamp] | LeftOut]:
    """Every file with its size and time of change, and the folders that gave none.

    What sources have in common comes again. Only folders are remembered.
    """
    visited: set[str] = set()
    for source in sources:
        waiting = [str(Path(source).expanduser().absolute())]
        while waiting:
            path = waiting.pop()
            try:
                status = Path(path).stat()
                if not _is_folder(status):
                    yield path, _stamp(status)
                    continue
            except (UnusableError, OSError) as error:
                yield LeftOut(path, _why_not(error, "file"))
                continue
            if (real := os.path.realpath(path)) in visited:
                continue
            visited.add(real)
            try:
                yield from _in_folder(path, waiting)
            except OSError as error:
                yield LeftOut(path, _why_not(error, "folder"))


def _in_folder(path: str, waiting: list[str]) -> Iterator[tuple[str, Stamp] | LeftOut]:
    """The files of a folder. Whatever else is in it is added to `waiting`."""
    empty = True
    with os.scandir(path) as entries:
        for entry in entries:
            empty = False
            if entry.name.startswith("."):
                yield from _hidden(entry.path)
            elif entry.is_file(follow_symlinks=False):
                try:
                    yield entry.path, _stamp(entry.stat())
                except OSError as error:
                    yield LeftOut(entry.path, _why_not(error, "file"))
            else:
                waiting.append(entry.path)
    if empty:
        yield LeftOut(path, "the folder is empty")


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _hidden(path: str) -> list[LeftOut]:
    """What is said of a hidden name: nothing, where this project itself is writing."""
    return [] if is_part(Path(path)) else [LeftOut(path, HIDDEN)]


def _is_folder(status: os.stat_result) -> bool:
    """Whether it is a folder; if not it is a file. Raises `UnusableError` for what is neither."""
    mode = status.st_mode
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        return stat.S_ISDIR(mode)
    kinds = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    raise UnusableError(f"a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file")


def _why_not(error: UnusableError | OSError, what: str) -> str:
    return str(error) if isinstance(error, UnusableError) else cannot_be_read(error, what)


def _new_files(sources: Sequence[str | Path], index: Index, bar: Any) -> Iterator[str]:
    """The files that are to be read; the others are counted as done."""
    for met in _walk(sources):
        if isinstance(met, LeftOut):
            index.leave_out(met)
        elif index.is_new(*met):
            yield met[0]
        bar.update()


def _look_at_all(
    paths: Iterator[str], workers: Workers
) -> Iterator[tuple[str, dicom.Header | _Png | Series | LeftOut]]:
    batches = iter(lambda: tuple(islice(paths, _BATCH)), ())
    unsure: list[tuple[str, ...]] = []
    for batch, looked in each(_look_at, batches, workers, name="", progress=False):
        if looked is None:
            unsure += [(path,) for path in batch]
        else:
            yield from zip(batch, looked, strict=True)
    for (path,), looked in each(_look_at, unsure, workers, name="", progress=False):
        yield path, (looked or [LeftOut(path, DIED)])[0]


def _look_at(paths: tuple[str, ...]) -> list[dicom.Header | _Png | Series | LeftOut]:
    return [_look(path) for path in paths]


def _look(path: str) -> dicom.Header | _Png | Series | LeftOut:
    """What one file is. Raises only `LibraryError`, so the batch continues."""
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
            return _Png(images.is_16_bit_grey(start))
        return dicom.read_header(path)
    except dicom.NotDicomError:
        nothing = nifti.NO_HEADER if name.endswith(nifti.IMAGES) else _NOTHING
        return LeftOut(path, nothing if start else "the file is empty")
    except (UnusableError, OSError) as error:
        return LeftOut(path, _why_not(error, "file"))
