"""Trunks compared without training them: what a linear reading finds in their frozen features.

    python -m benchmarks.probe random imagenet=FILE ubr=WEIGHTS imagenet+ubr=WEIGHTS mine=FILE \\
        --data DATA --work WORK [--lesions FOLDER --seed 1]

A trunk is [NAME=]SOURCE: `random`, `imagenet`, weights of this project or `released`, or a file of
torchvision, timm, detectron2 or a hub. Weights of this project and exports bring their backbone or
contract; other trunks get the contract of --like, and its backbone or that of --backbone. Each
slice goes through its trunk once, and the map is averaged.

* level: ridge regression of the place on the body axis, the median error in mm.
* part: logistic regression of chest, abdomen and pelvis, the share that is right.
* lesion: logistic regression of square patches around lesions and around other places of the body
  in the same slices, the area under the ROC curve.

All are read on patients that the reading was not fitted to, in five folds. Intervals draw patients.
DATA has a catalog.csv of landmarks; --lesions is in DeepLesion's layout, and without it lesions are
planted in DATA. Trunks must not have been trained on these patients; otherwise the result is
optimistically biased. With `--split benchmarks/starts_split.csv` only its patients of the test are
read, as in `benchmarks.starts`. Rows go to results/probe.csv, one per trunk; what has a row is
skipped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import probing
from benchmarks.common.cohort import Cohort, cohort_name, ingest_cohort
from benchmarks.common.commandline import new_parser
from benchmarks.common.landmarks import parts_of
from benchmarks.common.machine import provenance
from benchmarks.common.planted import lesion_folder
from benchmarks.common.rows import append, matching, recorded
from ubr.downstream import starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.slices import View
from ubr.pretrain.data.bank import to_grid
from ubr.pretrain.data.gridding import spaced
from ubr.pretrain.reading.classifier import INVERSE_PENALTY
from ubr.weights import Backbone, Weights, load
from ubr.weights.body import showing
from ubr.weights.files import read_foreign

EVERY_MM = 10.0
"""Slices nearer to each other are alike."""
PATCH_PX = 32
"""At 1 mm: most lesions, and what is around them."""
BATCH = 64
VIEW = View(mm_per_px=1.0)
SAME = "config data_sha256 lesions_sha256 trunk weights".split()


@dataclass(frozen=True)
class Slices:
    """Features `[n, channels]` of slices, with their truth. part: "" where it has none."""

    features: probing.Float
    mm: probing.Float
    part: NDArray[np.str_]
    patients: list[str]


@dataclass(frozen=True)
class Patches:
    """Features `[n, channels]` of patches, and whether they show a lesion."""

    features: probing.Float
    lesion: NDArray[np.bool_]
    patients: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """Read what has no rows, append, show the table."""
    options = parse(argv)
    like = load(options.like)
    trunks = dict(trunk_of(text, like, options) for text in options.trunks)
    cohort = ingest_cohort(options.data, options.work / cohort_name(options.data, 0))
    folder, planted = lesion_folder(
        str(options.lesions or options.data),
        options.work,
        options.per_scan,
        options.studies,
        options.split,
    )
    tested = files_of_test(options.split) if options.split else None
    penalties = f"{probing.PENALTIES.tolist()} {INVERSE_PENALTY}"
    about = f"{EVERY_MM} {PATCH_PX} {VIEW} {probing.FOLDS} {penalties}"
    about += f" {sorted(tested)}" if tested else ""
    shared = {
        **provenance(hashlib.sha256(about.encode()).hexdigest(), options.seed),
        **cohort.columns(),
        "lesions": planted["data"],
        "lesions_sha256": planted["data_sha256"],
    }
    shown = []
    for name, weights in trunks.items():
        columns = {
            **shared,
            "trunk": name,
            "weights": weights.sha256()[:12],
            "backbone": weights.backbone,
            "size_px": weights.inputs.size_px,
        }
        if not recorded("probe", columns, SAME):
            append("probe", [columns | probed(weights, cohort, folder, tested)])
        shown += matching("probe", columns, SAME)[-1:]
    print(table(shown))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("trunks", nargs="+", metavar="[NAME=]SOURCE")
    parser.add_argument("--data", type=Path, required=True, help="CT series with a catalog.csv")
    parser.add_argument("--work", type=Path, required=True, help="for the store and lesions")
    parser.add_argument("--lesions", type=Path, help="a folder in DeepLesion's layout, or scans")
    parser.add_argument("--split", type=Path, help="read only the patients of its test")
    parser.add_argument("--per-scan", type=int, default=6, help="lesions planted per study")
    parser.add_argument("--studies", type=int, default=4, help="studies planted per scan")
    parser.add_argument(
        "--like", default="released", help="weights whose backbone and contract others get"
    )
    parser.add_argument("--backbone", help="of trunks that name none, in place of --like's")
    parser.add_argument(
        "--seed", type=int, default=0, help="of a random trunk; written into every row"
    )
    parser.add_argument(
        "--assume-scale",
        action="store_true",
        help="assume that a file that does not state its scale was trained on that of --like",
    )
    return parser.parse_args(argv)


def trunk_of(text: str, like: Weights, options: argparse.Namespace) -> tuple[str, Weights]:
    """A trunk's name and weights. Exits if the source is not a trunk."""
    name, _, source = text.rpartition("=")
    try:
        if source.startswith("released") or source.endswith(".safetensors"):
            try:
                return name or Path(source).stem, load(source)
            except ValueError:
                if source.startswith("released"):
                    raise
        made = read_foreign(Path(source)).inputs() if Path(source).is_file() else None
        weights = starting_weights(
            options.backbone or like.backbone,
            source,
            made or like.inputs,
            seed=options.seed,
            assume_scale=options.assume_scale,
        )
    except ValueError as error:
        raise SystemExit(f"{text}: {error}") from None
    return name or Path(source).stem, weights


def files_of_test(split: Path) -> frozenset[str]:
    """The names of the scans that a table with the columns file, split tests on."""
    with split.open(newline="", encoding="utf-8") as lines:
        return frozenset(row["file"] for row in csv.DictReader(lines) if row["split"] == "test")


def probed(
    weights: Weights, cohort: Cohort, folder: Path, tested: frozenset[str] | None
) -> dict[str, object]:
    """The columns of a trunk's readings, on the scans of `tested` or on all."""
    began = time.monotonic()
    slices = slices_of(weights, cohort, tested)
    patches = patches_of(weights, folder, ("test",) if tested else ("train", "val", "test"))
    fold = probing.folds_of(slices.patients)
    off = np.abs(probing.read_levels(slices.features, slices.mm, fold) - slices.mm)
    level = probing.with_interval(lambda of: float(np.median(off[of])), slices.patients)
    known = np.flatnonzero(slices.part != "")
    found = probing.read_parts(slices.features[known], slices.part[known], fold[known])
    right = found == slices.part[known]
    whose = [slices.patients[i] for i in known]
    part = probing.with_interval(lambda of: float(right[of].mean()), whose)
    by = probing.folds_of(patches.patients)
    sure = probing.read_lesions(patches.features, patches.lesion, by)
    lesion = probing.with_interval(
        lambda of: probing.auc(patches.lesion[of], sure[of]), patches.patients
    )
    values = {"level_mm": (level, 1), "part_accuracy": (part, 4), "lesion_auc": (lesion, 4)}
    return {
        "slices": len(off),
        "patients": len(set(slices.patients)),
        "patches": len(sure),
        "patch_patients": len(set(patches.patients)),
        **{
            column + end: round(value, digits)
            for column, (three, digits) in values.items()
            for end, value in zip(("", "_low", "_high"), three, strict=True)
        },
        "minutes": round((time.monotonic() - began) / 60, 2),
    }


def slices_of(weights: Weights, cohort: Cohort, tested: frozenset[str] | None) -> Slices:
    """The slices of all series that show a landmark of the axis, `EVERY_MM`."""
    series = [
        row
        for row in cohort.store.usable()
        if cohort.marks(row) and (tested is None or Path(cohort.names[row.key]).name in tested)
    ]
    marks = [{name: float(row.z_mm[i]) for name, i in cohort.marks(row).items()} for row in series]
    axis = probing.body_axis(marks)
    trunk, to_input = weights.build(), weights.inputs.to_input
    features: list[probing.Float] = []
    mm: list[probing.Float] = []
    parts: list[str] = []
    patients: list[str] = []
    for row, of_row in zip(series, marks, strict=True):
        if not set(of_row) & set(axis):
            continue
        taken = showing(row.body, spaced(row.z_mm, EVERY_MM))
        grid = to_grid(cohort.store, row, weights.inputs)[torch.from_numpy(taken)]
        known = parts_of(cohort.marks(row), row.z_mm)
        features.append(pooled(trunk, map(to_input, torch.split(grid, BATCH))))
        mm.append(probing.levels_mm(of_row, row.z_mm, axis)[taken])
        parts += [known.get(int(i), "") for i in taken]
        patients += [row.patient] * len(taken)
    return Slices(np.concatenate(features), np.concatenate(mm), np.array(parts), patients)


def patches_of(weights: Weights, folder: Path, splits: Sequence[str]) -> Patches:
    """A patch around each lesion, and as many elsewhere in the body of the same slices."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (weights.inputs.mean, weights.inputs.std))
    patches: list[Tensor] = []
    lesion: list[bool] = []
    patients: list[str] = []
    for split in splits:
        images = DeepLesion(folder, split, weights.inputs, view=VIEW)
        for i, key in enumerate(images.keys):
            image, target = images[i]
            boxes = target["boxes"].numpy()
            lesions = (boxes[:, :2] + boxes[:, 2:]) / 2
            for centre, is_lesion in [
                *((one, True) for one in lesions),
                *((one, False) for one in elsewhere(image, lesions, len(patients))),
            ]:
                patches.append((patch(image, centre) - mean) / std)
                lesion.append(is_lesion)
                patients.append(str(key.patient))
    features = pooled(weights.build(), torch.split(torch.stack(patches), BATCH))
    return Patches(features, np.array(lesion), patients)


def elsewhere(image: Tensor, lesions: probing.Float, seed: int) -> list[NDArray[np.intp]]:
    """As many (x, y) in the body as there are lesions, a patch away from each of them.

    Fewer where the body has no such place.
    """
    y, x = np.nonzero(image[0].numpy() > image[0].numpy().min())
    places = np.stack([x, y], axis=1)
    far = np.abs(places[:, None] - lesions).max(axis=2).min(axis=1) >= PATCH_PX
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(far))[: len(lesions)]
    return list(places[chosen])


def patch(image: Tensor, centre: NDArray[np.floating]) -> Tensor:
    """`[3, PATCH_PX, PATCH_PX]` of an image; what lies outside repeats its edge."""
    half = PATCH_PX // 2
    x, y = (
        torch.arange(round(at) - half, round(at) + half).clamp(0, side - 1)
        for at, side in zip(centre.tolist(), (image.shape[2], image.shape[1]), strict=True)
    )
    return image[:, y][:, :, x]


def pooled(trunk: Backbone, inputs: Iterable[Tensor]) -> probing.Float:
    """The maps of a trunk, averaged: `[n, channels]`."""
    with torch.inference_mode():
        return torch.cat([trunk(batch).mean(dim=(2, 3)) for batch in inputs]).double().numpy()


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows as text."""
    head = f"{'trunk':<16}{'level mm':>22}{'part %':>22}{'lesion AUC':>24}{'minutes':>9}"
    lines = [head]
    for row in rows:
        cells = []
        for column, factor, form in (
            ("level_mm", 1, ".1f"),
            ("part_accuracy", 100, ".1f"),
            ("lesion_auc", 1, ".3f"),
        ):
            one, low, high = (
                format(factor * float(row[column + end]), form) for end in ("", "_low", "_high")
            )
            cells.append(f"{one} ({low} to {high})")
        lines.append(
            f"{row['trunk']:<16}{cells[0]:>22}{cells[1]:>22}{cells[2]:>24}{row['minutes']:>9}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
