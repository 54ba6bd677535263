"""What changes of a scan do to its scores, on patients the model has not seen.

    python -m benchmarks.robustness --data /data/ct --work /scratch/learning \\
        [--recipe default --seed 0]

Rows go to results/robustness.csv. --work is that of benchmarks.learning, whose models are taken, of
as many folds as there are: each series is scored by the one that was trained without its patient. A
change is made to the volume in HU, before the body is looked for. The score of each slice is
compared with that of the plain slice; the difference is given in mm, by the slope of the plain
curves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.common.cohort import Cohort, is_head
from benchmarks.common.cohort_options import CohortOptions, cohort_options, cohort_parser
from benchmarks.common.folds import FOLDS, held_out_patients, run_folder, trained_regressor
from benchmarks.common.painting import to_int16
from benchmarks.common.rows import append
from ubr.pretrain.data.store import SeriesRow
from ubr.weights import Regressor
from ubr.weights.common.hu import AIR_HU
from ubr.weights.scorer import score_slices

HU = NDArray[np.int16]
Spacing = tuple[float, float, float]
EVERY = 3
"""Slices between two that are compared."""


def main(argv: Sequence[str] | None = None) -> None:
    """Change, score, compare, append rows."""
    options = cohort_options(cohort_parser(__doc__).parse_args(argv))
    cohort = options.cohort()
    folds = trained_folds(options)
    plain: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    apart: dict[str, list[NDArray[np.float64]]] = {name: [] for name in CHANGES}
    for regressor, series in held_out_trunks(options, cohort, folds):
        hu, spacing = cohort.store.read(series.key), series.spacing_mm
        before = _scored(regressor, hu, spacing)
        plain.append((before, series.z_mm))
        for name, change in CHANGES.items():
            after = _scored(regressor, change(hu, spacing), spacing)
            apart[name].append(np.abs(after - before)[::EVERY])
    s, z = ([v - v.mean() for v in values] for values in zip(*plain, strict=True))
    slope = sum(float(a @ b) for a, b in zip(s, z, strict=True)) / sum(float(b @ b) for b in z)
    rows = []
    for name, values in apart.items():
        mm = np.concatenate(values) / abs(slope)
        quantiles = {f"q{q}_mm": round(float(np.quantile(mm, q / 100)), 1) for q in (50, 90)}
        seen = {"folds": " ".join(folds), "series": len(values), "slices": len(mm)}
        rows.append({**options.columns(cohort), "change": name, **seen, **quantiles})
        print(
            f"{name:24} median {quantiles['q50_mm']:6.1f} mm, 90 % within "
            f"{quantiles['q90_mm']:6.1f} mm"
        )
    print(f"rows in {append('robustness', rows)}")


def trained_folds(options: CohortOptions) -> list[str]:
    """The folds that are asked for and have a model. Exits if there is none."""
    found = [
        fold
        for fold in ([options.fold] if options.fold else FOLDS)
        if (run_folder(options.runs, options.recipe, fold) / "weights.safetensors").exists()
    ]
    if not found:
        raise SystemExit(
            f"{options.work} holds no model of this recipe; run benchmarks.learning with these "
            "options first"
        )
    return found


def held_out_trunks(
    options: CohortOptions, cohort: Cohort, folds: Sequence[str]
) -> Iterator[tuple[Regressor, SeriesRow]]:
    """The series of trunks that these folds hold out, each with the model of its fold."""
    held_out_by = held_out_patients(cohort)
    for fold in folds:
        held_out = held_out_by[fold]
        folder = run_folder(options.runs, options.recipe, fold)
        regressor = trained_regressor(folder, cohort, options.recipe, held_out)
        for series in cohort.store.usable():
            is_trunk = not is_head(cohort.names[series.key])
            if series.patient in held_out and is_trunk and series.slices >= 3 * EVERY:
                yield regressor, series


def _scored(regressor: Regressor, hu: HU, spacing_mm: Spacing) -> NDArray[np.float64]:
    z_mm = spacing_mm[0] * np.arange(len(hu), dtype=float)
    scores = score_slices(regressor, np.ascontiguousarray(hu), spacing_mm, z_mm)
    return scores.astype(np.float64)


def _inside(hu: HU) -> NDArray[np.bool_]:
    """The body in each slice: the largest region above -400 HU, filled."""
    masks = np.zeros(hu.shape, bool)
    for mask, plane in zip(masks, hu, strict=True):
        labels, count = ndimage.label(ndimage.binary_opening(plane > -400, iterations=2))
        if count:
            mask |= ndimage.binary_fill_holes(
                labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
            )
    return masks


def _field(mm: float) -> Callable[[HU, Spacing], HU]:
    def change(hu: HU, spacing_mm: Spacing) -> HU:
        """Cut to a square around the middle, or put into a larger one of air."""
        for axis in (1, 2):
            n, wanted = hu.shape[axis], max(8, round(mm / spacing_mm[axis]))
            if wanted < n:
                hu = np.take(hu, np.arange((n - wanted) // 2, (n - wanted) // 2 + wanted), axis)
            else:
                width = [(0, 0)] * 3
                width[axis] = ((wanted - n) // 2, wanted - n - (wanted - n) // 2)
                hu = np.pad(hu, width, constant_values=AIR_HU)
        return hu

    return change


def _noise(sigma_hu: float) -> Callable[[HU, Spacing], HU]:
    return lambda hu, spacing_mm: to_int16(
        hu + np.random.default_rng(0).normal(0, sigma_hu, hu.shape)
    )


def _thick(mm: float) -> Callable[[HU, Spacing], HU]:
    """Each slice is the mean over this thickness, as a scanner that sums would give it."""
    return lambda hu, spacing_mm: to_int16(
        ndimage.uniform_filter1d(hu.astype(np.float32), max(1, round(mm / spacing_mm[0])), 0)
    )


def _no_table(hu: HU, spacing_mm: Spacing) -> HU:
    return np.where(_inside(hu), hu, np.int16(AIR_HU))


def _table(hu: HU, spacing_mm: Spacing) -> HU:
    """A slab of 15 mm and 100 HU under the lowest row of the body, as wide as the image."""
    rows = np.flatnonzero(_inside(hu).any((0, 2)))
    below, thick = (
        (int(rows[-1]) + 2 if len(rows) else hu.shape[1]),
        max(1, round(15 / spacing_mm[1])),
    )
    out = np.pad(
        hu, ((0, 0), (0, max(0, below + thick + 2 - hu.shape[1])), (0, 0)), constant_values=AIR_HU
    )
    out[:, below : below + thick] = 100
    return out


def _arms(hu: HU, spacing_mm: Spacing) -> HU:
    """Arms beside the trunk in every slice: discs of 90 mm with a bone of 25 mm.

    They lie 15 mm from the skin.
    """
    wide = round(120 / spacing_mm[2])
    out = np.pad(hu, ((0, 0), (0, 0), (wide, wide)), constant_values=AIR_HU)
    body = _inside(out)
    columns, rows = np.flatnonzero(body.any((0, 1))), np.flatnonzero(body.any((0, 2)))
    if not len(columns):
        return out
    y, x = (np.arange(n) * s for n, s in zip(out.shape[1:], spacing_mm[1:], strict=True))
    middle = rows.mean() * spacing_mm[1]
    for at in (columns[0] * spacing_mm[2] - 60, columns[-1] * spacing_mm[2] + 60):
        far = np.hypot(y[:, None] - middle, x[None] - at)
        out[:, far < 45] = 50
        out[:, far < 12.5] = 700
    return out


def _metal(hu: HU, spacing_mm: Spacing) -> HU:
    """Two rods of 20 mm in the body, 120 mm apart, with a dark band between them."""
    y, x = (np.arange(n) * s for n, s in zip(hu.shape[1:], spacing_mm[1:], strict=True))
    middle_y, middle_x = y.mean(), x.mean()
    band = (np.abs(y[:, None] - middle_y) < 8) & (np.abs(x[None] - middle_x) < 150)
    out = hu.astype(np.float32) - 250 * band
    for at in (-60, 60):
        out[:, np.hypot(y[:, None] - middle_y, x[None] - middle_x - at) < 10] = 3071
    return to_int16(out)


def _contrast(hu: HU, spacing_mm: Spacing) -> HU:
    """Contrast medium: soft tissue of 20 to 130 HU is brightened by 60 HU, bone and fat are not."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), (0, 1, 1))
    return to_int16(hu + 60 * ((smooth > 20) & (smooth < 130)))


CHANGES: dict[str, Callable[[HU, Spacing], HU]] = {
    "mirrored left to right": lambda hu, spacing_mm: hu[:, :, ::-1],
    "mirrored front to back": lambda hu, spacing_mm: hu[:, ::-1],
    "field of view 180 mm": _field(180),
    "field of view 300 mm": _field(300),
    "field of view 650 mm": _field(650),
    "noise of 20 HU": _noise(20),
    "noise of 60 HU": _noise(60),
    "table removed": _no_table,
    "table added": _table,
    "arms added": _arms,
    "metal": _metal,
    "contrast medium": _contrast,
    "slices 5 mm thick": _thick(5),
    "slices 8 mm thick": _thick(8),
}


if __name__ == "__main__":
    main()
