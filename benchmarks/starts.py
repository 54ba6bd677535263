"""Four starts of a lesion detector, by how many labels it is given (the paper, Fig. 3c).

Rows go to results/starts.csv, one a tested patient, and results/starts_curve.csv, recall on
validation patients by step.

    python -m benchmarks.starts --data ../shared/ct/torso --work /scratch/starts            # plants lesions, lists scans to pretrain on
    ubr-pretrain ingest $(cat /scratch/starts/planted-torso-6-24-pretraining.txt) --store /scratch/store
    ubr-pretrain fit /scratch/store --out /scratch/ubr
    python -m benchmarks.starts --data ../shared/ct/torso --work /scratch/starts --ubr /scratch/ubr/weights.safetensors
        [--imagenet FILE --imagenet-ubr WEIGHTS --recipe small|paper --steps 600 --shares 0.05 0.1 0.25 1 --seeds 0 1 2 3 4]

--data takes `phantom`, a folder of NIfTI scans or a store, in which lesions are planted, or a
folder in DeepLesion's layout. --ubr are weights that fit trained from a random start,
--imagenet-ubr from ImageNet's; they must not have seen the patients of validation and test, so rows
name the data that they were trained on. ImageNet's own are looked for where torchvision and timm
keep them, or in a FILE; where there are none, this is said and that start is left out. All starts
see the images in the intensity of --ubr. Runs that have rows are skipped, a cut one goes on; at the
end starts are compared (`benchmarks.comparison`). Tested is on the patients of both other splits:
nothing is chosen on the validation one. --position adds two detectors from --ubr whose regions also
get their slice's score: the true one, and scores that were shuffled among the images.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.comparison import ORDER, differences, table
from benchmarks.lesions import lesions, seeded
from benchmarks.rows import append, provenance, read, recorded
from ubr.downstream import finetune, starting_weights
from ubr.downstream.dataset import DeepLesion
from ubr.downstream.detector import batch_norms
from ubr.downstream.evaluation import detect, load_detector
from ubr.downstream.metrics import ImageResult, Recall
from ubr.downstream.positions import Positions, body_positions
from ubr.downstream.recipes import RECIPES, DetectorRecipe
from ubr.weights import Intervals, Machine, Weights, load
from ubr.weights.common.devices import to_device
from ubr.weights.common.runs import read_metrics

CURVE = 4
"""Points of the curve over a run."""


def main() -> None:
    """Train what has no rows, test, append, compare."""
    options = command_line()
    data, scans = lesions(options.data, options.work, options.per_scan, options.studies)
    if not options.ubr:
        raise SystemExit(
            f"give --ubr WEIGHTS, trained on scans that {data} does not validate and test on (of "
            "planted ones, "
            f"{data.name}-pretraining.txt beside them lists those)"
        )
    find_starts(options)
    for share in options.shares:
        for seed in options.seeds:
            chosen = of_steps(options, seed)
            for name in options.starts:
                about = described(options, scans, share, seed, name)
                if not has_rows(about):
                    run_one(options, data, chosen, name, about)
    same = ("data_sha256", "config", "backbone", "intensity")
    print(
        table(
            differences(
                row
                for row in read("starts")
                if all(row[column] == about[column] for column in same)
            )
        )
    )


def command_line() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for planted lesions and runs"
    )
    parser.add_argument("--ubr", type=Path, help="weights of ubr-pretrain fit from a random start")
    parser.add_argument(
        "--imagenet", default="imagenet", help="a file with ImageNet weights of that backbone"
    )
    parser.add_argument(
        "--imagenet-ubr", type=Path, help="weights of ubr-pretrain fit from ImageNet"
    )
    parser.add_argument("--per-scan", type=int, default=6, help="lesions planted a study")
    parser.add_argument("--studies", type=int, default=24, help="studies planted of a scan")
    parser.add_argument("--recipe", default="small", choices=sorted(RECIPES))
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.05, 0.1, 0.25, 1.0],
        help="of the training images",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--position", action="store_true", help="also try the position-aware head")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=ORDER,
        help="only these starts, as when several machines share the work",
    )
    return parser.parse_args()


def find_starts(options: argparse.Namespace) -> None:
    """Sets `given`, weights by their start's name (a random one's are of its seed), and `starts`,
    those that can be had.
    """
    options.given = {
        "ubr": load(options.ubr),
        **({"imagenet+ubr": load(options.imagenet_ubr)} if options.imagenet_ubr else {}),
    }
    for name, weights in options.given.items():
        source, wanted = (
            str(weights.provenance.get("start", {}).get("source", "unknown")),
            "imagenet" if "+" in name else "random",
        )
        if source.startswith("random") != (wanted == "random") or source == "unknown":
            raise SystemExit(
                f"--{name.replace('+', '-')} was trained from the start {source!r}, not "
                f"{wanted}; give other weights"
            )
        ours, theirs = ((w.backbone, w.inputs.intensity()) for w in (options.given["ubr"], weights))
        if ours != theirs:
            raise SystemExit(
                f"--{name.replace('+', '-')} has the backbone and intensity {theirs}, --ubr "
                f"{ours}; train both alike"
            )
    options.inputs = options.given["ubr"].inputs
    options.starts = ["random", "ubr"]
    if "imagenet" in (options.only or ORDER):
        try:
            options.given["imagenet"] = starting_weights(
                options.given["ubr"].backbone, options.imagenet, options.inputs
            )
            options.starts.append("imagenet")
        except ValueError as error:
            print(f"without ImageNet: {error}")
    options.starts += ["imagenet+ubr"] if options.imagenet_ubr else []
    options.starts += ["ubr, position", "ubr, shuffled position"] if options.position else []
    if missing := set(options.only or ()) - set(options.starts):
        raise SystemExit(
            f"--only {', '.join(sorted(missing))}: not among the starts that can be had here: "
            f"{', '.join(options.starts)}"
        )
    options.starts = options.only or options.starts


def described(
    options: argparse.Namespace, scans: dict[str, object], share: float, seed: int, name: str
) -> dict[str, object]:
    """What rows of a training begin with.

    The configuration's digest leaves the seed out, which has its own column.
    """
    weights = options.given.get(name.split(",")[0])
    return {
        **provenance(of_steps(options, 0).sha256(), seed),
        **scans,
        "recipe": options.recipe,
        "share": share,
        "start": name,
        "weights": weights.sha256()[:12] if weights else "",
        "pretraining": pretraining(weights) if weights and "ubr" in name else "",
        "intensity": " ".join(map(str, options.inputs.intensity())),
        "backbone": options.given["ubr"].backbone,
    }


def pretraining(weights: Weights) -> str:
    """What tells a UBR training from others, its start aside: input, length, seed, data."""
    about = weights.provenance
    data = about.get("data", {})
    near = (
        f" and neighbours at {weights.inputs.neighbours_mm:g} mm"
        if weights.inputs.neighbours_mm
        else ""
    )
    length = f"{about.get('steps', '?')} steps, seed {about.get('seed', '?')}"
    return (
        f"{weights.inputs.size_px} px{near}, {length}, {data.get('series', '?')} series "
        f"{str(data.get('fingerprint', '?'))[:12]}"
    )


def of_steps(options: argparse.Namespace, seed: int) -> DetectorRecipe:
    """The recipe with the asked length and seed.

    Frozen norms of a trunk that has any are measured instead: a random start has none to freeze,
    and all starts must be trained alike.
    """
    chosen = seeded(options.recipe, options.steps, seed)
    return (
        dataclasses.replace(chosen, norms="measured")
        if batch_norms(options.given["ubr"].build())
        else chosen
    )


def has_rows(about: dict[str, object]) -> bool:
    """Whether this start was tried with this configuration, data and share."""
    return recorded(
        "starts",
        about,
        ("config", "seed", "data_sha256", "share", "start", "weights", "intensity", "backbone"),
    )


def weights_of(options: argparse.Namespace, name: str, seed: int) -> Weights:
    """The start by its name."""
    given: Weights | None = options.given.get(name.split(",")[0])
    return given or starting_weights(options.given["ubr"].backbone, name, options.inputs, seed)


def run_one(
    options: argparse.Namespace,
    data: Path,
    chosen: DetectorRecipe,
    name: str,
    about: dict[str, object],
) -> None:
    """Train from one start, test, append rows."""
    weights = weights_of(options, name, chosen.seed)
    chosen = dataclasses.replace(chosen, position="position" in name)
    few = {"share": float(str(about["share"])), "seed": chosen.seed}
    train = DeepLesion(
        data, "train", weights.inputs, view=chosen.view, augment=chosen.augment, **few
    )  # type: ignore[arg-type]
    val, test = (
        DeepLesion(data, split, weights.inputs, view=chosen.view) for split in ("val", "test")
    )
    own = str(about["weights"]) or str(chosen.seed)
    folder = (
        options.work
        / f"{options.recipe}-{re.sub('[^a-z]+', '-', name)}-{about['share']}-{own}-{chosen.sha256()[:10]}"
    )
    places = body_positions(weights, train, val, test) if chosen.position else None
    if places and "shuffled" in name:
        values = np.random.default_rng(chosen.seed).permutation(list(places.by_name.values()))
        places = Positions(
            dict(zip(places.by_name, values.tolist(), strict=True)), f"{places.scorer}, shuffled"
        )
    began = time.monotonic()
    run = finetune(
        weights,
        train,
        val,
        folder,
        chosen,
        machine=Machine(devices=1, workers=1),
        intervals=Intervals(validate_every=max(1, chosen.steps // CURVE), checkpoint_every=250),
        positions=places,
    )
    minutes = round((time.monotonic() - began) / 60, 1)
    detector, _, _ = load_detector(run.folder, "last")
    device = to_device(detector, "auto")
    found = by_patient(
        [
            result
            for images in (val, test)
            for result in detect(detector, images, device=device, positions=places)
        ]
    )
    more = {"steps": chosen.steps, "train_images": len(train), "minutes": minutes}
    append("starts_curve", [about | more | point for point in curve(run.folder)])
    append(
        "starts",
        [
            about | more | {"patient": n, "lesions": lesions, "found": hits}
            for n, (lesions, hits) in enumerate(found)
        ],
    )
    hits, count = sum(h for _, h in found), sum(n for n, _ in found)
    print(
        f"share {about['share']:<5} seed {chosen.seed}  {name:<13} recall@5 {hits / count:.4f} "
        f"of {count}",
        flush=True,
    )


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
