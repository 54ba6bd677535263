"""Scores: weights x volumes -> one number a slice, and what each volume's curve says of it.

SCORES/slices.parquet has a row a slice (series, index, z_mm, score), SCORES/series.csv a row a series (slices, extent, Pearson r, ordered
pairs, slope, first and last score, findings, warnings), SCORES/findings.csv a row a finding (series, kind, first and last slice,
confidence, reason). Series are named by the same hashed keys as in a store; nothing identifies a patient.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ubr.weights import InputSpec, Regressor, Weights, load
from ubr.weights.body import body_boxes
from ubr.weights.devices import to_device

from .data.bank import to_grid
from .data.find import find, read
from .data.store import SeriesRow, Store, StoreError
from .data.volume import LeftOut, Series, UnusableError
from .data.workers import DIED, cores, each
from .reading.curve import ordered_share, pearson_r
from .reading.faults import KINDS, PAPER_R, Facts, Finding, facts, findings, reference_of

BATCH = 64
"""Slices a forward pass: large enough to fill a GPU at 128 pixels, small enough for a laptop."""


@dataclass(frozen=True)
class SeriesScores:
    """Scores of one series.

    key: its hash. scores, z_mm: a number a slice, superior to inferior. warnings: of its volume. source: where it was read from; for
    the caller only, it is never written out. findings: what is wrong with it, judged beside the series that were scored with it.
    """

    key: str
    scores: NDArray[np.float32]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]
    source: str
    findings: tuple[Finding, ...] = ()

    @cached_property
    def facts(self) -> Facts:
        return facts(self.scores, self.z_mm)

    def summary(self) -> dict[str, object]:
        """The row of series.csv."""
        extent = float(self.z_mm[-1])
        slope = float(np.polyfit(self.z_mm, self.scores, 1)[0]) if len(self.scores) > 1 else math.nan
        about = self.facts
        return {
            "series": self.key,
            "slices": len(self.scores),
            "extent_mm": round(extent, 3),
            "pearson_r": round(pearson_r(self.scores, self.z_mm), 5),
            "ordered": round(ordered_share(self.scores), 5),
            "score_per_mm": round(slope, 6),
            "first_score": round(float(self.scores[0]), 4),
            "last_score": round(float(self.scores[-1]), 4),
            "robust_slope": round(about.robust_slope, 6),
            "range": f"{about.first_score:.2f} to {about.last_score:.2f}",
            "direction": about.direction,
            "paper_rule": about.paper_rule,
            "findings": "; ".join(dict.fromkeys(f.kind for f in self.findings)),
            "warnings": "; ".join(self.warnings),
        }


@dataclass(frozen=True)
class Scored:
    """What `score` wrote. folder: with slices.parquet and series.csv; series: the scores; left_out: what gave none, and why."""

    folder: Path
    series: tuple[SeriesScores, ...]
    left_out: tuple[LeftOut, ...]

    def table(self) -> str:
        """The end of a scoring as text: counts, typical quality, the least straight curves, and what was left out and why."""
        rows = sorted((s.summary() for s in self.series), key=lambda row: _least_first(row["pearson_r"]))
        slices = sum(len(s.scores) for s in self.series)
        defined = [r for r in (float(row["pearson_r"]) for row in rows) if not math.isnan(r)]  # type: ignore[arg-type]
        median = np.median(defined) if defined else math.nan
        lines = [f"scored    {len(rows):6,} series, {slices:,} slices; median r {median:.4f}; in {self.folder}"]
        lines += [f"{'':10}r {row['pearson_r']:.4f}  series {row['series']}, {row['slices']} slices" for row in rows[:5]]
        counts = {kind: sum(any(f.kind == kind for f in s.findings) for s in self.series) for kind in KINDS}
        told = ", ".join(f"{kind} {count}" for kind, count in counts.items() if count) or "none"
        suspect = sum(s.facts.paper_rule for s in self.series)
        lines += [f"findings  {sum(bool(s.findings) for s in self.series):6,} series: {told}; r below {PAPER_R}: {suspect}"]
        lines += [f"left out  {len(self.left_out):6,}"] + [f"{'':10}{out.path}: {out.reason}" for out in self.left_out]
        return "\n".join(lines)


def _least_first(r: object) -> float:
    return -2.0 if math.isnan(float(r)) else float(r)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Slices:
    key: str
    grid: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    warnings: tuple[str, ...]


def score(
    weights: str | Path | Weights,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Scored:
    """Score every slice of a store or of scans.

    Args:
        weights: a file that `fit` wrote.
        sources: one store, or any number of files and folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series.
        out: a new folder for slices.parquet, series.csv and findings.csv.
        workers: processes that read and resample; all but one core by default, 0 reads in this process.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show a progress bar.

    Raises:
        ValueError: no weights file, one without a head, an output folder that is not empty, or sources without a usable series.
    """
    weights = weights if isinstance(weights, Weights) else load(weights)
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{out} is not empty, or a file; give a new --out")
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    if len(sources) > 1 and any(is_store(source) for source in sources):
        raise ValueError("a store is scored alone; score several one after the other, or give scans")
    workers = max(1, cores() - 1) if workers is None else workers
    regressor = Regressor.from_weights(weights).eval().to(memory_format=torch.channels_last)
    to_device(regressor, device)
    left_out: list[LeftOut] = []
    work = _from_store(sources[0]) if len(sources) == 1 and is_store(sources[0]) else _from_scans(sources, workers, progress, left_out)
    done = []
    with closing(each(partial(_slices, weights.inputs), work, workers, name="score", progress=progress)) as results:
        for (name, _), slices in results:
            if isinstance(slices, _Slices):
                scores = scores_of(regressor, torch.from_numpy(slices.grid))
                done.append(SeriesScores(slices.key, scores, slices.z_mm, slices.warnings, name))
            else:
                left_out.append(LeftOut(name, slices or DIED))
    if not done:
        reason = f": {left_out[0].reason}" if left_out else ""
        raise ValueError(f"none of the {len(left_out)} sources could be scored{reason}")
    done.sort(key=lambda s: s.key)  # not by when a process was ready
    reference = reference_of([(s.scores, s.z_mm) for s in done])
    done = [replace(s, findings=findings(s.scores, s.z_mm, reference=reference)) for s in done]
    _write(folder, done, weights)
    return Scored(folder, tuple(done), tuple(left_out))


@torch.inference_mode()
def scores_of(regressor: Regressor, grid: Tensor) -> NDArray[np.float32]:
    """Scores of slices on the contract's grid, `[n, S, S]` int16 HU -> `[n]`."""
    device = next(regressor.parameters()).device
    parts = [regressor.score(part.to(device, non_blocking=True)) for part in torch.split(grid, BATCH)]
    return torch.cat(parts).cpu().numpy()


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store, of whatever version."""
    return (Path(path) / "store.json").is_file()


_Job = tuple[str, "tuple[Path, SeriesRow] | Series"]


def _from_store(path: str | Path) -> list[_Job]:
    store = Store.open(path)
    return [(row.key, (store.path, row)) for row in store.usable()]


def _from_scans(sources: Sequence[str | Path], workers: int, progress: bool, left_out: list[LeftOut]) -> list[_Job]:
    found, bad = find(sources, workers=workers, progress=progress)
    left_out.extend(bad)
    return [(os.path.commonpath(s.files) if len(s.files) > 1 else s.files[0], s) for s in found]


def _slices(inputs: InputSpec, job: _Job) -> _Slices | str:
    """A series on the contract's grid, or the reason why not."""
    what = job[1]
    try:
        if isinstance(what, Series):
            volume = read(what)
            boxes = body_boxes(volume.hu, volume.spacing_mm)
            grid = inputs.to_grid(torch.from_numpy(volume.hu), volume.spacing_mm[1:], boxes)
            return _Slices(Store.key(what), grid.numpy(), volume.z_mm, volume.warnings)
        path, row = what
        return _Slices(row.key, to_grid(Store.open(path), row, inputs).numpy(), row.z_mm, row.warnings)
    except (UnusableError, StoreError) as error:
        return str(error)
    except MemoryError:
        return "not enough memory to read it"
    except Exception as error:  # one series must not end the others
        return f"could not be read ({type(error).__name__})"


def _write(folder: Path, done: Sequence[SeriesScores], weights: Weights) -> None:
    """Write the tables under a temporary folder's name and rename it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = folder.absolute()  # "." has no name to make another from
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    lengths = [len(s.scores) for s in done]
    table = pa.table(
        {
            "series": pa.array(np.repeat([s.key for s in done], lengths)),
            "index": pa.array(np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)),
            "z_mm": pa.array(np.concatenate([s.z_mm for s in done])),
            "score": pa.array(np.concatenate([s.scores for s in done])),
        },
        metadata={"ubr": json.dumps({"weights_sha256": weights.sha256()})},
    )
    pq.write_table(table, part / "slices.parquet")
    _write_csv(part / "series.csv", [s.summary() for s in done], list(done[0].summary()))
    found = [{"series": s.key, **asdict(f)} for s in done for f in s.findings]
    _write_csv(part / "findings.csv", found, ["series", *(f.name for f in fields(Finding))])
    if folder.exists():
        folder.rmdir()
    part.replace(folder)


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
