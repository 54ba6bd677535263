"""The one way to read CT: scans of a store, or of files and folders, as volumes.

DICOM, NIfTI, NRRD, MetaImage and 16-bit PNG come out in the same axes and units. Finding and
reading are two steps: an `UnreadScan` is small and travels to another process, which reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .dicom import Header
from .find import find_one, find_series, read_volume, search
from .index import Index
from .libraries import LibraryError, broken_library
from .patients import assign_patients, read_patients
from .store import DAMAGED, SeriesRow, Store, StoreError
from .store.keys import hash_text
from .volume import LeftOut, Series, UnusableError, Volume, shown
from .workers import DIED, Workers, each


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT series that has been read.

    volume: its voxels in the project's axes. patient: equal for two scans of one patient; it may be
    a name and is never written anywhere. key: hash of the series, the same in every store.
    source: the file, or the folder that holds several, as it can be written; for a store the key.
    """

    volume: Volume
    patient: str = field(repr=False)
    key: str = ""
    source: str = field(default="", repr=False)


@dataclass(frozen=True)
class UnreadScan:
    """A CT series that has been found. `read` gives its volume.

    key, patient: as of `Scan`. source: likewise, as it can be written (`shown`). origin: the series
    in files, or a store's folder and row.
    """

    key: str
    patient: str = field(repr=False)
    source: str = field(repr=False)
    origin: Series | tuple[Path, SeriesRow]

    @property
    def slices_about(self) -> int:
        """How many slices it has; where only its pixels tell, as many as are usual."""
        if isinstance(self.origin, tuple):
            return self.origin[1].slices
        if self.origin.frames:
            return sum(map(len, self.origin.frames))
        return len(self.origin.files) if self.origin.kind in ("dicom", "png") else 100

    @property
    def counts(self) -> tuple[int, int]:
        """How many files and slices, about, were found of it: others once it has grown."""
        return len(self.origin.files) if isinstance(self.origin, Series) else 1, self.slices_about

    def read(self) -> Scan:
        """Read it.

        Raises:
            UnusableError: the files cannot be taken, with the reason.
            StoreError: the pixels are missing from the store, or damaged.
        """
        return Scan(self._volume(), self.patient, self.key, self.source)

    def _volume(self) -> Volume:
        if isinstance(self.origin, Series):
            return read_volume(self.origin)
        folder, row = self.origin
        hu = Store(folder).read(row.key, digest=row.digest)
        return Volume(hu, row.spacing_mm, row.z_mm, row.warnings)


class Scans:
    """Scans that are read while one iterates; made by `scans_of`.

    Without workers one scan is in memory at a time, and they come in order: by path, in a store by
    key. With workers they come as they are finished. Every iteration reads them anew.

    left_out: what could not be read, and why; complete once an iteration has ended.
    unmatched: lines of the table of patients that fit no file.
    """

    def __init__(
        self,
        unread: Sequence[UnreadScan],
        left_out: Sequence[LeftOut] = (),
        *,
        unmatched: int = 0,
        workers: Workers = 0,
        progress: bool = False,
    ) -> None:
        self.unread = tuple(unread)
        self.left_out = list(left_out)
        self.unmatched = unmatched
        self._not_found = tuple(left_out)
        self._workers = workers
        self._progress = progress

    def __len__(self) -> int:
        """How many were found; some of them may turn out to be unreadable."""
        return len(self.unread)

    def __iter__(self) -> Iterator[Scan]:
        self.left_out = list(self._not_found)
        with closing(
            each(_try_read, self.unread, self._workers, name="read", progress=self._progress)
        ) as results:
            for unread, scan in results:
                if isinstance(scan, Scan):
                    yield scan
                else:
                    self.left_out.append(LeftOut(unread.source, scan or DIED, unread.key))


def scans_of(
    sources: Sequence[str | Path],
    *,
    patients: str | Path | None = None,
    workers: Workers = 0,
    progress: bool = False,
    with_paths: bool = False,
) -> Scans:
    """The scans of one store, or of files and folders of DICOM, NIfTI, NRRD, MetaImage or PNG.

    Folders are searched to any depth. Of a series without a patient the key is its patient.

    Args:
        sources: one store, or any number of files and folders.
        patients: a CSV file with the columns file, patient (`patients.read_patients`).
        workers: processes, or the address of a Dask scheduler; 0 reads in this process.
        progress: show progress bars.
        with_paths: `source` of a series in a store is the path that it was read from, where the
            store still knows it.

    Raises:
        ValueError: sources without a CT series, a store among several sources, a table of patients
            that cannot be read or that is given with a store.
        ConnectionError: no scheduler answers.
    """
    if not any(is_store(source) for source in sources):
        whose = read_patients(Path(patients)) if patients is not None else {}
        found, left_out = find_series(sources, workers=workers, progress=progress)
        if not found:
            names = ", ".join(str(source) for source in sources) or "no source"
            why = left_out[0].reason if left_out else "no files"
            raise UnusableError(f"{names}: no CT series was found ({why})")
        found, unmatched = assign_patients(found, whose)
        return Scans(
            [unread_scan(series) for series in found],
            left_out,
            unmatched=unmatched,
            workers=workers,
            progress=progress,
        )
    if len(sources) > 1:
        raise StoreError("a store is read alone; give one store, or files and folders")
    if patients is not None:
        raise StoreError("a store knows its patients; give patients when you ingest into it")
    unread, left_out = scans_in_store(sources[0], with_paths=with_paths)
    unread = sorted(unread, key=lambda scan: scan.key)
    return Scans(unread, left_out, workers=workers, progress=progress)


def read_scan(source: str | Path) -> Scan:
    """The scan of a file or a folder that holds one series.

    Raises `UnusableError` when the source does not exist, holds none or several, or cannot be read.
    """
    return unread_scan(find_one(source)).read()


def read(source: str | Path) -> Volume:
    """The volume of a file or a folder that holds one series: HU in the patient's axes.

    Raises `UnusableError` as `read_scan`.
    """
    return read_scan(source).volume


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store, of whatever version."""
    return (Path(path) / "store.json").is_file()


def unread_scan(series: Series) -> UnreadScan:
    """A series in files as a scan that can be read."""
    key = Store.key(series)
    return UnreadScan(key, series.patient or key, shown(common_folder(series.files)), series)


def scans_in_files(
    sources: Sequence[str | Path], *, workers: Workers = 0, progress: bool = False
) -> tuple[list[UnreadScan], list[LeftOut]]:
    """The series in files and folders, and what gave none."""
    found, left_out = find_series(sources, workers=workers, progress=progress)
    return [unread_scan(series) for series in found], left_out


class FoundScans:
    """The series in a store, or in files and folders, and what gave none.

    Of files, what a search found lies on disk and is read anew in each iteration: in memory it is
    small, however many files there are.
    """

    def __init__(
        self, unread: Sequence[UnreadScan] | Index, left_out: Sequence[LeftOut] = ()
    ) -> None:
        self._unread, self._left_out = unread, left_out

    def __len__(self) -> int:
        return len(self._unread)

    def __iter__(self) -> Iterator[UnreadScan]:
        if isinstance(self._unread, Index):
            yield from map(unread_scan, self._unread)
        else:
            yield from self._unread

    def left_out(self) -> Iterator[LeftOut]:
        """What gave no scan."""
        yield from self._unread.left_out() if isinstance(self._unread, Index) else self._left_out

    def headers(self, unread: UnreadScan) -> list[Header]:
        """The headers of a DICOM series as the search read them; none of other series."""
        if isinstance(self._unread, Index) and isinstance(unread.origin, Series):
            return list(self._unread.headers(unread.origin.files))
        return []


@contextmanager
def found_scans(
    sources: Sequence[str | Path],
    *,
    workers: Workers = 0,
    with_paths: bool = False,
    progress: bool = False,
    keep: Path | None = None,
) -> Iterator[FoundScans]:
    """The scans of one store, or of files and folders, while this is open.

    Args:
        sources: one store, or any number of files and folders, searched to any depth.
        workers: who reads the headers of files.
        with_paths: of a store, `source` is the path that the series was read from.
        progress: show a progress bar.
        keep: a file that keeps what a search read (`find.search`).

    Raises:
        ValueError: a source does not exist, a store cannot be read or is one of several sources.
    """
    if not any(is_store(source) for source in sources):
        with search(sources, workers=workers, progress=progress, keep=keep) as index:
            yield FoundScans(index)
        return
    if len(sources) > 1:
        raise StoreError(
            "a store is read alone; give several one after the other, or files and folders"
        )
    yield FoundScans(*scans_in_store(sources[0], with_paths=with_paths))


def kept_search(private: Path, sources: Sequence[str | Path]) -> Path:
    """Where the search of these sources is kept, so that a killed one can resume."""
    names = sorted(str(Path(source).absolute()) for source in sources)
    return private / f"search-{hash_text(repr(names))}.sqlite"


def scans_in_store(
    path: str | Path, *, with_paths: bool = False
) -> tuple[list[UnreadScan], list[LeftOut]]:
    """The series of a store, in its catalog's order, and those whose row is damaged.

    with_paths: `source` is the path that the series was read from, where the store still knows it.

    Raises `StoreError` for a store that cannot be read, or holds no series.
    """
    store = Store.open(Path(path).absolute())  # a cluster's workers run in other folders
    files = store.sources() if with_paths else {}

    def source(key: str) -> str:
        return common_folder(files.get(key, ())) or key

    found = [
        UnreadScan(row.key, row.patient, source(row.key), (store.path, row))
        for row in store.usable()
    ]
    return found, [LeftOut(source(key), DAMAGED, key) for key in store.damaged()]


def why_unread(error: Exception) -> str:
    """Why a series could not be read, in one line without path or identity.

    Only the texts of our own errors are known to be free of both.

    Raises `LibraryError` where a library is at fault, and not the series.
    """
    if isinstance(error, LibraryError):
        raise error
    if isinstance(error, ImportError):
        raise broken_library(error.name or "a library", error) from error
    if isinstance(error, UnusableError | StoreError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory to read it"
    return f"could not be read ({type(error).__name__})"


def common_folder(files: Sequence[str]) -> str:
    """The file, or the folder that holds several; "" for none."""
    return os.path.commonpath(files) if files else ""


def _try_read(unread: UnreadScan) -> Scan | str:
    """The scan, or why not: one series must not end the others."""
    try:
        return unread.read()
    except Exception as error:
        return why_unread(error)
