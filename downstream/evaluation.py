"""A trained detector on a split: a table of detections, metrics with intervals, pictures."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ubr.pretrain.data.deeplesion.images import load_hu, slice_path
from ubr.weights import InputSpec
from ubr.weights.common import disk, runs
from ubr.weights.common.claims import claiming
from ubr.weights.common.processes import loader_options
from ubr.weights.common.progress import progress_bar

from .metrics import FPS, ImageResult, report
from .recipes import DetectorRecipe

if TYPE_CHECKING:
    import torch

    from ubr.weights import Weights

    from .dataset import DeepLesion
    from .detector import Detector
    from .positions import Positions


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation wrote.

    folder: report.json, detections.csv, froc.png, pictures. report: see `metrics.report`.
    """

    folder: Path
    report: dict[str, Any]

    def __str__(self) -> str:
        r = self.report

        def shown(row: dict[str, Any]) -> str:
            value, low, high = (row[name] for name in ("value", "low", "high"))
            return (
                "none"
                if value is None
                else f"{100 * value:.1f} %"
                + ("" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})")
            )

        rows = [
            f"recall of the {r['k']} best  {shown(r['recall'])}",
            f"AP50               {shown(r['ap50'])}",
        ]
        rows += [
            f"at {point['fp_per_image']:>4g} FP per image {shown(point)}" for point in r["froc"]
        ]
        if in_space := r.get("in_space"):
            rows.append(
                f"{in_space['lesions']} lesions in {in_space['scans']} whole scans, "
                f"{in_space['findings']} findings"
            )
            rows += [
                f"at {point['fp_per_scan']:>4g} FP per scan  {shown(point)}"
                for point in in_space["froc"]
            ]
        head = (
            f"{r['images']} images of {r['patients']} patients, {r['lesions']} lesions; "
            "95 % intervals over patients"
        )
        return "\n".join(
            [head, *rows, f"in {self.folder}: report.json, detections.csv, froc.png, pictures"]
        )


def load_detector(run: Path, which: str = "best") -> tuple[Detector, DetectorRecipe, InputSpec]:
    """Load a detector of a run folder, in evaluation mode, with its recipe and input contract.

    Raises:
        ValueError: the run is not finished, or a file does not fit it.
    """
    from ubr.weights import build

    from .detector import bare_detector
    from .files import Config, read_detector

    file, config = run / f"{which}.pth", run / "config.yaml"
    if not file.is_file() or not config.is_file():
        raise ValueError(
            f"{run} holds no {which}.pth with its config.yaml; give a run folder of ubr-detect "
            "train"
        )
    about = runs.read_config(run, Config)
    try:
        recipe = DetectorRecipe.from_described(about["recipe"])
        inputs = InputSpec.from_dict(about["start"]["inputs"])
        net = build(about["start"]["backbone"], any_size=True)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{config} is damaged ({error}); {runs.DAMAGED}") from None
    detector = bare_detector(net, inputs, **recipe.parts())
    stored = read_detector(file)
    try:
        detector.load_state_dict(stored["model"])
    except RuntimeError as error:
        raise ValueError(
            f"{file} does not fit its config.yaml: {' '.join(str(error).split())[:200]}"
        ) from error
    return detector.eval(), recipe, inputs


def scorer_of(run: Path, scorer: str | Path | None) -> Weights | None:
    """The weights whose scores are the positions of a detector; none for one without positions.

    Raises:
        ValueError: the file is missing, not needed, or not the one of the training.
    """
    from ubr.weights import load

    from .files import Config

    trained_with = runs.read_config(run, Config).get("positions", {}).get("scorer_sha256")
    weights = load(scorer) if scorer else None
    if trained_with != (found := weights.sha256() if weights else None):
        right = "give that file as `scorer`" if trained_with else "omit `scorer`"
        raise ValueError(
            f"the detector's positions come from scorer {str(trained_with)[:12]}, got "
            f"{str(found)[:12]}; {right}"
        )
    return weights


def detect(
    detector: Detector,
    data: DeepLesion,
    *,
    device: torch.device,
    workers: int = 1,
    batch: int = 4,
    positions: Positions | None = None,
    progress: bool = True,
) -> list[ImageResult]:
    """Detections on every image of a data set, in pixels of the slices as annotated."""
    import torch
    from torch.utils.data import DataLoader

    from .dataset import collate
    from .module import result

    detector.eval().to(device)
    results = []
    loader = DataLoader(data, batch_size=batch, collate_fn=collate, **loader_options(workers))
    for images, targets in progress_bar(loader, title="detect", unit="batches", show=progress):
        at = (
            torch.tensor([positions.by_name[t["key"].name] for t in targets], device=device)
            if positions is not None
            else None
        )
        with torch.inference_mode():
            found = detector([i.to(device) for i in images], None, at)
        results += [result(t, f) for t, f in zip(targets, found, strict=True)]
    return results


@claiming("out")
def evaluate(
    run: Path,
    data: Path,
    out: Path,
    *,
    split: Literal["train", "val", "test"] = "test",
    which: Literal["best", "last"] = "best",
    workers: int = 1,
    pictures: int = 8,
    scorer: str | Path | None = None,
    scans: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Evaluate a trained detector on a split. The output folder appears once it is complete.

    Args:
        run: a run folder of `ubr-detect train`.
        data: a folder in DeepLesion's layout.
        out: a new folder for report.json, detections.csv, froc.png and pictures.
        split: "train", "val" or "test".
        which: "best" (by recall on the validation images) or "last".
        workers: loader processes.
        pictures: number of slices to draw with their lesions and detections, spread over the split.
        scorer: for a detector that takes positions, the weights file whose scores it was trained
            with.
        scans: also look at every slice of the split's scans, as `predict` does, and score findings
            in 3-D; `data` must be what `plant` wrote with `whole`.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: show a progress bar.

    Raises:
        ValueError: there is no run or no image, `out` is not empty, or the scorer is missing or not
            the one of the training.
    """
    from ubr.weights.common.devices import to_device

    from .dataset import DeepLesion
    from .positions import body_positions, slice_position
    from .prediction.judging import look_at_scans, read_lesions, scan_report
    from .prediction.looking import Looker

    run, out = Path(run), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty, or is a file; give a new folder as `out`")
    if scans:
        read_lesions(data)  # refuses before anything is looked at
    detector, recipe, inputs = load_detector(run, which)
    chosen = to_device(detector, device)
    images = DeepLesion(data, split, inputs, view=recipe.view)
    weights = scorer_of(run, scorer)
    positions = body_positions(weights, images, progress=progress) if weights else None
    results = detect(
        detector, images, device=chosen, workers=workers, positions=positions, progress=progress
    )
    found = {**report(results), "split": split, "which": which}
    if scans:
        position = slice_position(weights) if weights else None
        looker = Looker(detector, inputs, recipe.view, position)
        looked = look_at_scans(looker, data, split, progress=progress)
        found["in_space"] = scan_report([scan.linked() for scan in looked])
    with disk.whole(out) as part:
        part.mkdir()
        _write_detections(part / "detections.csv", images, results)
        _draw(part, images, results, found, pictures)
        (part / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    return Evaluation(out, found)


def _write_detections(path: Path, images: DeepLesion, results: list[ImageResult]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "score", "x1", "y1", "x2", "y2"])
        for key, one in zip(images.keys, results, strict=True):
            for i in one.order:
                writer.writerow(
                    [key.name, f"{one.scores[i]:.5f}", *(f"{v:.2f}" for v in one.predicted[i])]
                )


def _draw(
    out: Path, images: DeepLesion, results: list[ImageResult], found: dict[str, Any], count: int
) -> None:
    from .pictures import draw_detections, froc_curve

    points = [
        (
            p["fp_per_image"],
            *(float("nan") if p[n] is None else p[n] for n in ("value", "low", "high")),
        )
        for p in found["froc"]
    ]
    froc_curve({f"{found['split']}, {found['which']}": points}).savefig(out / "froc.png", dpi=110)
    assert len(points) == len(FPS)
    for i in range(0, len(results), max(1, len(results) // max(1, count)))[:count] if count else ():
        key, one = images.keys[i], results[i]
        low, high = images.inputs.window_hu
        hu = load_hu(slice_path(images.images, key.folder, key.index)).astype(float)
        shown = ((hu - low) / (high - low)).clip(0, 1)
        page = draw_detections(shown, one.truth, one.predicted, one.scores)
        page.savefig(out / f"{key.folder}_{key.index:03d}.png", dpi=90)
