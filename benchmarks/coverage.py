"""How often a landmark lies in its interval: nominal against empirical coverage.

    python -m benchmarks.coverage                                               # computed curves
    python -m benchmarks.coverage --data ../shared/ct --work /scratch/learning  # real CT, by the models of benchmarks.learning

Rows go to results/coverage.csv. `computed`: volumes whose curves are drawn alike. `drawn`: real
volumes that a model was trained on (without labels), split at random into labelled and new ones, so
that these are exchangeable. `unseen`: all of those are labelled, and the volumes of patients held
out from the training are new; the two are not exchangeable, as models know the former better.
`pairs` in the name of the volumes is the interval of `level`: the place in one new volume where the
landmark of another is looked for. `outside` is the share that is called so although the volume
shows the landmark; its interval lies about that end and counts like others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning import (
    LANDMARKS,
    command_line,
    curve_of,
    folder_of,
    folds,
    model_of,
    stored,
)
from benchmarks.rows import append, provenance
from ubr.pretrain.reading.curve import Curve, passage
from ubr.pretrain.reading.intervals import enough, locate
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.uses.calibration import Labelled, landmark, pairs_mm
from ubr.pretrain.uses.levels import half_width_mm

COVERAGES = (0.8, 0.9)
VOLUMES = (9, 19)
DRAWS = 5000
Shown = tuple[Curve, int]
"""A volume and the slice of the landmark."""


def main() -> None:
    """Computed curves, or real CT where --data is given."""
    rows = list(_real() if "--data" in sys.argv else _computed())
    for row in rows:
        print(
            *(
                f"{row[name]!s:>14}"
                for name in (
                    "volumes_from",
                    "landmark",
                    "volumes",
                    "tests",
                    "nominal",
                    "covered",
                    "outside",
                )
            )
        )
    print(f"rows in {append('coverage', rows)}")


def _computed() -> Iterator[dict[str, object]]:
    rng = np.random.default_rng(0)
    about = {
        **provenance(hashlib.sha256(f"{VOLUMES} {DRAWS}".encode()).hexdigest(), 0),
        "data": "computed",
        "data_sha256": "",
    }
    for volumes, coverage in product(VOLUMES, COVERAGES):
        tally = Tally()
        for _ in range(DRAWS):
            known = [computed_volume(rng) for _ in range(volumes)]
            tally.add([computed_volume(rng)], landmark(known), coverage)
        yield {
            **about,
            "volumes_from": "computed",
            "landmark": "computed",
            "volumes": volumes,
            "nominal": coverage,
            **tally.row(),
        }
        tally = Tally()
        for _ in range(DRAWS // 5):
            tally.add_pairs(
                [computed_volume(rng) for _ in range(2)],
                [computed_volume(rng) for _ in range(volumes)],
                coverage,
            )
        yield {
            **about,
            "volumes_from": "computed pairs",
            "landmark": "computed",
            "volumes": volumes,
            "nominal": coverage,
            **tally.row(),
        }


def computed_volume(rng: np.random.Generator) -> Shown:
    """A curve as they are:

    a straight line in mm, bent smoothly, noisy from slice to slice, of any range, spacing and size
    of body.
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
    anatomy = rng.normal(
        0, 8
    )  # mm by which this patient's landmark lies off the level of its surroundings
    mm = (z - above) * size + waves + rng.standard_t(3, len(z)) * 4 + anatomy
    return Curve(mm / 50, z), min(round(above / step), len(z) - 1)


def _real() -> Iterator[dict[str, object]]:
    options, chosen = command_line(__doc__)
    cohort = stored(options.data, options.work)
    tallies: dict[tuple[str, str, float, int], Tally] = {}
    for number, held_out in enumerate(folds(cohort)):
        regressor = model_of(folder_of(options.work, chosen, number), cohort, chosen, held_out)
        known: dict[str, list[Shown]] = {name: [] for name in LANDMARKS}
        unseen: dict[str, list[Shown]] = {name: [] for name in LANDMARKS}
        patients = set()
        for series in cohort.store.usable():
            marks = cohort.marks(series)
            if (
                marks and series.patient not in patients
            ):  # one volume a patient, or they are not drawn alike
                patients.add(series.patient)
                one = curve_of(regressor, cohort, series)
                for name, index in marks.items():
                    (unseen if series.patient in held_out else known)[name].append(
                        (Curve(one.scores, series.z_mm), index)
                    )
        rng = np.random.default_rng(number)
        for name, coverage in product(LANDMARKS, COVERAGES):
            _draw(
                rng,
                known[name],
                VOLUMES[0],
                coverage,
                tallies.setdefault(("drawn", name, coverage, VOLUMES[0]), Tally()),
            )
            level = landmark(known[name]) if known[name] else None
            if level and enough(level, coverage):
                tallies.setdefault(("unseen", name, coverage, 0), Tally()).add(
                    unseen[name], level, coverage
                )
                tallies.setdefault(("unseen pairs", name, coverage, 0), Tally()).add_pairs(
                    unseen[name], known[name], coverage
                )
        print(f"fold {number}: {len(patients)} patients with landmarks", flush=True)
    about = provenance(chosen.sha256(), chosen.seed) | cohort.columns()
    for (source, name, coverage, volumes), tally in tallies.items():
        if tally.tests:
            yield {
                **about,
                "volumes_from": source,
                "landmark": name,
                "volumes": volumes or "all",
                "nominal": coverage,
                **tally.row(),
            }


def _draw(
    rng: np.random.Generator, shown: Sequence[Shown], volumes: int, coverage: float, tally: Tally
) -> None:
    """Split at random into `volumes` labelled and all other, new ones, many times."""
    for _ in range(DRAWS // 10 if len(shown) > volumes else 0):
        order: NDArray[np.int64] = rng.permutation(len(shown))
        tally.add(
            [shown[i] for i in order[volumes:]],
            landmark([shown[i] for i in order[:volumes]]),
            coverage,
        )


@dataclasses.dataclass
class Tally:
    """Counts of new volumes:

    tests, those whose landmark lies in the interval, those called outside; and the widths of
    intervals in mm.
    """

    tests: int = 0
    covered: int = 0
    outside: int = 0
    widths: list[float] = dataclasses.field(default_factory=list)

    def add(self, new: Sequence[Shown], level: Level, coverage: float) -> None:
        """Look for the landmark in volumes that show it."""
        for curve, index in new:
            place = locate(*curve, level, coverage)
            self.tests += 1
            self.outside += bool(place.outside)
            assert (
                place.low_mm is not None and place.high_mm is not None
            )  # levels with too few volumes are not tried
            self.covered += place.low_mm <= curve.z_mm[index] <= place.high_mm
            self.widths.append(place.high_mm - place.low_mm)

    def add_pairs(self, new: Sequence[Shown], known: Sequence[Shown], coverage: float) -> None:
        """Look for each new volume's landmark in every other new one."""
        labelled = [
            Labelled(str(i), curve, landmarks={"landmark": index})
            for i, (curve, index) in enumerate(known)
        ]
        regions = Regions("", (), (), {"landmark": landmark(known)}, pairs_mm=pairs_mm(labelled))
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
