"""Four starts of a lesion detector, by how many labels it is given (the paper, Fig. 3c).

Plant lesions, and list the scans to pretrain on:

    python -m benchmarks.starts --data /data/ct/torso --work /scratch/starts

Pretrain on these:

    ubr-pretrain ingest $(cat /scratch/starts/planted-torso-6-24-pretraining.txt) \\
        --store /scratch/store
    ubr-pretrain fit /scratch/store --out /scratch/ubr

Compare starts:

    python -m benchmarks.starts --data /data/ct/torso --work /scratch/starts \\
        --ubr /scratch/ubr/weights.safetensors \\
        [--imagenet FILE --imagenet-ubr WEIGHTS --start NAME=FILE --steps 600 \\
        --shares 0.05 0.1 0.25 1 --seeds 0 1 2 3 4]

`--split benchmarks/starts_split.csv` tests on sixteen patients of the torsos that this project
develops with; five are for validation, and seventeen are learned from. Choose between pretrainings
with `--validate-only`: it does not look at the patients of the test, and its curves go to
results/starts_choice.csv.

Rows go to results/starts.csv, one per tested patient at a quarter of the steps and at the end, and
to results/starts_curve.csv, recall on a quarter of the validation images by step. --data takes
`phantom`, a folder of NIfTI scans or a store, in which lesions are planted, or a folder in
DeepLesion's layout. --ubr takes weights that fit trained from a random start, --imagenet-ubr from
ImageNet's. They must not have seen the patients of validation and test, so rows name the data that
they were trained on. ImageNet's own weights are looked for where torchvision and timm keep them, or
in a FILE; if there are none, a line says so and that start is left out. All starts see the images
in the intensity of --ubr.

`{seed}` in --ubr and --imagenet-ubr stands for the seed: then every detector has a pretraining of
its own, and intervals contain what pretrainings differ by. Work is done seed by seed, all starts
together, so whatever has been done when it is cut is balanced.

Runs that have rows are skipped; a run that was interrupted resumes. At the end, starts are compared
(`benchmarks.common.comparison`). Without --split, the patients of validation are tested, too:
nothing is chosen on them. --position adds two detectors from --ubr whose regions also get the score
of their slice: the true one, and scores that were shuffled among the images.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from benchmarks.common.commandline import new_parser
from benchmarks.common.comparison import ALIKE, as_text, differences, moments
from benchmarks.common.given_starts import Starts, find_starts, start_columns
from benchmarks.common.machine import provenance
from benchmarks.common.planted import add_lesion_options, lesion_folder, seeded
from benchmarks.common.rows import append, matching, recorded
from ubr.downstream import finetune
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.evaluation import detect, load_detector
from ubr.downstream.files import save_detector
from ubr.downstream.metrics import ImageResult, Recall
from ubr.downstream.module import LesionDetection
from ubr.downstream.positions import Positions, body_positions
from ubr.downstream.recipes import RECIPES, DetectorRecipe
from ubr.weights import Intervals, Machine
from ubr.weights.common.devices import to_device
from ubr.weights.common.runs import read_metrics
from ubr.weights.norms import batch_norms

CURVE = 0.25
"""Share of the validation images that a curve is measured on; all would take a third of a run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train what has no rows, test, append, compare."""
    options = parse(argv)
    data, scans = lesion_folder(
        options.data, options.work, options.per_scan, options.studies, options.split
    )
    if not options.ubr:
        raise SystemExit(
            f"give --ubr WEIGHTS, trained on scans that {data} does not validate and test on (of "
            "planted ones, "
            f"{data.name}-pretraining.txt beside them lists those)"
        )
    of_seed = {seed: find_starts(options, seed) for seed in options.seeds}
    columns: dict[str, object] = {}
    for seed, starts in of_seed.items():
        digest = recipe_of(options, starts, 0).sha256()  # the seed has its own column
        recipe = recipe_of(options, starts, seed)
        for share in options.shares:
            for name in starts.names:
                columns = {
                    **provenance(digest, seed),
                    **scans,
                    "recipe": options.recipe,
                    "share": share,
                    **start_columns(starts, name),
                }
                if not has_rows(columns, "starts_choice" if options.validate_only else "starts"):
                    run_one(starts, data, options, recipe, columns)
    if not options.validate_only:
        for when, rows in moments(matching("starts", columns, ALIKE)).items():
            print(f"{when}:\n{as_text(differences(rows))}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    add_lesion_options(parser)
    parser.add_argument("--ubr", help="weights of ubr-pretrain fit from a random start")
    parser.add_argument(
        "--imagenet", default="imagenet", help="a file with ImageNet weights of that backbone"
    )
    parser.add_argument("--imagenet-ubr", help="weights of ubr-pretrain fit from ImageNet")
    parser.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="also compare a trunk of that network from a file (torchvision, timm, detectron2, or "
        "of this project); may be repeated",
    )
    parser.add_argument(
        "--assume-scale",
        action="store_true",
        help="assume that a --start that does not state its scale was trained on --ubr's",
    )
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.05, 0.1, 0.25, 1.0],
        help="of the training images",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--points", type=int, default=4, help="how often a run is tested on validation patients"
    )
    parser.add_argument(
        "--validate-only",
        action="store_true",
        help="only write the curve on validation patients, to choose a pretraining by",
    )
    parser.add_argument("--position", action="store_true", help="also try the position-aware head")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="START",
        help="only these starts, as when several machines share the work",
    )
    return parser.parse_args(argv)


def recipe_of(options: argparse.Namespace, starts: Starts, seed: int) -> DetectorRecipe:
    """The recipe with the length that is asked for, and a seed.

    If the trunk has batch norms, they are measured instead of frozen: a random start has none to
    freeze, and all starts must be trained alike.
    """
    chosen = seeded(options.recipe, options.steps, seed)
    if batch_norms(starts.given["ubr"].build()):
        return dataclasses.replace(chosen, norms="measured")
    return chosen


def has_rows(columns: Mapping[str, object], table: str) -> bool:
    """Whether this start was tried with this configuration, data and share."""
    same = "config seed data_sha256 share start weights intensity backbone"
    return recorded(table, columns, same.split())


def run_one(
    starts: Starts,
    data: Path,
    options: argparse.Namespace,
    recipe: DetectorRecipe,
    columns: Mapping[str, object],
) -> None:
    """Train from one start, test, append rows."""
    name, share = str(columns["start"]), float(str(columns["share"]))
    weights = starts.weights(name, recipe.seed)
    recipe = dataclasses.replace(recipe, position="position" in name)
    train = DeepLesion(
        data,
        "train",
        weights.inputs,
        view=recipe.view,
        augment=recipe.augment,
        share=share,
        seed=recipe.seed,
    )
    val, test = (
        DeepLesion(data, split, weights.inputs, view=recipe.view) for split in ("val", "test")
    )
    on_curve = DeepLesion(data, "val", weights.inputs, view=recipe.view, share=CURVE)
    own = str(columns["weights"]) or str(recipe.seed)
    start = re.sub("[^a-z]+", "-", name)
    run = f"{columns['recipe']}-{start}-{columns['share']}-{own}-{recipe.sha256()[:10]}"
    positions = body_positions(weights, train, val, test) if recipe.position else None
    if positions and "shuffled" in name:
        positions = shuffled(positions, recipe.seed)
    began = time.monotonic()
    early = max(1, recipe.steps // 4)
    finished = finetune(
        weights,
        train,
        on_curve,
        options.work / run,
        recipe,
        machine=Machine(devices=1, workers=1),
        intervals=Intervals(max(1, recipe.steps // options.points), checkpoint_every=250),
        positions=positions,
        callbacks=[KeepAt(early)],
    )
    minutes = round((time.monotonic() - began) / 60, 1)
    more = {**columns, "steps": recipe.steps, "train_images": len(train), "minutes": minutes}
    table = "starts_choice" if options.validate_only else "starts_curve"
    if not has_rows(columns, table):
        append(table, [more | point for point in curve(finished.folder)])
    if options.validate_only:
        return
    rows = []
    for step, which in ((early, KeepAt.name), (recipe.steps, "last")):
        tested = tested_on(
            finished.folder, which, (test,) if options.split else (val, test), positions
        )
        rows += [more | {"step": step} | row for row in tested]
    append("starts", rows)
    hits, count = (sum(row[column] for row in tested) for column in ("found", "lesions"))
    print(
        f"share {columns['share']:<5} seed {recipe.seed}  {name:<13} recall@5 "
        f"{hits / count:.4f} of {count}",
        flush=True,
    )


class KeepAt(Callback):
    """Keeps the detector as it is at a step, beside those that a run keeps."""

    name = "early"

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if trainer.global_step == self.step and isinstance(module, LesionDetection):
            path = Path(trainer.default_root_dir) / f"{self.name}.pth"
            save_detector(module.detector, path, {"step": self.step})


def tested_on(
    run: Path, which: str, sides: Sequence[DeepLesion], positions: Positions | None
) -> list[dict[str, int]]:
    """What a detector of a run finds: a row for each patient."""
    detector, _, _ = load_detector(run, which)
    device = to_device(detector, "auto")
    results: list[ImageResult] = []
    for images in sides:
        results += detect(detector, images, device=device, positions=positions)
    return [
        {"patient": patient, "lesions": lesions, "found": hits}
        for patient, (lesions, hits) in enumerate(by_patient(results))
    ]


def shuffled(positions: Positions, seed: int) -> Positions:
    """The same scores, each given to another image."""
    values = np.random.default_rng(seed).permutation(list(positions.by_name.values()))
    by_name = dict(zip(positions.by_name, values.tolist(), strict=True))
    return Positions(by_name, f"{positions.scorer}, shuffled")


def by_patient(results: Sequence[ImageResult]) -> list[tuple[int, int]]:
    """Lesions of each patient, and how many of them the 5 best detections of their images find."""
    found = []
    for patient in sorted({result.patient for result in results}):
        mine = [result for result in results if result.patient == patient]
        lesions = sum(len(result.truth) for result in mine)
        found.append((lesions, round(float(Recall(k=5).on(mine)(np.ones(len(mine)))[0]) * lesions)))
    return found


def curve(folder: Path) -> list[dict[str, object]]:
    """Recall on the validation patients over a run."""
    return [
        {"step": line["step"], "val_recall5": round(line["val/recall5"], 4)}
        for line in read_metrics(folder, "val/recall5")
    ]


if __name__ == "__main__":
    main()
