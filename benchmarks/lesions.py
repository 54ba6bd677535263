"""A lesion detector on planted lesions in real CT, from one start: rows in results/lesions.csv.

    python -m benchmarks.lesions --data ../shared/ct/torso --work /scratch/lesions [--weights runs/first/weights.safetensors] [--seed 1]

--data takes `phantom`, a folder of NIfTI scans or a store, in which lesions are planted, or a
folder in DeepLesion's layout. Patients of the test split are seen neither in training nor when the
best step is chosen.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from benchmarks.rows import append, provenance
from ubr.downstream import check, plant, starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.evaluation import evaluate
from ubr.downstream.planting.scans import find_scans
from ubr.downstream.recipes import RECIPES, DetectorRecipe, recipe
from ubr.downstream.training import finetune
from ubr.pretrain.data.scans import is_store
from ubr.pretrain.phantom.files import phantoms
from ubr.weights import InputSpec, load

KINDS = ("abdomen", "mediastinum", "liver", "lung", "kidney")
"""DeepLesion's types that planted lesions have; the first two are nodes."""
PHANTOMS = 64
PHANTOM_PX = 256
"""1.5 to 2 mm a pixel: small lesions are some pixels wide."""


def main() -> None:
    """Train, judge, append a row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for planted lesions and runs"
    )
    parser.add_argument("--per-scan", type=int, default=6, help="lesions planted a study")
    parser.add_argument("--studies", type=int, default=24, help="studies planted of a scan")
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--weights", type=Path, help="start from a weights file")
    parser.add_argument(
        "--start", default="random", help="else from random, random:msra, imagenet or a file"
    )
    parser.add_argument("--backbone", default="timm/resnet18")
    parser.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar="HU",
        default=InputSpec().window_hu,
        help="of a start without weights",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    data, about = lesions(options.data, options.work, options.per_scan, options.studies)
    chosen = seeded(options.recipe, options.steps, options.seed)
    inputs = InputSpec(window_hu=tuple(options.window))
    weights = (
        load(options.weights)
        if options.weights
        else starting_weights(options.backbone, options.start, inputs, options.seed)
    )
    train = DeepLesion(data, "train", weights.inputs, view=chosen.view, augment=chosen.augment)
    val = DeepLesion(data, "val", weights.inputs, view=chosen.view)
    start = "ubr" if options.weights else "file" if Path(options.start).is_file() else options.start
    folder = options.work / f"{options.recipe}-{weights.sha256()[:8]}-{chosen.sha256()[:8]}"
    began, whole = time.monotonic(), not folder.exists()
    run = finetune(weights, train, val, folder, chosen, devices=1, validate_every=chosen.steps)
    minutes = (time.monotonic() - began) / 60
    judged = evaluate(run.folder, data, folder / f"test-{time.strftime('%H%M%S')}", split="test")
    r = judged.report
    row = {
        **provenance(chosen.sha256(), chosen.seed),
        **about,
        "recipe": options.recipe,
        "backbone": weights.backbone,
        "start": start,
        "window_hu": "{:g} {:g}".format(*weights.inputs.window_hu),
        "steps": chosen.steps,
        "train_images": len(train),
        "test_images": r["images"],
        "test_patients": r["patients"],
        "test_lesions": r["lesions"],
        **{
            f"recall5{n}": _rounded(r["recall"][v])
            for n, v in (("", "value"), ("_low", "low"), ("_high", "high"))
        },
        **{f"recall5_{kind}": _rounded(r["recall_by_type"][kind]["value"]) for kind in KINDS},
        "ap50": _rounded(r["ap50"]["value"]),
        **{f"sensitivity_{p['fp_per_image']:g}": _rounded(p["value"]) for p in r["froc"]},
        "minutes": round(minutes, 1)
        if whole
        else "",  # of a run that went on, only a part is known
    }
    print(judged)
    print(f"row in {append('lesions', [row])}")


def seeded(name: str, steps: int | None, seed: int) -> DetectorRecipe:
    """The recipe of this name with a seed, and in other steps than its own if they are given."""
    chosen = recipe(name)
    augment = dataclasses.replace(chosen.augment, seed=seed)
    return dataclasses.replace(chosen, steps=steps or chosen.steps, seed=seed, augment=augment)


def lesions(given: str, work: Path, per_scan: int, studies: int) -> tuple[Path, dict[str, object]]:
    """A folder in DeepLesion's layout, `given` itself or lesions planted in its scans; and the
    columns that say whose they are.

    Beside planted ones, `<folder>-pretraining.txt`, which is written last, lists the scans that may
    be learned from without labels: all but those of patients who are validated or tested on.
    """
    data = Path(given)
    name = data.resolve().name
    if not (data / "DL_info.csv").is_file():
        planted = work / f"planted-{name}-{per_scan}-{studies}"
        listed = planted.with_name(f"{planted.name}-pretraining.txt")
        if not listed.is_file():
            try:
                if given == "phantom":
                    data = phantoms(
                        work / "phantom", n=PHANTOMS, form="nifti", size_px=PHANTOM_PX
                    ).folder
                scans = find_scans(data)
                made = plant(scans, planted, per_scan=per_scan, studies=studies)
            except ValueError as error:
                raise SystemExit(str(error)) from None
            free = [
                str(Path(scan.source).resolve())
                for scan in scans.unread
                if not is_store(data) and made.split.get(scan.patient, "train") == "train"
            ]
            listed.write_text("\n".join(free) + "\n")
            print(made)
        data = planted
    report = check(data)
    if not report.ok:
        raise SystemExit(report.table())
    return data, {"data": name, "data_sha256": report.digest[:12]}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
