"""A trained detector on scans: every slice looked at, boxes linked, tables and a page in a folder.

However often it is interrupted, the files equal those of an uninterrupted call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from ubr.pretrain.data.gridding import readers, spaced
from ubr.pretrain.data.scans import Scans, UnreadScan, scans_of, why_unread
from ubr.pretrain.data.volume import LeftOut, Series, Volume
from ubr.pretrain.data.workers import DIED, Workers, chosen, each
from ubr.weights.common.checks import check_choice
from ubr.weights.common.claims import claiming
from ubr.weights.common.disk import scratch
from ubr.weights.common.optional import optional
from ubr.weights.common.progress import progress_bar
from ubr.weights.common.working import Working
from ubr.weights.released import check_there

from .coco import COCO, coco_writer
from .keeping import keep, kept_series
from .linking import GAP_MM, MIN_SCORE, OVERLAP
from .page import PAGE, Ranking, write_page
from .tables import LAST, TABLES, Predicted, SeriesFindings, read_table, write_tables

if TYPE_CHECKING:
    from .body import Body
    from .looking import Looker

Which = Literal["best", "last"]


@claiming("out", fills=True)
def predict(
    run: Path,
    sources: Sequence[str | Path],
    out: Path,
    *,
    which: Which = "best",
    min_score: float = MIN_SCORE,
    top: int | None = None,
    every_mm: float | None = None,
    scorer: str | Path | None = None,
    body: str | Path | None = None,
    regions: str | Path | None = None,
    start: str | None = None,
    end: str | None = None,
    workers: int = 1,
    with_paths: bool = False,
    sr: bool = False,
    coco: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Predicted:
    """Look for lesions in every slice of scans, and link boxes across slices into findings.

    Repeat an interrupted call to resume it; finished series are kept.

    Args:
        run: a run folder of `ubr-detect train`.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or
            16-bit PNG series.
        out: a new folder for the tables, or one that the same call began.
        which: "best" (by recall on the validation images) or "last".
        min_score: boxes with a lower score are dropped.
        top: keep at most this many findings per series, by score; by default all.
        every_mm: largest distance in mm between the slices that are looked at; by default all
            are. Lesions that lie between them are missed.
        scorer: for a detector that takes positions, the weights file that gave them in training.
        body: weights that locate a finding's highest-scoring slice in the body: a file that
            `ubr-pretrain fit` wrote, or "released".
        regions: a file that `ubr-pretrain calibrate` wrote for these weights, which names parts;
            released weights come with their own.
        start: with `body`, the level of the body from which slices are looked at: a landmark, a
            part or a number. Of a series that shows only part of the range, that part is looked at.
        end: likewise, the level down to which slices are looked at.
        workers: processes (threads for a store) that read ahead; 0 reads in the calling thread.
        with_paths: also write where each series was read from. Paths may contain a patient's name.
        sr: also write sr/SERIES.dcm, a DICOM Structured Report (extra `dicom`), for each DICOM
            series with findings. It names the patient, as DICOM requires.
        coco: also write boxes.json in COCO's format.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show a progress bar.

    Raises:
        ValueError: there is no run, a package is not installed, an option is out of range, the
            scorer is missing or not the one of the training, sources hold no usable series, or
            `out` holds something else or was begun with other options.
    """
    check_choice("which", which, Which)
    staff = chosen(workers, None, default=1, least=0)
    _check_options(min_score, top, every_mm, sr)
    check_there(run, *map(Path, sources), scorer, body, regions)
    with readers(sources, staff) as staff:
        axis = _body(body, regions, start, end, device)
        looker, settings = _opened(Path(run), which, scorer, device)
        looker = replace(looker, body=axis)
        settings |= axis.settings if axis else {}
        settings |= {"min_score": min_score, "top": top, "every_mm": every_mm}
        settings |= {"with_paths": with_paths, "sr": sr, "coco": coco}
        working = Working(Path(out), settings, LAST)
        scans = scans_of(sources, workers=staff, progress=progress, with_paths=with_paths)
        return _predict(looker, scans, working, staff, progress)


def _predict(
    looker: Looker, scans: Scans, working: Working, staff: Workers, progress: bool
) -> Predicted:
    """Look at what was not looked at yet, and write the tables once all of it is."""
    jobs, left_out = {job.key: job for job in scans.unread}, scans.left_out
    damaged = {one.key for one in left_out if one.key}
    counts = {**dict.fromkeys(damaged, ()), **{key: job.counts for key, job in jobs.items()}}
    already = working.already(counts, lambda: _listed(working.folder)) - damaged
    predicted = Predicted(working.folder, len(already & jobs.keys()))
    if working.finished:
        working.tidy()
        return predicted
    todo = [job for key, job in jobs.items() if key not in already]
    left_out += _add_all(looker, todo, working, staff, progress)
    done = sorted(jobs.keys() - {one.key for one in left_out})
    if not done:
        raise ValueError(f"none of the {len(left_out)} sources could be read: {left_out[0].reason}")
    working.begin()
    with scratch(working.path, "tables") as made:
        more: list[str] = []
        found: Iterator[SeriesFindings]
        found = (_with_report(made, more, working, jobs[key], looker.body) for key in done)
        if working.settings["coco"]:
            more.append(COCO)
            found = _with_coco(made / COCO, found)
        ranking = Ranking()
        names = looker.body.names if looker.body else ()
        write_tables(made, ranking.over(found), left_out, working.settings, names)
        shown = (kept_series(working, jobs[key], looker.body) for key in ranking.shown())
        write_page(made / PAGE, shown, ranking, len(left_out), working.settings)
        working.finish(made, [*more, PAGE, *TABLES])
    return predicted


def _body(
    weights: str | Path | None,
    regions: str | Path | None,
    start: str | None,
    end: str | None,
    device: str,
) -> Body | None:
    """What tells where in the body slices lie, if it is asked for."""
    if weights:
        from .body import open_body

        return open_body(weights, regions, device, start, end)
    if given := [one for one in (regions, start, end) if one is not None]:
        raise ValueError(
            f"{given[0]} needs weights that locate slices in the body; give them as `body`"
        )
    return None


def _check_options(min_score: float, top: int | None, every_mm: float | None, sr: bool) -> None:
    if not 0 <= min_score < 1:
        raise ValueError(f"min_score must be at least 0 and below 1, got {min_score:g}")
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    if every_mm is not None and not 0 < every_mm < math.inf:
        raise ValueError(f"every_mm must be above 0, got {every_mm:g}")
    if sr:
        optional("highdicom", extra="dicom", purpose="sr")


def _opened(
    run: Path, which: Which, scorer: str | Path | None, device: str
) -> tuple[Looker, dict[str, object]]:
    """The detector, and what makes it this one and no other."""
    from ubr.weights.artifact import tensors_sha256
    from ubr.weights.common.devices import to_device

    from ..evaluation import load_detector, scorer_of
    from ..positions import slice_position
    from .looking import Looker

    detector, recipe, inputs = load_detector(run, which)
    weights = scorer_of(run, scorer)
    position = slice_position(weights) if weights else None
    settings: dict[str, object] = {
        "detector_sha256": tensors_sha256(detector.state_dict()),
        "recipe_sha256": recipe.sha256(),
        "scorer_sha256": weights.sha256() if weights else None,
        "overlap": OVERLAP,
        "gap_mm": GAP_MM,
    }
    to_device(detector, device)
    return Looker(detector, inputs, recipe.view, position), settings


def _listed(folder: Path) -> set[str]:
    """The series in the tables."""
    tables = (read_table(folder, name) for name in ("series.csv", "left_out.csv"))
    return {row["series"] for table in tables for row in table}


def _read(unread: UnreadScan) -> Volume | str:
    """The volume, or why not: one series must not end the others."""
    try:
        return unread.read().volume
    except Exception as error:
        return why_unread(error)


def _add_all(
    looker: Looker, todo: Sequence[UnreadScan], working: Working, staff: Workers, progress: bool
) -> list[LeftOut]:
    """Look at series and keep what is found. Returns those that cannot be read."""
    left_out = []
    every_mm = cast(float | None, working.settings["every_mm"])
    # Decompressing a store leaves the interpreter. Decoding files does not, and may crash.
    stored = bool(todo) and isinstance(todo[0].origin, tuple)
    results = each(_read, todo, staff, name="predict", progress=False, threads=stored)
    about = sum(job.slices_about for job in todo)
    with (
        closing(results),
        progress_bar(total=about, title="predict", unit="slices", show=progress) as bar,
    ):
        for job, volume in results:
            if not isinstance(volume, Volume):
                left_out.append(LeftOut(job.source, volume or DIED, job.key))
                bar.total -= job.slices_about
                continue
            scores = looker.body.scores(volume) if looker.body else None
            shown = np.arange(len(volume.z_mm))
            if looker.body and scores is not None:
                shown = looker.body.within(scores, volume.z_mm)
            slices = shown[spaced(volume.z_mm[shown], every_mm)] if len(shown) else shown
            bar.total += len(slices) - job.slices_about
            more = {"counts": np.array(job.counts)}
            more |= {} if scores is None else {"body_scores": scores}
            keep(working, job.key, volume, slices.tolist(), looker, bar, more)
    return left_out


def _with_coco(path: Path, series: Iterator[SeriesFindings]) -> Iterator[SeriesFindings]:
    """The same series; each is also written in COCO's format."""
    with coco_writer(path) as add:
        for one in series:
            add(one)
            yield one


def _with_report(
    made: Path, reports: list[str], working: Working, job: UnreadScan, body: Body | None
) -> SeriesFindings:
    """What was kept of a series; its report is written, and its path below `made` added."""
    found = kept_series(working, job, body)
    if not working.settings["sr"] or not found.findings:
        return found
    if not isinstance(job.origin, Series) or job.origin.kind != "dicom":
        return replace(found, report="no DICOM")
    from .dicom import findings_report

    name = f"sr/{job.key}.dcm"
    try:
        report = findings_report(job.origin, found, working.settings)
    except ValueError as error:
        return replace(found, report=str(error))
    (made / "sr").mkdir(exist_ok=True)
    report.save_as(made / name, enforce_file_format=True)
    reports.append(name)
    return replace(found, report=name)
