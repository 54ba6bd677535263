"""Faults put into real series that no training saw, and how often sound ones are suspected.

    python -m benchmarks.real_faults --data /data/ct --work /scratch/learning \\
        [--recipe lite --start FILE --computed 48 --licensed --seed 2]

The networks are those of the folds of `benchmarks.learning`, with the same options and --work. Each
judges the torsos of its own fold: whole, and with faults in the header and in the order of slices,
EACH series per fold, fault and strength. For series that are glued together, each body is laid on
the mean distances between the landmarks of all. The reference of sound curves is learned from
the fold's sound series and a fifth as many faulty ones. Rows go to results/real_faults.csv, one per
fault and strength over all folds (`benchmarks.common.fault_rows`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.cohort_options import cohort_options, cohort_parser
from benchmarks.common.fault_rows import Case, counted, faulty, scored
from benchmarks.common.folds import FOLDS, held_out_patients, run_folder, trained_regressor
from benchmarks.common.landmarks import LANDMARKS
from benchmarks.common.rows import append, recorded
from benchmarks.common.series_faults import FAULTS, ComputedSeries
from ubr.pretrain.data.find import find_series, read_volume
from ubr.pretrain.data.store import SeriesRow
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import Finding
from ubr.pretrain.reading.reference import reference_of

EACH = 5
KINDS = ("reversed", "spacing", "gap", "repeated", "glued", "swapped")
ORIGIN = "liver_dome"


def main(argv: Sequence[str] | None = None) -> None:
    """Put faults into the series of each fold, score, judge, append rows."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    cohort = options.cohort()
    columns = options.columns(cohort)
    if recorded("real_faults", columns, ("config", "data_sha256")):
        return
    places = mean_places(cohort)
    scans: list[Case] = []
    found: list[tuple[Finding, ...]] = []
    for fold in FOLDS:
        held_out = held_out_patients(cohort)[fold]
        folder = run_folder(options.runs, options.recipe, fold)
        regressor = trained_regressor(folder, cohort, options.recipe, held_out)
        bodies = [
            body
            for series in cohort.store.usable()
            if series.patient in held_out and not is_head(cohort.names[series.key])
            for body in [read(cohort, series, options.data, places)]
        ]
        rng = np.random.default_rng([options.recipe.seed, int(fold)])
        sound: list[Case] = [("none", "sound, whole", body) for body in bodies]
        sound += [("none", "sound, every second slice", b.every_second()) for b in bodies]
        cases = sound + faulty(bodies, EACH, rng, [name for name in FAULTS if name[0] in KINDS])
        curves = [scored(regressor, scan) for *_, scan in cases]
        others = rng.choice(np.arange(len(sound), len(cases)), len(sound) // 5, replace=False)
        mixed = [*range(len(sound)), *others]
        reference = reference_of([(curves[i], cases[i][2].z_mm) for i in mixed])
        found += [
            findings(curve, scan.z_mm, reference=reference)
            for curve, (*_, scan) in zip(curves, cases, strict=True)
        ]
        scans += cases
        print(f"fold {fold}: {len(bodies)} series, {len(cases)} with their changes", flush=True)
    rows = counted(scans, found)
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    append("real_faults", [{**columns, **row} for row in rows])


def mean_places(cohort: Cohort) -> Mapping[str, float]:
    """Mean distance of each landmark below the dome of the liver, in mm, where both are shown."""
    below: dict[str, list[float]] = {name: [] for name in LANDMARKS}
    for series in cohort.store.usable():
        marks = cohort.marks(series)
        for name in marks if ORIGIN in marks else ():
            below[name].append(series.z_mm[marks[name]] - series.z_mm[marks[ORIGIN]])
    return {name: float(np.mean(values)) for name, values in below.items() if values}


def read(
    cohort: Cohort, series: SeriesRow, data: Path, places: Mapping[str, float]
) -> ComputedSeries:
    """The pixels of a series; without a landmark its first slice is taken to be the origin."""
    (one,) = find_series([data / cohort.names[series.key]], workers=0, progress=False)[0]
    volume, marks = read_volume(one), cohort.marks(series)
    shifts = [places[name] - volume.z_mm[at] for name, at in marks.items() if name in places]
    level = volume.z_mm + (np.mean(shifts) if shifts else 0.0)
    return ComputedSeries(volume.hu, volume.z_mm, volume.spacing_mm[1], level)


if __name__ == "__main__":
    main()
