"""How often `select` takes the best of three series of a study, where the best is known.

    python -m benchmarks.selection --weights WORK/run/weights.safetensors --work WORK [--studies 10]
        [--seed 90000]

The full measurement is `--studies 100`. Rows go to results/selection.csv: one for all studies, and
one for each way in which the other two series are worse. Of a computed patient one series shows the
whole range, with 10 to 60 mm to spare at each end. The others are in finer steps, but lack 15 to 80
mm of an end, some slices or their order, are uneven, or have the wrong kernel; or they are sound,
in steps 1.25 to 2 times as wide. Body parts are learned from computed patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from benchmarks.common.archives import PARTS, Rng, borders_mm, write_series
from benchmarks.common.computed_regions import computed_parser, learned_regions
from benchmarks.common.intervals import wilson
from benchmarks.common.machine import provenance
from benchmarks.common.rows import append
from ubr.pretrain.phantom.patient import Patient
from ubr.pretrain.phantom.scan import draw, image
from ubr.pretrain.uses.audit.audit import EVERY_MM, audit
from ubr.pretrain.uses.selection import Selection, select
from ubr.weights import load

WANTED = ("chest", "abdomen", "abdomen and pelvis", "chest to pelvis")
WORSE = ("cut", "coarse", "missing", "swapped", "reversed", "uneven", "sharp kernel")
KERNELS = {"sharp kernel": "BONE"}


def main(argv: Sequence[str] | None = None) -> None:
    """Make studies, audit them, select, count, append rows."""
    options = parse(argv)
    weights = load(options.weights)
    regions = learned_regions(options.weights, options.work / "labelled", options.seed - 100)
    right: dict[str, list[bool]] = {"all": []}
    for number, want in enumerate(WANTED):
        folder = options.work / f"studies-{options.seed}-{options.studies}" / want
        mine = range(options.seed + number, options.seed + options.studies, len(WANTED))
        made = {seed: study(folder, seed, want) for seed in mine}
        out = options.work / f"audit-{options.seed}-{options.studies}" / want
        audit([folder], out, weights=weights, regions=regions, with_paths=True, progress=False)
        chosen = select(out, want=want, kernel="soft")
        for seed, worse in made.items():
            found = is_right(chosen, folder / str(seed))
            for way in ("all", *worse):
                right.setdefault(way, []).append(found)
            if not found:
                print(f"study {seed}, {want}, others {', '.join(worse)}: not the best")
    about = {**provenance(weights.sha256(), options.seed), "every_mm": EVERY_MM}
    rows = [{**about, **_row(way, several)} for way, several in right.items()]
    for row in rows:
        print({name: row[name] for name in [*row][len(about) :]})
    print(f"rows in {append('selection', rows)}")


def _row(way: str, right: Sequence[bool]) -> dict[str, object]:
    share, low, high = (round(one, 3) for one in wilson(sum(right), len(right)))
    counts = {"others": way, "studies": len(right), "right": sum(right)}
    return {**counts, "share": share, "share_low": low, "share_high": high}


def is_right(chosen: Selection, folder: Path) -> bool:
    """Whether the best series of a study's folder is among those chosen."""
    best = (folder / "best").resolve()
    return any(Path(one.path).resolve().is_relative_to(best) for one in chosen.chosen if one.path)


def study(folder: Path, seed: int, want: str) -> tuple[str, str]:
    """Write a study: its best series, and two that are worse; returns in which ways."""
    rng = np.random.default_rng(seed)
    patient = Patient.random(seed)
    uid = generate_uid(entropy_srcs=["study", str(seed)])
    wanted = [PARTS.index(word) for word in want.split() if word in PARTS]
    borders = borders_mm(patient)
    first, last = float(borders[wanted[0]]), float(borders[wanted[-1] + 1])
    step = float(rng.choice([3.0, 4.0]))
    _series(folder / str(seed) / "best", patient, (first, last), step, "best", uid, rng)
    ways = tuple(str(way) for way in rng.choice(WORSE, 2, replace=False))
    for way in ways:
        # The others would be taken for their steps, but for what is wrong with them.
        other = step * rng.uniform(1.25, 2.0) if way == "coarse" else step * rng.uniform(0.6, 0.9)
        where = folder / str(seed) / way.replace(" ", "-")
        _series(where, patient, (first, last), round(other, 2), way, uid, rng)
    return ways[0], ways[1]


def _series(
    folder: Path,
    patient: Patient,
    range_mm: tuple[float, float],
    step: float,
    way: str,
    study: str,
    rng: Rng,
) -> None:
    """One series of a patient. range_mm: what is wanted, below the vertex."""
    top, bottom = range_mm[0] - rng.uniform(10, 60), range_mm[1] + rng.uniform(10, 60)
    if way == "cut" and rng.random() < 0.5:
        top = range_mm[0] + rng.uniform(15, 80)
    elif way == "cut":
        bottom = range_mm[1] - rng.uniform(15, 80)
    first, last = patient.level(np.array([top, bottom])).tolist()
    case = draw(patient.seed, top=first, bottom=last, spacing_mm=step, size_px=96, metal="none")
    hu, z = image(case).volume.hu, case.z_mm
    numbers = np.arange(1, len(z) + 1, dtype=np.int64)
    if way == "missing":
        gone = int(rng.integers(5, len(z) - 12)) + np.arange(int(rng.integers(1, 7)))
        keep = np.isin(np.arange(len(z)), gone, invert=True)
        hu, z, numbers = hu[keep], z[keep], numbers[keep]
    if way == "swapped":
        hu = np.concatenate([hu[len(hu) // 2 :], hu[: len(hu) // 2]])
    if way == "reversed":
        hu = hu[::-1]
    if way == "uneven":
        z = z + rng.uniform(0, 0.2 * step, len(z))
    header = {"StudyInstanceUID": study, "SliceThickness": step, "BodyPartExamined": ""}
    header["ConvolutionKernel"] = KERNELS.get(way, "STANDARD")
    write_series(folder, hu, case.first_mm + z, case.pixel_mm, numbers, **header)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = computed_parser(__doc__, 90_000)
    parser.add_argument("--studies", type=int, default=10)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
