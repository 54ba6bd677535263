"""Which faults of a series its score curve tells, and how often a sound series is suspected: rows
in results/faults.csv.

    python -m benchmarks.faults --weights WORK/run/weights.safetensors --work WORK [--seed 40000]

The series are computed CT of bodies that the model has not seen, which is yours to see to: give
weights trained on phantoms of other seeds. Sound are BODIES whole series, two parts of each and
every second slice of each. Faults are put into whole sound ones, EACH series a fault and strength,
before bodies are looked for and slices resampled and scored. What a sound curve looks like is
learned from all sound series and a fifth as many faulty ones. precision is that of the kind over
all series: those it is found in rightly. mm: between the slice that is named first and the one
where the fault begins, in the header's z.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import append, provenance
from ubr.pretrain.data.find import find_series, read_volume
from ubr.pretrain.data.gridding import grid_of
from ubr.pretrain.data.volume import Volume
from ubr.pretrain.phantom import make
from ubr.pretrain.phantom.files import phantoms
from ubr.pretrain.reading.faults import Finding, findings, reference_of
from ubr.pretrain.scores.scoring import scores_of
from ubr.weights import Regressor, load

BODIES = 80
EACH = 15
Rng = np.random.Generator


@dataclass(frozen=True)
class Scan:
    """hu: `[z, y, x]`. z_mm: as the header says. pixel_mm: side. level: `[z]` mm below the vertex,
    of the reference body. first: the slice where the fault begins, if it has a place.
    """

    hu: NDArray[np.int16]
    z_mm: NDArray[np.float64]
    pixel_mm: float
    level: NDArray[np.float64]
    first: int | None = None

    def take(self, order: NDArray[np.int64], first: int | None = None) -> Scan:
        """Slices in this order, under the positions of an even series."""
        return replace(
            self,
            hu=self.hu[order],
            z_mm=np.arange(len(order)) * self.step,
            level=self.level[order],
            first=first,
        )

    @property
    def step(self) -> float:
        return float(self.z_mm[1])

    def slices(self, mm: float) -> int:
        return max(1, round(mm / self.step))


Fault = Callable[[Scan, Scan, Rng], Scan | None]
"""A sound series, another body's, a generator -> the faulty series, or none where that series is
too short for it.
"""


def main() -> None:
    """Make, spoil, score, judge, append rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, required=True, help="trained on phantoms of other seeds"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the phantoms")
    parser.add_argument("--seed", type=int, default=40_000, help="of the first phantom")
    options = parser.parse_args()
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
    rows = _rows(scans, found)
    for row in rows:
        print(
            "  ".join(
                f"{value!s:>{width}}"
                for value, width in zip(row.values(), (12, 45, 4, 7, 7, 7, 6, 6), strict=True)
            )
        )
    rows = [{**provenance(weights.sha256(), options.seed), **row} for row in rows]
    print(f"rows in {append('faults', rows)}")


def _bodies(folder: Path, seed: int) -> list[Scan]:
    phantoms(folder, n=BODIES, seed=seed, form="nifti", workers=1)
    series = sorted(find_series([folder], workers=0, progress=False)[0], key=lambda one: one.files)
    levels: dict[str, list[float]] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            levels.setdefault(row["file"], []).append(float(row["body_mm"]))
    return [
        Scan(v.hu, v.z_mm, v.spacing_mm[1], np.array(levels[Path(one.files[0]).name]))
        for one in series
        for v in [read_volume(one)]
    ]


def _sound(body: Scan, rng: Rng) -> list[tuple[str, Scan]]:
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
        ("sound, every second slice", replace(body, hu=body.hu[::2], z_mm=body.z_mm[::2])),
    ]


def _faulty(bodies: list[Scan], rng: Rng, seed: int) -> list[tuple[str, str, Scan]]:
    made = []
    for (kind, strength), fault in FAULTS.items():
        done = []
        for i in rng.permutation(np.repeat(np.arange(len(bodies)), 2)):
            other = bodies[int(rng.choice(np.delete(np.arange(len(bodies)), i)))]
            if len(done) < EACH and (scan := fault(bodies[i], other, rng)) is not None:
                done.append((kind, strength, scan))
        made += done
    for i in range(
        EACH
    ):  # the only one that is drawn and not put in; the phantom is the judge of what is seen of it
        case = make(seed + 1000 + i, ascites=True, top=300.0, bottom=925.0)
        made.append(
            (
                "abnormal",
                "ascites",
                Scan(case.volume.hu, case.volume.z_mm, case.volume.spacing_mm[1], case.body_mm),
            )
        )
    return made


def _scored(regressor: Regressor, scan: Scan) -> NDArray[np.float32]:
    volume = Volume(
        np.ascontiguousarray(scan.hu), (scan.step, scan.pixel_mm, scan.pixel_mm), scan.z_mm
    )
    return scores_of(regressor, grid_of(regressor.inputs, volume))


def _rows(
    scans: list[tuple[str, str, Scan]], found: list[tuple[Finding, ...]]
) -> list[dict[str, object]]:
    right: dict[str, list[bool]] = {}
    for (kind, *_), those in zip(scans, found, strict=True):
        for named in {f.kind for f in those}:
            right.setdefault(named, []).append(named == kind)
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
        rows.append(
            {
                "kind": kind,
                "strength": strength,
                "n": len(here),
                "suspected": round(float(np.mean([bool(those) for _, those in here])), 4),
                "recall": ""
                if kind == "none"
                else round(
                    float(np.mean([any(f.kind == kind for f in those) for _, those in here])), 4
                ),
                "precision": ""
                if kind == "none"
                else round(float(np.mean(right.get(kind, [False]))), 4),
                "q50_mm": round(float(np.quantile(off, 0.5)), 1) if off else "",
                "q90_mm": round(float(np.quantile(off, 0.9)), 1) if off else "",
            }
        )
    return rows


def _start(scan: Scan, length: int, rng: Rng, margin_mm: float = 60) -> int | None:
    """Where a stretch of that many slices begins, with some of the series left on both sides."""
    margin = scan.slices(margin_mm)
    free = len(scan.hu) - length - 2 * margin
    return None if free < 1 else margin + int(rng.integers(free))


def _reversed(least_mm: float, most_mm: float) -> Fault:
    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        n = min(len(scan.hu), scan.slices(most_mm))
        return scan.take(np.arange(n)[::-1]) if n * scan.step >= least_mm else None

    return fault


def _scaled(factor: float) -> Fault:
    return lambda scan, other, rng: replace(scan, z_mm=scan.z_mm * factor)


def _half_scaled(factor: float) -> Fault:
    """The second half under another step than it has."""

    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        half = len(scan.hu) // 2
        if scan.z_mm[half] < 150:
            return None
        z = np.concatenate(
            [scan.z_mm[:half], scan.z_mm[half] + (scan.z_mm[half:] - scan.z_mm[half]) * factor]
        )
        return replace(scan, z_mm=z, first=half)

    return fault


def _leap_in_z(mm: float) -> Fault:
    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        k = _start(scan, 1, rng)
        return (
            None
            if k is None
            else replace(scan, z_mm=scan.z_mm + mm * (np.arange(len(scan.hu)) >= k), first=k - 1)
        )

    return fault


def _dropped(mm: float) -> Fault:
    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        k = _start(scan, scan.slices(mm), rng)
        return (
            None
            if k is None
            else scan.take(
                np.delete(np.arange(len(scan.hu)), np.arange(k, k + scan.slices(mm))), k - 1
            )
        )

    return fault


def _repeated(mm: float, noise_hu: float = 0) -> Fault:
    """A stretch that comes twice; with noise, as if scanned again."""

    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        length = max(2, scan.slices(mm))
        k = _start(scan, length, rng)
        if k is None:
            return None
        twice = scan.take(
            np.concatenate([np.arange(k + length), np.arange(k, len(scan.hu))]), k + length
        )
        if noise_hu:
            twice.hu[k + length : k + 2 * length] = _to_int16(
                twice.hu[k + length : k + 2 * length]
                + rng.normal(0, noise_hu, (length, *scan.hu.shape[1:]))
            )
        return twice

    return fault


def _glued(low_mm: float, high_mm: float) -> Fault:
    """The lower part of another body under the upper part of this, so that the level leaps by that
    much.
    """

    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        inner, below = (
            np.flatnonzero((s.z_mm > 100) & (s.z_mm < s.z_mm[-1] - 100)) for s in (scan, other)
        )
        leap = other.level[below][None] - scan.level[inner][:, None]
        pairs = np.argwhere((leap >= low_mm) & (leap < high_mm))
        if not len(pairs):
            return None
        k, j = (
            int(where[i])
            for where, i in zip((inner, below), pairs[rng.integers(len(pairs))], strict=True)
        )
        z = np.concatenate(
            [scan.z_mm[: k + 1], scan.z_mm[k] + scan.step + other.z_mm[j:] - other.z_mm[j]]
        )
        return replace(scan, hu=np.concatenate([scan.hu[: k + 1], other.hu[j:]]), z_mm=z, first=k)

    return fault


def _swapped(apart_mm: float, length_mm: float = 0) -> Fault:
    """Two slices, or two stretches, that change places."""

    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        length, apart = scan.slices(length_mm), scan.slices(apart_mm)
        k = _start(scan, apart + length, rng)
        if k is None:
            return None
        order = np.arange(len(scan.hu))
        order[k : k + length], order[k + apart : k + apart + length] = (
            order[k + apart : k + apart + length].copy(),
            order[k : k + length].copy(),
        )
        return scan.take(order, k)

    return fault


def _foreign(mm: float) -> Fault:
    """A stretch of another body from another level, 200 mm away at least."""

    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        length = scan.slices(mm)
        k = _start(scan, length, rng)
        if k is None or length > len(other.level):
            return None
        far = np.flatnonzero(
            np.abs(other.level[: len(other.level) - length + 1] - scan.level[k]) > 200
        )
        if not len(far):
            return None
        hu, j = scan.hu.copy(), int(rng.choice(far))
        hu[k : k + length] = other.hu[j : j + length]
        return replace(scan, hu=hu, first=k)

    return fault


def _painted(
    mm: float, paint: Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]
) -> Fault:
    def fault(scan: Scan, other: Scan, rng: Rng) -> Scan | None:
        length = scan.slices(mm)
        k = _start(scan, length, rng)
        if k is None:
            return None
        hu = scan.hu.copy()
        hu[k : k + length] = _to_int16(paint(hu[k : k + length], scan.pixel_mm, rng))
        return replace(scan, hu=hu, first=k)

    return fault


def _to_int16(hu: NDArray[np.floating]) -> NDArray[np.int16]:
    return np.rint(hu).clip(-1024, 3071).astype(np.int16)


def _far(
    hu: NDArray[np.int16], pixel_mm: float, x_mm: float = 0, y_mm: float = 0
) -> NDArray[np.float64]:
    """Distance in mm of each pixel from a point beside the image's middle."""
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_mm for n in hu.shape[1:])
    return np.hypot(y[:, None] - y_mm, x[None] - x_mm)


def _metal(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
    """A prosthesis of 40 mm, and rays of 400 HU from it."""
    far, turn = _far(hu, pixel_mm, 40), rng.uniform(0, 6)
    y, x = np.mgrid[: hu.shape[1], : hu.shape[2]] - np.array(hu.shape[1:])[:, None, None] / 2
    rays = 400 * np.cos(9 * np.arctan2(y, x - 40 / pixel_mm) + turn) * np.exp(-far / 120)
    return np.where(far < 20, 3071, hu + rays * (hu > -500))


def _mass(diameter_mm: float) -> Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]:
    return lambda hu, pixel_mm, rng: np.where(
        _far(hu, pixel_mm, rng.uniform(-40, 40)) < diameter_mm / 2, 45.0, hu
    )


def _noise(sigma_hu: float) -> Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]:
    return lambda hu, pixel_mm, rng: hu + rng.normal(0, sigma_hu, hu.shape)


def _torn(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
    """The lower half of the image missing."""
    return np.where(np.arange(hu.shape[1])[:, None] > hu.shape[1] / 2, -1024.0, hu)


def _volume(paint: Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]) -> Fault:
    return lambda scan, other, rng: replace(scan, hu=_to_int16(paint(scan.hu, scan.pixel_mm, rng)))


def _cylinder(
    noise_hu: float, rods: bool
) -> Callable[[NDArray[np.int16], float, Rng], NDArray[np.floating]]:
    """Water of 220 mm; rods of bone and air whose number changes along it, as in a phantom for
    measuring contrast.
    """

    def paint(hu: NDArray[np.int16], pixel_mm: float, rng: Rng) -> NDArray[np.floating]:
        out = np.broadcast_to(
            np.where(_far(hu, pixel_mm) < 110, 0.0, -1000.0), hu.shape
        ) + rng.normal(0, noise_hu, hu.shape)
        for part, plane in enumerate(np.array_split(out, 4) if rods else []):
            for turn in np.arange(2 * part) * np.pi / max(part, 1):
                plane[:, _far(hu, pixel_mm, 60 * np.cos(turn), 60 * np.sin(turn)) < 10] = (
                    900 if part % 2 else -900
                )
        return out

    return paint


FAULTS: dict[tuple[str, str], Fault] = {
    ("reversed", "300 mm and more"): _reversed(300, 2000),
    ("reversed", "the first 150 mm of a series"): _reversed(145, 150),
    **{
        ("spacing", f"header's step {f:g} times the true one"): _scaled(f)
        for f in (4, 2, 1.5, 1.25, 0.5, 0.25)
    },
    **{
        ("spacing", f"second half's step {f:g} times the true one"): _half_scaled(f)
        for f in (3, 2, 0.5)
    },
    **{("spacing", f"z leaps {mm} mm, the body does not"): _leap_in_z(mm) for mm in (150, 80, 40)},
    **{("gap", f"{mm} mm missing"): _dropped(mm) for mm in (150, 80, 40, 20)},
    **{("repeated", f"{mm} mm, the same pixels"): _repeated(mm) for mm in (100, 40, 5)},
    **{
        ("repeated", f"{mm} mm scanned again, 15 HU more noise"): _repeated(mm, 15)
        for mm in (150, 80, 40)
    },
    ("glued", "300 mm back and more"): _glued(-np.inf, -300),
    ("glued", "100 to 300 mm back"): _glued(-300, -100),
    ("glued", "40 to 100 mm back"): _glued(-100, -40),
    ("glued", "250 mm ahead and more"): _glued(250, np.inf),
    **{("swapped", f"two slices {mm} mm apart"): _swapped(mm) for mm in (200, 100, 40)},
    **{("swapped", f"two stretches of {mm} mm side by side"): _swapped(mm, mm) for mm in (80, 40)},
    **{("abnormal", f"metal, {mm} mm"): _painted(mm, _metal) for mm in (60, 10)},
    **{("abnormal", f"a mass of {mm} mm"): _painted(mm, _mass(mm)) for mm in (160, 80)},
    **{("abnormal", f"noise of {hu} HU in 20 mm"): _painted(20, _noise(hu)) for hu in (400, 100)},
    ("abnormal", "half the image missing in 10 mm"): _painted(10, _torn),
    **{("abnormal", f"{mm} mm of another level and body"): _foreign(mm) for mm in (40, 5)},
    ("out_of_range", "air"): _volume(lambda hu, pixel_mm, rng: np.full(hu.shape, -1000.0)),
    ("out_of_range", "air with 20 HU of noise"): _volume(
        lambda hu, pixel_mm, rng: rng.normal(-1000, 20, hu.shape)
    ),
    ("out_of_range", "a cylinder of water with 10 HU of noise"): _volume(_cylinder(10, rods=False)),
    ("out_of_range", "a cylinder of water with rods that change"): _volume(
        _cylinder(10, rods=True)
    ),
}


if __name__ == "__main__":
    main()
