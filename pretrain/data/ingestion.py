"""From folders of scans to a store: found, read in parallel, written once.

One process takes a series from file to finished row. So nothing large travels between processes,
and a series that kills its process (memory is limited) costs that series only. A series already in
the store is skipped, one left out earlier is tried again. So the same command resumes an ingest,
however it was stopped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ubr.weights.body import body_boxes
from ubr.weights.common.claims import claim_folder
from ubr.weights.common.pool import cores

from .digests import files_digest
from .find import find_series, read_volume, silence
from .patients import assign_patients, read_patients
from .scans import is_store, why_unread
from .store import LEFT_OUT, SeriesRow, Store, StoreError
from .volume import LeftOut, Series, UnusableError, reasons, shown
from .workers import DIED, Workers, chosen, each


@dataclass(frozen=True)
class Ingested:
    """What an ingest did.

    store: where the series are (in a dry run, where they would be).
    taken: rows of the series this run added.
    before: rows of those among the sources that were there already.
    left_out: everything else that was found.
    unmatched: lines of the patients' list that fit no file.
    would_take: in a dry run, the series found.
    """

    store: Path
    taken: tuple[SeriesRow, ...] = ()
    before: tuple[SeriesRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unmatched: int = 0
    would_take: tuple[Series, ...] = ()

    @property
    def already(self) -> int:
        """How many of the sources' series were there already."""
        return len(self.before)

    def warnings(self) -> dict[str, int]:
        """How many series of the sources have each warning, those that were there included."""
        rows = (*self.taken, *self.before)
        codes = Counter(code for row in rows for code in {w.split(":")[0] for w in row.warnings})
        return dict(sorted(codes.items()))

    def table(self, with_paths: bool = False) -> str:
        """The summary of an ingest: counts, and each reason with how often.

        with_paths: also paths, which may hold a name.
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
        if self.already:
            lines.append(f"already there  {self.already:6,} series")
        lines += [f"  with warning {count:6,} {code}" for code, count in self.warnings().items()]
        if self.unmatched:
            lines.append(
                f"patients       {self.unmatched:6,} lines of the list of patients fit none of "
                "the files"
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
    """Take every CT series under `sources` into a store, which is made if it is not there.

    Args:
        sources: files and folders, searched to any depth.
        store: the store's folder.
        workers: processes; default one per core.
        scheduler: address of a Dask scheduler (tcp://HOST:8786) whose workers read and write
            instead; they must see sources and store under the same paths.
        patients: a CSV file with the columns file, patient: whose file it is, where the format does
            not say or says otherwise. `file` is the end of the path of a file or of a folder
            (`torso/a.nii.gz`); the longest one that fits counts.
        min_slices: series with fewer are left out.
        dry: find, but neither read pixels nor write anything.

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
            f"{stores[0]} is a store, or in one: it is read by fit and score as it is; give the "
            "scans to ingest"
        )
    if is_store(target):
        Store.open(target)  # refuse a store that cannot be used before the search, not after it
    with nullcontext() if dry else claim_folder(target):
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
    found, left_out = find_series(folders, workers=0 if staff == 1 else staff, progress=True)
    in_files, (found, unmatched) = found, assign_patients(found, whose)
    # The store may lie among its sources; its own files are no scans.
    left_out = [out for out in left_out if not Path(out.path).is_relative_to(target.absolute())]
    if dry:
        return Ingested(
            target, left_out=tuple(left_out), unmatched=unmatched, would_take=tuple(found)
        )
    if not found and not is_store(target):
        reasons_ = Counter(out.reason for out in left_out).most_common(1)
        most = f" (most often: {reasons_[0][0]})" if reasons_ else ""
        raise UnusableError(
            f"{', '.join(map(str, folders))} holds no CT series, so no store was made; "
            f"{len(left_out)} were left out{most}; give files or folders with CT"
        )
    filled = Store.create(target.absolute())
    by_table = {s.uid for s, own in zip(found, in_files, strict=True) if s.patient != own.patient}
    known = {row.key: row.patient for row in filled.rows()}
    found = [s if s.uid in by_table else _unlike_stored(filled, known, s) for s in found]
    return replace(_fill(filled, folders, found, left_out, staff, min_slices), unmatched=unmatched)


def _unlike_stored(store: Store, known: Mapping[str, str], series: Series) -> Series:
    """The series, under a key of its content where the store has its UID as another patient's.

    known: the patient of each key.
    """
    key = store.key(series)
    if not series.patient or known.get(key, key) in (key, store.patient(series)):
        return series
    return replace(
        series,
        uid="content-" + files_digest(series.files),
        warnings=(*series.warnings, "mixed: another patient in the store has this series' UID"),
    )


def _in_store(path: Path) -> bool:
    """Whether a path is a store, or lies in one."""
    path = path.absolute()
    return any(is_store(folder) for folder in (path, *path.parents))


def _fill(
    store: Store,
    sources: Sequence[Path],
    found: Sequence[Series],
    left_out: Sequence[LeftOut],
    workers: Workers,
    min_slices: int,
) -> Ingested:
    store.clean()
    path_keys = {store.path_key(out.path): out for out in left_out}
    store.note_sources(
        [(store.key(s), s.files) for s in found]
        + [(key, (out.path,)) for key, out in path_keys.items()]
    )
    for key, out in path_keys.items():
        store.leave_out(key, "", out.reason)
    already = [s for s in found if store.has(store.key(s))]
    store.name_patients(already)
    done = {store.key(s) for s in already}
    todo = {store.key(s): s for s in found if store.key(s) not in done}
    try:
        with closing(
            each(partial(_take, store, min_slices), list(todo.values()), workers, name="ingest")
        ) as results:
            for series, finished in results:
                if not finished:
                    store.leave_out(store.key(series), series.kind, DIED)
        store.forget_left_out(sources, todo.keys() | path_keys.keys())
    finally:
        store.clean()
        table = store.rebuild()
    why = {
        r["key"]: r["reason"]
        for r in table.select(["key", "status", "reason"]).to_pylist()
        if r["status"] == LEFT_OUT
    }
    rejected = [
        LeftOut(min(s.files), why[store.key(s)], store.key(s)) for s in found if store.key(s) in why
    ]
    rows = store.rows()
    return Ingested(
        store.path,
        taken=tuple(row for row in rows if row.key in todo),
        before=tuple(row for row in rows if row.key in done),
        left_out=(*left_out, *rejected),
    )


def _take(store: Store, min_slices: int, series: Series) -> bool:
    """From file to finished row, or to a row that says why not."""
    key = store.key(series)
    try:
        with silence():
            volume = read_volume(series)
        if len(volume.hu) < min_slices:
            raise UnusableError(f"{len(volume.hu)} slices, fewer than the {min_slices} asked for")
        boxes = body_boxes(volume.hu, volume.spacing_mm)
    except Exception as error:
        store.leave_out(key, series.kind, why_unread(error))
    else:
        store.add(series, volume, boxes)
    return True
