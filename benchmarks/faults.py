"""Which faults of a series its score curve reveals, and how often a sound series is suspected.

    python -m benchmarks.faults --weights WORK/run/weights.safetensors --work WORK [--seed 40000]

Rows go to results/faults.csv. The series are computed CT of bodies that the model has not seen:
give weights that were trained on phantoms of other seeds. Sound are BODIES whole series, two parts
of each, and every second slice of each. Faults are put into whole sound ones, EACH series per fault
and strength, before bodies are looked for and slices are resampled and scored. The reference of
sound curves is learned from all sound series and a fifth as many faulty ones
(`benchmarks.common.fault_rows` says what is counted).

score_mm and position_mm are the mean distance of slices from where they are in the reference body:
as told by scores, and by positions, in which no fault may be smoothed away. one_line is the share
of series whose positions are one line. They are for weights whose scores follow millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.commandline import new_parser
from benchmarks.common.computed_truth import read_body_mm
from benchmarks.common.fault_rows import Case, counted, faulty, scored, share_in_row
from benchmarks.common.machine import provenance
from benchmarks.common.painting import Rng
from benchmarks.common.rows import append
from benchmarks.common.series_faults import ComputedSeries
from ubr.pretrain.data.find import find_series, read_volume
from ubr.pretrain.phantom import make
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.reading.context import MM_PER_UNIT, positions
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import Finding
from ubr.pretrain.reading.reference import reference_of
from ubr.weights import Regressor, load

BODIES = 80
EACH = 15
NOT_PLACED = {"score_mm": "", "position_mm": "", "one_line": ""}


def main(argv: Sequence[str] | None = None) -> None:
    """Make series, put faults into them, score, judge, append rows."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--weights", type=Path, required=True, help="trained on phantoms of other seeds"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the phantoms")
    parser.add_argument("--seed", type=int, default=40_000, help="of the first phantom")
    options = parser.parse_args(argv)
    weights, rng = load(options.weights), np.random.default_rng(options.seed)
    regressor = Regressor.from_weights(weights).eval()
    bodies = _bodies(options.work / f"phantoms-{options.seed}", options.seed)
    sound = [(name, scan) for body in bodies for name, scan in _sound(body, rng)]
    scans = [("none", name, scan) for name, scan in sound] + _faulty(bodies, rng, options.seed)
    curves = [scored(regressor, scan) for *_, scan in scans]
    with_faults = range(len(sound), len(scans))
    mixed = [*range(len(sound)), *rng.choice(with_faults, len(sound) // 5, replace=False)]
    reference = reference_of([(curves[i], scans[i][2].z_mm) for i in mixed])
    print(reference)
    found = [
        findings(scores, scan.z_mm, reference=reference)
        for scores, (*_, scan) in zip(curves, scans, strict=True)
    ]
    placed = _placed(scans, curves, found) if weights.made().follows_mm else {}
    rows = [
        row | placed.get((row["kind"], row["strength"]), NOT_PLACED)
        for row in counted(scans, found)
    ]
    widths = (12, 45, 4, 7, 7, 7, 6, 6, 6, 6, 6)
    for row in rows:
        cells = zip(row.values(), widths, strict=True)
        print("  ".join(f"{value!s:>{width}}" for value, width in cells))
    rows = [{**provenance(weights.sha256(), options.seed), **row} for row in rows]
    print(f"rows in {append('faults', rows)}")


def _bodies(folder: Path, seed: int) -> list[ComputedSeries]:
    phantoms(folder, n=BODIES, seed=seed, form="nifti", workers=1)
    series = sorted(find_series([folder], workers=0, progress=False)[0], key=lambda one: one.files)
    levels = read_body_mm(folder / "labels.csv")
    return [
        ComputedSeries(v.hu, v.z_mm, v.spacing_mm[1], levels[Path(one.files[0]).name])
        for one in series
        for v in [read_volume(one)]
    ]


def _sound(body: ComputedSeries, rng: Rng) -> list[tuple[str, ComputedSeries]]:
    """The series, two parts of it of at least 150 mm, and every second slice."""
    n, least = len(body.hu), body.slices(150)
    parts = []
    for _ in range(2):
        length = int(rng.integers(min(least, n), n + 1))
        start = int(rng.integers(0, n - length + 1))
        parts.append(("sound, a part", body.take(np.arange(start, start + length))))
    return [
        ("sound, whole", body),
        *parts,
        ("sound, every second slice", body.every_second()),
    ]


def _faulty(bodies: list[ComputedSeries], rng: Rng, seed: int) -> list[Case]:
    made = faulty(bodies, EACH, rng)
    # Ascites is the only one that is drawn and not put in.
    for i in range(EACH):
        case = make(seed + 1000 + i, ascites=True, top=300.0, bottom=925.0)
        v = case.volume
        made.append(
            ("abnormal", "ascites", ComputedSeries(v.hu, v.z_mm, v.spacing_mm[1], case.body_mm))
        )
    return made


def _placed(
    scans: list[tuple[str, str, ComputedSeries]],
    curves: list[NDArray[np.float32]],
    found: list[tuple[Finding, ...]],
) -> dict[tuple[object, object], dict[str, object]]:
    """How far slices are from their places, by kind and strength; of what shows a body."""
    by_score = [MM_PER_UNIT * curve.astype(np.float64) for curve in curves]
    read = [
        positions(curve, scan.z_mm, those)
        for curve, (*_, scan), those in zip(curves, scans, found, strict=True)
    ]
    sound = [i for i, (kind, *_) in enumerate(scans) if kind == "none"]
    origin = np.median(np.concatenate([by_score[i] - scans[i][2].level for i in sound]))
    placed: dict[tuple[object, object], dict[str, object]] = {}
    for kind, strength in dict.fromkeys((k, s) for k, s, _ in scans if k != "out_of_range"):
        here = [i for i, (*names, _) in enumerate(scans) if names == [kind, strength]]
        off = [
            np.mean([np.abs(mm[i] - scans[i][2].level - origin).mean() for i in here])
            for mm in (by_score, [one.mm for one in read])
        ]
        placed[kind, strength] = {
            "score_mm": round(float(off[0]), 1),
            "position_mm": round(float(off[1]), 1),
            "one_line": share_in_row(np.mean([read[i].context == "series" for i in here])),
        }
    return placed


if __name__ == "__main__":
    main()
