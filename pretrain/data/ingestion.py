"""From folders of scans to a store: found, read in parallel, written once.

One process takes a series from file to finished row. So nothing large travels between processes,
and if a series kills its process (memory is limited), only that series is lost. A series already
in the store is skipped, unless it has more files now or some could not be read; one left out
earlier is tried again. So the same command resumes an ingest, however it was stopped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ...weights.body import body_boxes
from ...weights.common.claims import claim_folder
from ...weights.common.disk import make_folder
from ...weights.common.notes import note
from ...weights.common.pool import cores
from .find import read_volume, search
from .index import remove
from .patients import Named, assign_patients, read_patients
from .scans import is_store, kept_search, why_unread
from .store import DAMAGED, LEFT_OUT, SeriesRow, Store, StoreError
from .store.made import check_utf_8, holds_other_things
from .volume import LeftOut, Series, UnusableError, reasons, shown
from .workers import DIED, Held, Workers, chosen, each, held

LACKS = (
    "its files lack slices that the store has of it, so it stays as it was taken; to replace it, "
    "delete its row in series/ and ingest all its files at once"
)
NOTED = 200_000
"""Files that one table of sources names, and a few more: a series is not split."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest did.

    store: where the series are (in a dry run, where they would be).
    taken: rows of the series this run added.
    before: rows of those among the sources that were there already.
    left_out: everything else that was found.
    unmatched: lines of the list of patients that match no file.
    would_take: in a dry run, the series found.
    replaced: how many of those taken were there already, with other slices.
    """

    store: Path
    taken: tuple[SeriesRow, ...] = ()
    before: tuple[SeriesRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unmatched: int = 0
    would_take: tuple[Series, ...] = ()
    replaced: int = 0

    @property
    def already(self) -> int:
        """How many of the sources' series were there already."""
        return len(self.before)

    def warnings(self) -> dict[str, int]:
        """How many series of the sources have each warning, including those already there."""
        rows = (*self.taken, *self.before)
        codes = Counter(code for row in rows for code in {w.split(":")[0] for w in row.warnings})
        return dict(sorted(codes.items()))

    def table(self, with_paths: bool = False) -> str:
        """The summary of an ingest: counts, and how often each reason occurred.

        with_paths: also paths, which may contain a patient's name.
        """
        lines = [
            f"taken          {len(self.taken):6,} series, {sum(r.slices for r in self.taken):,} "
            "slices"
        ]
        if self.would_take:
            lines = [f"would take     {len(self.would_take):6,} series"]
            names = [
                shown(min(s.files)) if with_paths else f"series {Store.key(s)}"
                for s in self.would_take
            ]
            lines += [
                f"{'':15}{len(s.files):6,} file{'s' * (len(s.files) != 1):1}  {s.kind:6} {name}"
                for s, name in zip(self.would_take, names, strict=True)
            ]
        if self.replaced:
            lines.append(
                f"  replacing    {self.replaced:6,} taken earlier, when files were missing"
            )
        if self.already:
            lines.append(f"already there  {self.already:6,} series")
        lines += [f"  with warning {count:6,} {code}" for code, count in self.warnings().items()]
        if self.unmatched:
            lines.append(
                f"patients       {self.unmatched:6,} lines of the list of patients match no file"
            )
        return "\n".join(
            [
                *lines,
                f"left out       {len(self.left_out):6,}",
                *reasons(self.left_out, 15, with_paths),
            ]
        )


def ingest(
    sources: Sequence[str | os.PathLike[str]],
    store: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    patients: Path | None = None,
    min_slices: int = 1,
    dry: bool = False,
) -> Ingested:
    """Ingest every CT series under `sources` into a store, which is created if missing.

    Args:
        sources: files and folders, searched to any depth.
        store: the store's folder.
        workers: processes; one per core by default.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and write
            instead; they must see sources and store under the same paths.
        patients: a CSV file with the columns file, patient: the patient of each file,
            overriding the file itself. `file` is the end of the path of a file or of a folder
            (`torso/a.nii.gz`); the longest match counts.
        min_slices: series with fewer are left out.
        dry: find series, but neither read pixels nor write anything.

    Raises:
        ValueError: an option out of range, or a list of patients that cannot be read.
        ConnectionError: no scheduler answers.
        UnusableError: there is no series and no store yet.
        StoreError: the store cannot be opened, or is a source.
        Claimed: another process is writing the store.
    """
    staff = chosen(workers, scheduler, default=cores(), least=1)
    if min_slices < 1:
        raise ValueError(f"min_slices must be at least 1, got {min_slices}")
    folders, target = [Path(s).expanduser() for s in sources], Path(store)
    whose = read_patients(patients) if patients is not None else {}
    if stores := [folder for folder in folders if _in_store(folder)]:
        raise StoreError(
            f"{stores[0]} is a store, or inside one; fit and score read it directly; give the "
            "scans to ingest"
        )
    check_utf_8(target.absolute())
    if is_store(target):
        Store.open(target)  # refuse a store that cannot be used before the search, not after it
    with nullcontext() if dry else claim_folder(target), held(staff) as staff:
        return _ingest(folders, target, whose, staff, min_slices, dry)


def _ingest(
    folders: Sequence[Path],
    target: Path,
    whose: Mapping[str, str],
    staff: Workers,
    min_slices: int,
    dry: bool,
) -> Ingested:
    """Find the series, and take them into the store that this process has claimed."""
    alone = isinstance(staff, Held) and staff.count == 1
    with (
        _kept_search(folders, target, dry) as keep,
        search(folders, workers=0 if alone else staff, progress=True, keep=keep) as found,
    ):
        # The store may lie among its sources; its own files are no scans.
        inside = target.absolute()
        left_out = [o for o in found.left_out() if not Path(o.path).is_relative_to(inside)]
        if dry:
            would_take, unmatched = assign_patients(found, whose)
            return Ingested(target, (), (), tuple(left_out), unmatched, tuple(would_take))
        if found or is_store(target):
            named = Named(found, whose, Store.create(inside))
            return _fill(named, folders, left_out, staff, min_slices)
    most = Counter(out.reason for out in left_out).most_common(1)
    often = f" (most often: {most[0][0]})" if most else ""
    raise UnusableError(
        f"{', '.join(map(str, folders))} holds no CT series, so no store was made; "
        f"{len(left_out)} were left out{often}; give files or folders with CT"
    )


@contextmanager
def _kept_search(sources: Sequence[Path], store: Path, dry: bool) -> Iterator[Path | None]:
    """Where the search for these sources is kept until the block ends; it stays if that raises.

    None where nothing is to be written, or the store's folder is something else.
    """
    if dry or not (is_store(store) or (store.is_dir() and not holds_other_things(store))):
        yield None
        return
    private = store.absolute() / "private"
    is_new = not private.exists()
    make_folder(private, 0o700)
    kept = kept_search(private, sources)
    try:
        yield kept
        remove(kept)
    finally:
        if is_new and not is_store(store):
            with suppress(OSError):  # it holds what was read
                private.rmdir()


def _in_store(path: Path) -> bool:
    """Whether a path is a store, or lies in one."""
    path = path.absolute()
    return any(is_store(folder) for folder in (path, *path.parents))


def _fill(
    found: Named,
    sources: Sequence[Path],
    left_out: Sequence[LeftOut],
    workers: Workers,
    min_slices: int,
) -> Ingested:
    store = found.store
    store.clean()
    keys, there, behind = _state(found)
    left_out = (*left_out, *found.left_out)
    path_keys = {store.path_key(out.path): out for out in left_out}
    _note_sources(
        store,
        chain(
            ((store.key(s), s.files) for s in found),
            ((key, (out.path,)) for key, out in path_keys.items()),
        ),
    )
    for key, out in path_keys.items():
        store.leave_out(key, "", out.reason)
    todo = keys - there | behind
    digests = {row.key: row.digest for row in store.rows() if row.key in behind}
    store.name_patients(s for s in found if store.key(s) in there)
    try:
        task = partial(_take, store, min_slices)
        with closing(each(task, _WithKeys(found, todo), workers, name="ingest")) as results:
            for series, finished in results:
                if not finished:
                    store.leave_out(store.key(series), series.kind, DIED)
        store.forget_left_out(sources, todo | path_keys.keys())
    finally:
        store.clean()
        table = store.rebuild()
    why = {
        r["key"]: r["reason"]
        for r in table.select(["key", "status", "reason"]).to_pylist()
        if r["status"] == LEFT_OUT
    }
    why |= {key: reason for key in behind if (reason := store.why_not_anew(key))}
    if damaged := len(store.damaged()):
        note(f"{damaged} series of {store.path} cannot be used: {DAMAGED}")
    rejected = [
        LeftOut(min(s.files), why[store.key(s)], store.key(s))
        for s in _WithKeys(found, keys & why.keys())
    ]
    rows = [row for row in store.rows() if row.key in keys]
    new = {row.key for row in rows if row.key in todo and digests.get(row.key) != row.digest}
    return Ingested(
        store.path,
        taken=tuple(row for row in rows if row.key in new),
        before=tuple(row for row in rows if row.key not in new),
        left_out=(*left_out, *rejected),
        unmatched=found.unmatched,
        replaced=len(new & behind),
    )


def _state(found: Named) -> tuple[set[str], set[str], set[str]]:
    """The keys of all series; of those in the store; and, of these, of those to be taken anew."""
    keys, there, behind = set(), set(), set()
    for series in found:
        keys.add(key := found.store.key(series))
        if found.store.has(key):
            there.add(key)
            if found.store.is_behind(series):
                behind.add(key)
    return keys, there, behind


def _note_sources(store: Store, sources: Iterator[tuple[str, tuple[str, ...]]]) -> None:
    """Note which files each key came from, in tables of a size that fits in memory."""
    table: list[tuple[str, tuple[str, ...]]] = []
    files = 0
    for source in sources:
        table.append(source)
        files += len(source[1])
        if files >= NOTED:
            store.note_sources(table)
            table, files = [], 0
    if table:
        store.note_sources(table)


@dataclass(frozen=True)
class _WithKeys:
    """The series with these keys, each once."""

    found: Named
    keys: Set[str]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Series]:
        waiting = set(self.keys)
        for series in self.found:
            if (key := self.found.store.key(series)) in waiting:
                waiting.remove(key)
                yield series


def _take(store: Store, min_slices: int, series: Series) -> bool:
    """From file to finished row, or to a row that says why not."""
    key = store.key(series)
    try:
        volume = read_volume(series)
        if len(volume.hu) < min_slices:
            raise UnusableError(f"{len(volume.hu)} slices, fewer than the {min_slices} asked for")
        if store.has_more(key, volume):
            raise UnusableError(LACKS)
        boxes = body_boxes(volume.hu, volume.spacing_mm)
    except Exception as error:
        store.leave_out(key, series.kind, why_unread(error))
    else:
        store.add(series, volume, boxes)
    return True
