"""A trained detector: loaded from its run folder, and shown the images of a data set."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from ubr.weights import InputSpec, build
from ubr.weights.common.processes import loader_options
from ubr.weights.common.progress import progress_bar

from .dataset import DeepLesion, collate
from .detector import Detector, bare_detector
from .metrics import ImageResult
from .module import result
from .positions import Positions
from .recipes import DetectorRecipe


def load_detector(run: Path, which: str = "best") -> tuple[Detector, DetectorRecipe, InputSpec]:
    """Load a detector of a run folder, in evaluation mode, with its recipe and input contract.

    Raises:
        ValueError: the run is not finished, or a file does not fit it.
    """
    import yaml

    file, config = run / f"{which}.pth", run / "config.yaml"
    if not file.is_file() or not config.is_file():
        raise ValueError(
            f"{run} holds no {which}.pth with its config.yaml; give a run folder of ubr-detect "
            "train"
        )
    about = yaml.safe_load(config.read_text())
    recipe, start = DetectorRecipe.from_described(about["recipe"]), about["start"]
    inputs = InputSpec.from_dict(start["inputs"])
    detector = bare_detector(build(start["backbone"], any_size=True), inputs, **recipe.parts())
    state = torch.load(file, map_location="cpu", weights_only=True)["model"]
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{file} does not fit its config.yaml: {' '.join(str(error).split())[:200]}"
        ) from error
    return detector.eval(), recipe, inputs


@torch.inference_mode()
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
    detector.eval().to(device)
    results = []
    loader = DataLoader(data, batch_size=batch, collate_fn=collate, **loader_options(workers))
    for images, targets in progress_bar(loader, title="detect", unit="batches", show=progress):
        at = (
            torch.tensor([positions.by_name[t["key"].name] for t in targets], device=device)
            if positions is not None
            else None
        )
        found = detector([i.to(device) for i in images], None, at)
        results += [result(t, f) for t, f in zip(targets, found, strict=True)]
    return results
