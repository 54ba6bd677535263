"""How often a landmark lies in its interval: nominal against empirical coverage.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --data /data/ct --work /scratch/learning

Without --data, curves are computed; with it, the models of benchmarks.learning score real CT. Rows
go to results/coverage.csv; the column `volumes_from` says which volumes were tried:

computed  volumes whose curves are drawn alike
drawn     real volumes that a model was trained on (without labels), split at random into labelled
          and new ones, so that these are exchangeable
unseen    all of those are labelled, and the volumes of patients held out from the training are new;
          the two are not exchangeable, because models know the former better

`pairs` in the name is the interval of `level`: the place in one new volume where the landmark of
another is looked for. `outside` is the share of tests in which the landmark is called outside
although the volume shows it; its interval lies about that end and counts like others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cohort import Cohort
from benchmarks.common.cohort_options import CohortOptions, cohort_options, cohort_parser
from benchmarks.common.folds import FOLDS, held_out_patients, run_folder, trained_regressor
from benchmarks.common.judging import curve_of
from benchmarks.common.landmarks import LANDMARKS
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.reading.curve import Curve, passage
from ubr.pretrain.reading.intervals import enough, locate
from ubr.pretrain.reading.labelled import Labelled, landmark_level, pairs_mm
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.levels import half_width_mm
from ubr.weights import Regressor

COVERAGES = (0.8, 0.9)
VOLUMES = (9, 19)
DRAWS = 5000
Shown = tuple[Curve, int]
"""A volume and the slice of the landmark."""


def main(argv: Sequence[str] | None = None) -> None:
    """Try computed curves, or real CT if --data is given; append rows."""
    parser = cohort_parser(__doc__, required=False)
    given = parser.parse_args(argv)
    if given.data and not given.work:
        parser.error("--data needs --work, the folder of benchmarks.learning")
    rows = list(on_cohort(cohort_options(given)) if given.data else on_computed())
    shown = ("volumes_from", "landmark", "volumes", "tests", "nominal", "covered", "outside")
    for row in rows:
        print(*(f"{row[name]!s:>14}" for name in shown))
    print(f"rows in {append('coverage', rows)}")


def on_computed() -> Iterator[dict[str, object]]:
    """Rows of computed curves."""
    rng = np.random.default_rng(0)
    columns = {
        **provenance(hashlib.sha256(f"{VOLUMES} {DRAWS}".encode()).hexdigest(), 0),
        "data": "computed",
        "data_sha256": "",
    }
    for volumes, coverage in product(VOLUMES, COVERAGES):
        tally = Tally()
        for _ in range(DRAWS):
            known = [computed_volume(rng) for _ in range(volumes)]
            tally.add([computed_volume(rng)], landmark_level(known), coverage)
        yield columns | _row("computed", "computed", volumes, coverage, tally)
        tally = Tally()
        for _ in range(DRAWS // 5):
            tally.add_pairs(
                [computed_volume(rng) for _ in range(2)],
                [computed_volume(rng) for _ in range(volumes)],
                coverage,
            )
        yield columns | _row("computed pairs", "computed", volumes, coverage, tally)


def computed_volume(rng: np.random.Generator) -> Shown:
    """A curve like those of real volumes.

    It is a straight line in mm, bent smoothly and noisy from slice to slice, of any range, spacing
    and size of body.
    """
    step, above, below = (
        rng.choice([1.25, 3.0, 5.0, 8.0]),
        rng.uniform(40, 300),
        rng.uniform(40, 300),
    )
    z = np.arange(0, above + below, step)
    size = rng.normal(1, 0.08)
    waves = sum(
        rng.normal(0, 12) * np.sin(z / rng.uniform(40, 120) + rng.uniform(0, 6.3)) for _ in range(3)
    )
    # By so many mm the landmark of this patient lies off the level of its surroundings.
    anatomy = rng.normal(0, 8)
    mm = (z - above) * size + waves + rng.standard_t(3, len(z)) * 4 + anatomy
    return Curve(mm / 50, z), min(round(above / step), len(z) - 1)


def on_cohort(options: CohortOptions) -> Iterator[dict[str, object]]:
    """Rows of real CT, by the model of each fold."""
    recipe, cohort = options.recipe, options.cohort()
    tallies: dict[tuple[str, str, float, int], Tally] = {}

    def tally(source: str, name: str, coverage: float, volumes: int) -> Tally:
        return tallies.setdefault((source, name, coverage, volumes), Tally())

    held_out_by = held_out_patients(cohort)
    for fold in FOLDS:
        held_out = held_out_by[fold]
        folder = run_folder(options.runs, recipe, fold)
        regressor = trained_regressor(folder, cohort, recipe, held_out)
        known, unseen, patients = marked_volumes(regressor, cohort, held_out)
        rng = np.random.default_rng(int(fold))
        for name, coverage in product(LANDMARKS, COVERAGES):
            drawn = tally("drawn", name, coverage, VOLUMES[0])
            _draw(rng, known[name], VOLUMES[0], coverage, drawn)
            level = landmark_level(known[name]) if known[name] else None
            if level and enough(level, coverage):
                tally("unseen", name, coverage, 0).add(unseen[name], level, coverage)
                pairs = tally("unseen pairs", name, coverage, 0)
                pairs.add_pairs(unseen[name], known[name], coverage)
        print(f"fold {fold}: {patients} patients with landmarks", flush=True)
    columns = provenance(recipe.sha256(), recipe.seed) | cohort.columns()
    for (source, name, coverage, volumes), counted in tallies.items():
        if counted.tests:
            yield columns | _row(source, name, volumes or "all", coverage, counted)


Volumes = dict[str, list[Shown]]
"""By landmark."""


def marked_volumes(
    regressor: Regressor, cohort: Cohort, held_out: Sequence[str]
) -> tuple[Volumes, Volumes, int]:
    """Volumes of the patients that were trained on, those held out, and the number of patients.

    A patient gives one volume only, or volumes would not be drawn alike.
    """
    known: Volumes = {name: [] for name in LANDMARKS}
    unseen: Volumes = {name: [] for name in LANDMARKS}
    patients = set()
    for series in cohort.store.usable():
        marks = cohort.marks(series)
        if not marks or series.patient in patients:
            continue
        patients.add(series.patient)
        curve = Curve(curve_of(regressor, cohort, series).scores, series.z_mm)
        for name, index in marks.items():
            (unseen if series.patient in held_out else known)[name].append((curve, index))
    return known, unseen, len(patients)


def _row(
    source: str, name: str, volumes: int | str, coverage: float, tally: Tally
) -> dict[str, object]:
    return {
        "volumes_from": source,
        "landmark": name,
        "volumes": volumes,
        "nominal": coverage,
        **tally.row(),
    }


def _draw(
    rng: np.random.Generator, shown: Sequence[Shown], volumes: int, coverage: float, tally: Tally
) -> None:
    """Split at random into `volumes` labelled ones and all other, new ones; many times."""
    for _ in range(DRAWS // 10 if len(shown) > volumes else 0):
        order: NDArray[np.int64] = rng.permutation(len(shown))
        tally.add(
            [shown[i] for i in order[volumes:]],
            landmark_level([shown[i] for i in order[:volumes]]),
            coverage,
        )


@dataclass
class Tally:
    """Counts of tests on new volumes.

    Attributes:
        tests: all of them.
        covered: those whose landmark lies in the interval.
        outside: those whose landmark is called outside.
        widths: of the intervals, in mm.
    """

    tests: int = 0
    covered: int = 0
    outside: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, new: Sequence[Shown], level: Level, coverage: float) -> None:
        """Look for the landmark in volumes that show it."""
        for curve, index in new:
            place = locate(*curve, level, coverage)
            self.tests += 1
            self.outside += bool(place.outside)
            # Levels with too few volumes are not tried.
            assert place.low_mm is not None and place.high_mm is not None
            self.covered += place.low_mm <= curve.z_mm[index] <= place.high_mm
            self.widths.append(place.high_mm - place.low_mm)

    def add_pairs(self, new: Sequence[Shown], known: Sequence[Shown], coverage: float) -> None:
        """Look for each new volume's landmark in every other new one."""
        labelled = [
            Labelled(str(i), curve, landmarks={"landmark": index})
            for i, (curve, index) in enumerate(known)
        ]
        regions = Regions(
            "", (), (), {"landmark": landmark_level(known)}, pairs_mm=pairs_mm(labelled)
        )
        half = half_width_mm(regions, coverage)
        for (one, index), (other, truth) in permutations(new, 2):
            z, outside = passage(*other, float(one.scores[index]))
            self.tests += 1
            self.outside += bool(outside)
            self.covered += bool(abs(z - other.z_mm[truth]) <= half)
            self.widths.append(2 * half)

    def row(self) -> dict[str, object]:
        """Shares of the tests, and the median width."""
        share = {
            name: round(getattr(self, name) / self.tests, 4) for name in ("covered", "outside")
        }
        return {
            "tests": self.tests,
            **share,
            "width_mm_median": round(float(np.median(self.widths)), 1),
        }


if __name__ == "__main__":
    main()
