"""Which faults of a series its score curve reveals, and how often a sound series is suspected.

    python -m benchmarks.faults --weights WORK/run/weights.safetensors --work WORK [--seed 40000]

Rows go to results/faults.csv. The series are computed CT of bodies that the model has not seen:
give weights that were trained on phantoms of other seeds. Sound are BODIES whole series, two parts
of each, and every second slice of each. Faults are put into whole sound ones, EACH series per fault
and strength, before bodies are looked for and slices are resampled and scored. The reference of
sound curves is learned from all sound series and a fifth as many faulty ones. The column
`precision` is that of the kind over all series that it is found in. q50_mm and q90_mm are between
the slice that is named first and the one where the fault begins, in the header's z.

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
from benchmarks.common.machine import provenance
from benchmarks.common.painting import Rng
from benchmarks.common.rows import append
from benchmarks.common.series_faults import FAULTS, ComputedSeries
from ubr.pretrain.data.find import find_series, read_volume
from ubr.pretrain.phantom import make
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.reading.context import MM_PER_UNIT, positions
from ubr.pretrain.reading.faults import findings
from ubr.pretrain.reading.finding import Finding
from ubr.pretrain.reading.reference import reference_of
from ubr.weights import Regressor, load
from ubr.weights.scorer import score_slices

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
    curves = [_scored(regressor, scan) for *_, scan in scans]
    faulty = range(len(sound), len(scans))
    mixed = [*range(len(sound)), *rng.choice(faulty, len(sound) // 5, replace=False)]
    reference = reference_of([(curves[i], scans[i][2].z_mm) for i in mixed])
    print(reference)
    found = [
        findings(scores, scan.z_mm, reference=reference)
        for scores, (*_, scan) in zip(curves, scans, strict=True)
    ]
    placed = _placed(scans, curves, found) if weights.made().follows_mm else {}
    rows = [
        row | placed.get((row["kind"], row["strength"]), NOT_PLACED) for row in _rows(scans, found)
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


def _faulty(
    bodies: list[ComputedSeries], rng: Rng, seed: int
) -> list[tuple[str, str, ComputedSeries]]:
    made = []
    for (kind, strength), fault in FAULTS.items():
        done: list[tuple[str, str, ComputedSeries]] = []
        for i in rng.permutation(np.repeat(np.arange(len(bodies)), 2)):
            other = bodies[int(rng.choice(np.delete(np.arange(len(bodies)), i)))]
            if len(done) < EACH and (scan := fault(bodies[i], other, rng)) is not None:
                done.append((kind, strength, scan))
        made += done
    # Ascites is the only one that is drawn and not put in.
    for i in range(EACH):
        case = make(seed + 1000 + i, ascites=True, top=300.0, bottom=925.0)
        v = case.volume
        made.append(
            ("abnormal", "ascites", ComputedSeries(v.hu, v.z_mm, v.spacing_mm[1], case.body_mm))
        )
    return made


def _scored(regressor: Regressor, scan: ComputedSeries) -> NDArray[np.float32]:
    spacing_mm = (scan.step, scan.pixel_mm, scan.pixel_mm)
    return score_slices(regressor, np.ascontiguousarray(scan.hu), spacing_mm, scan.z_mm)


def _rows(
    scans: list[tuple[str, str, ComputedSeries]], found: list[tuple[Finding, ...]]
) -> list[dict[str, object]]:
    correct: dict[str, list[bool]] = {}
    for (kind, *_), those in zip(scans, found, strict=True):
        for named in {f.kind for f in those}:
            correct.setdefault(named, []).append(named == kind)
    rows = []
    for kind, strength in dict.fromkeys((k, s) for k, s, _ in scans):
        here = [
            (scan, those)
            for (k, s, scan), those in zip(scans, found, strict=True)
            if (k, s) == (kind, strength)
        ]
        off = [
            min(abs(scan.z_mm[f.first] - scan.z_mm[scan.first]) for f in those if f.kind == kind)
            for scan, those in here
            if scan.first is not None and any(f.kind == kind for f in those)
        ]
        suspected = np.mean([bool(those) for _, those in here])
        recall = np.mean([any(f.kind == kind for f in those) for _, those in here])
        rows.append(
            {
                "kind": kind,
                "strength": strength,
                "n": len(here),
                "suspected": _rounded(suspected),
                "recall": "" if kind == "none" else _rounded(recall),
                "precision": ""
                if kind == "none"
                else _rounded(np.mean(correct.get(kind, [False]))),
                "q50_mm": round(float(np.quantile(off, 0.5)), 1) if off else "",
                "q90_mm": round(float(np.quantile(off, 0.9)), 1) if off else "",
            }
        )
    return rows


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
            "one_line": _rounded(np.mean([read[i].context == "series" for i in here])),
        }
    return placed


def _rounded(share: float | np.floating) -> float:
    return round(float(share), 4)


if __name__ == "__main__":
    main()
