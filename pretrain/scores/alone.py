"""Scoring inside other programs, without torch: what the distribution ubr-score offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...weights.common.claims import claiming
from ...weights.common.execution import LightRuntime
from ...weights.exported import Exported
from ...weights.network import interpolated, score_series
from ...weights.released import NEWEST
from ...weights.scorable import opened, prepared
from ..data.find import find_one, read_volume, silence
from ..data.gridding import of_volume, readers
from ..data.scans import found_scans, is_store
from ..data.volume import Volume
from ..data.workers import chosen
from ..reading.chosen import chosen_regions
from ..reading.intervals import chosen_coverage
from ..reading.reference import reference_of
from ..reading.regions import Regions
from .scored import Scored
from .scoring import score_found
from .series import SeriesScores
from .slices import Columns
from .write import TableOptions, judged, landmarks_of, series_row, slice_rows

if TYPE_CHECKING:
    from ...weights import Weights


@claiming("out", fills=True)
def score(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    weights: str | Path | Weights | Exported = NEWEST,
    regions: str | Path | Regions | None = None,
    coverage: float | None = None,
    every_mm: float | None = None,
    workers: int = 0,
    with_paths: bool = False,
    runtime: LightRuntime = "auto",
    progress: bool = True,
) -> Scored:
    """Score every slice of scans. Repeat an interrupted call to resume it.

    It writes the tables of `ubr-pretrain score`, and slices.csv in place of slices.parquet.

    Args:
        sources: any number of files and folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series.
        out: a new folder for the tables, or one that the same call began.
        weights: an .onnx that `ubr-pretrain export --to onnx` made; by default those of the
            package.
        regions: a file that `ubr-pretrain calibrate` wrote for these weights: adds body parts,
            positions, and landmarks.csv. Released weights come with their own.
        coverage: with regions, the probability with which a landmark's interval contains it; 0.9 by
            default.
        every_mm: largest distance in mm between scored slices; the scores of those between are
            interpolated and marked. Geometry and missing slices are still taken from all headers.
        workers: number of processes that read. 0 reads in this process, which starts sooner and
            suits a few series; for many, give one for each core.
        with_paths: also write which file or folder each series was read from. Paths may hold a
            name.
        runtime: what computes the scores: "openvino" or "onnx". "auto" takes OpenVINO where it is
            installed (extra `fast`). A resumed scoring keeps its runtime.
        progress: show a progress bar.

    Raises:
        ValueError: no exported weights, or some without their contract; an output folder that
            holds something else or was begun with other options; an option out of range; sources
            without a usable series, or a store; regions of other weights.
    """
    if any(map(is_store, sources)):
        raise ValueError("a store is scored by ubr-pretrain score; give scans")
    find = partial(found_scans, sources, with_paths=with_paths, progress=progress)
    with readers(sources, chosen(workers, None, default=0, least=0)) as staff:
        return score_found(
            weights,
            find,
            out,
            staff=staff,
            regions=regions,
            coverage=coverage,
            every_mm=every_mm,
            with_paths=with_paths,
            runtime=runtime,
            progress=progress,
            plain=True,
        )


@dataclass(frozen=True)
class Reading:
    """What the scores of one series say, without any tables.

    series: scores, z_mm and position_mm of each slice, findings, warnings. slices: columns of the
    table of slices, among them `part` with regions. summary: the row of series.csv, with `parts`.
    landmarks: the rows of landmarks.csv; none without regions.
    """

    series: SeriesScores
    slices: Columns
    summary: dict[str, Any]
    landmarks: list[dict[str, Any]]


class Scorer:
    """Weights that are ready to score one series after the other, in the calling thread.

    Args:
        weights, regions, coverage, runtime: as in `score`.

    Raises:
        ValueError: as `score`.
    """

    def __init__(
        self,
        weights: str | Path | Weights | Exported = NEWEST,
        *,
        regions: str | Path | Regions | None = None,
        coverage: float | None = None,
        runtime: LightRuntime = "auto",
    ) -> None:
        weights = opened(weights)
        regions = chosen_regions(regions, weights)
        self.inputs = weights.inputs
        self.options = TableOptions(
            regions, chosen_coverage(coverage, regions), positions=weights.made().follows_mm
        )
        ready = prepared(weights, "cpu", runtime, features=self.options.by_features)
        self._network, self.notes = ready(lambda: 0)

    def read(self, source: str | Path | Volume) -> Reading:
        """Read a series and score it; findings are read from its own curve.

        Args:
            source: a file, a folder that holds one series, or a volume.

        Raises:
            ValueError: none or several series, or one that cannot be read.
        """
        if not isinstance(source, Volume):
            with silence():
                source = read_volume(find_one(source))
        slices = of_volume(self.inputs, None, source)
        z_mm, taken = slices.z_mm, slices.taken
        (_, scores, features), *_ = score_series(self._network, [("", slices.grid)])
        scores = interpolated(scores, z_mm, taken)
        features = None if features is None else interpolated(features, z_mm, taken)
        from_others = ~np.isin(np.arange(len(z_mm)), taken)
        one = SeriesScores(
            "", scores, z_mm, slices.warnings, "", features, interpolated=from_others
        )
        options, reference = self.options, reference_of([(scores, z_mm)])
        one = judged(one, reference, in_mm=options.positions)
        landmarks = landmarks_of(one, options.regions, options.coverage) if options.regions else []
        return Reading(one, slice_rows([one], options), series_row(one, options), landmarks)
