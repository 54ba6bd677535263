"""`finetune`, which turns a data set and a start into a run folder with a lesion detector."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ubr.weights import Weights
from ubr.weights.common import disk, runs
from ubr.weights.common.estimate import Estimate
from ubr.weights.common.execution import Intervals, Machine
from ubr.weights.common.stored import values_sha256
from ubr.weights.common.trainer import is_first_process
from ubr.weights.common.training import Training

from .cards import card
from .dataset import DeepLesion
from .detector import faster_rcnn, measure_norms
from .files import read_about, save_detector
from .module import LesionDetection
from .pictures import recall_curves
from .positions import Positions
from .preflight import refuse_faults
from .recipes import INTERVALS, MACHINE, DetectorRecipe
from .recipes import recipe as named_recipe

MEASURED = 96
"""Images over which statistics of norms are measured."""


class Best(Callback):
    """`best.pth`: the detector with the highest recall so far, and the step it is from."""

    def __init__(self, folder: Path, start: Mapping[str, Any]) -> None:
        self.folder, self.start, self.value = folder, start, -1.0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """On a resume, the best so far is the file's, as the checkpoint may be older than it."""
        path = self.folder / "best.pth"
        about = read_about(path) if path.exists() else {"recall5": -1.0, "step": 0}
        if about["step"] <= trainer.global_step:
            self.value = max(self.value, about["recall5"])

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        now = float(trainer.callback_metrics.get("val/recall5", torch.tensor(math.nan)))
        if trainer.is_global_zero and now > self.value and isinstance(module, LesionDetection):
            self.value = now
            save_detector(
                module.detector,
                self.folder / "best.pth",
                {"start": self.start, "step": trainer.global_step, "recall5": now},
            )


@dataclass(frozen=True)
class Run:
    """A finished training.

    folder: the run's; best, last: detectors; metrics: of the last step.
    """

    folder: Path
    best: Path
    last: Path
    metrics: dict[str, float]


class Finetuning(Training[LesionDetection]):
    """A lesion detector from weights; see `finetune`."""

    result = "last.pth"
    copies = 2
    strategy = "ddp_find_unused_parameters_true"
    shown = {"loss": "train/loss", "recall": "val/recall5"}  # noqa: RUF012
    recipe: DetectorRecipe

    def __init__(
        self,
        folder: Path,
        weights: Weights,
        recipe: DetectorRecipe,
        train: DeepLesion,
        val: DeepLesion | None,
        *,
        positions: Positions | None,
        machine: Machine,
        intervals: Intervals,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.weights, self.recipe, self.positions = weights, recipe, positions
        self.train, self.val, self.parts = train, val, recipe.batch
        self._check_data()
        self._check_positions()
        config = self._config()
        super().__init__(
            folder,
            config,
            recipe,
            weights.backbone,
            images=recipe.batch,
            machine=machine,
            intervals=intervals,
            callbacks=[Best(folder, config["start"]), *callbacks],
        )

    def build(self) -> LesionDetection:
        # A run that resumes was checked when it began.
        if is_first_process() and not (self.folder / "config.yaml").exists():
            sides = [side for side in (self.train, self.val) if side is not None]
            refuse_faults(*sides, progress=self.intervals.progress)
        detector, self.receipt = faster_rcnn(
            self.weights, seed=self.recipe.seed, **self.recipe.parts()
        )
        return LesionDetection(
            detector,
            self.recipe,
            self.train,
            self.val,
            workers=self.machine.workers,
            positions=self.positions,
        )

    def example(self, module: LesionDetection, step: int, parts: int) -> Tensor:
        return module.example_loss(step, parts)

    def check_world(self, processes: int) -> None:
        if self.recipe.batch % processes:
            raise ValueError(
                f"a batch of {self.recipe.batch} images cannot be split evenly over {processes} "
                "processes; change `batch` or `devices`"
            )

    def begin(self, module: LesionDetection, *, resumes: bool) -> None:
        """Write the receipt; measure statistics of norms, which a checkpoint would hold."""
        if is_first_process():
            disk.write_text(self.folder / "receipt.txt", f"{self.receipt}\n")
        if self.recipe.norms == "measured" and not resumes:
            measure_norms(module.detector, _spread(self.train, self.recipe.batch))

    def finish(self, module: LesionDetection, trainer: L.Trainer) -> None:
        """Draw recall over steps, and write the card and the detector."""
        about = {
            **self.config,
            **runs.provenance(trainer),
            "step": trainer.global_step,
            "metrics": _last_quality(self.folder),
        }
        if lines := runs.read_metrics(self.folder, "val/recall5"):
            points = [(line["step"], line["val/recall5"], math.nan, math.nan) for line in lines]
            with disk.whole(self.folder / "recall.png") as part:
                recall_curves({"validation": points}).savefig(part, dpi=120)
        best = self.folder / "best.pth"
        chosen = read_about(best) if best.exists() else None
        text = card(self.weights, self.recipe, self.train, self.val, about, chosen)
        disk.write_text(self.folder / "card.md", text)
        save_detector(module.detector, self.folder / self.result, about)

    def _check_data(self) -> None:
        """Images must be made as recipe and weights say, and patients be on one side only."""
        inputs, view = self.weights.inputs.intensity(), self.recipe.view
        for name, data, augment in (
            ("train", self.train, self.recipe.augment),
            ("val", self.val, None),
        ):
            if data is None:
                continue
            if (data.view, data.augment, data.inputs.intensity()) != (view, augment, inputs):
                raise ValueError(
                    f"the {name} images were not made as recipe and weights require (view "
                    f"{data.view}, augment {data.augment}); make them with "
                    "inputs=weights.inputs, view=recipe.view, "
                    f"augment={'recipe.augment' if augment else 'None'}"
                )
        held_out = {k.patient for k in self.val.keys} if self.val else set()
        if both := held_out & {k.patient for k in self.train.keys}:
            raise ValueError(
                f"{len(both)} patients are in both training and validation (patient {min(both)}); "
                "use the official split"
            )

    def _check_positions(self) -> None:
        """Positions come with a recipe that takes them, and cover all images."""
        if self.recipe.position != (self.positions is not None):
            wanted = self.recipe.position
            told = "missing; make them with body_positions" if wanted else "given; leave them out"
            raise ValueError(
                f"the recipe has position {self.recipe.position}, but positions are {told}"
            )
        if self.positions is None:
            return
        names = [k.name for k in (*self.train.keys, *(self.val.keys if self.val else ()))]
        if missing := [name for name in names if name not in self.positions.by_name]:
            raise ValueError(
                f"{len(missing)} of {len(names)} images have no position, the first is "
                f"{missing[0]}; make them with body_positions"
            )

    def _config(self) -> dict[str, Any]:
        """What identifies a run: config.yaml."""
        data = {
            "train": [dataclasses.astuple(k) for k in self.train.keys],
            "val": [dataclasses.astuple(k) for k in self.val.keys] if self.val else [],
        }
        config = {
            "recipe": self.recipe.described(),
            "start": {
                "backbone": self.weights.backbone,
                "weights_sha256": self.weights.sha256(),
                "start": self.weights.provenance.get("start", {}),
                "inputs": self.weights.inputs.to_dict(),
            },
            "data": {
                "sha256": values_sha256(data),
                **{f"{name}_images": len(keys) for name, keys in data.items()},
            },
        }
        if self.positions is not None:
            config["positions"] = {"scorer_sha256": self.positions.scorer}
        return dict(json.loads(json.dumps(config)))  # tuples become lists, as they are read back


def finetune(
    weights: Weights,
    train: DeepLesion,
    val: DeepLesion | None,
    out: str | Path,
    recipe: DetectorRecipe | str = "small",
    *,
    machine: Machine = MACHINE,
    intervals: Intervals = INTERVALS,
    positions: Positions | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a lesion detector from weights into a run folder.

    A half-done run is resumed from its last checkpoint; a finished one is returned as it is. The
    folder holds config.yaml, metrics.jsonl, receipt.txt, tensorboard/, checkpoints/last.ckpt,
    best.pth, last.pth, card.md and recall.png.

    Args:
        weights: the start, of this project or `starting_weights(...)`.
        train: images to train on.
        val: images of other patients for recall; none trains without.
        out: the run folder.
        recipe: a complete configuration, or the name of one.
        machine: where it runs. Its `place` does not apply: images are read from files.
        intervals: how often it validates, saves and reports.
        positions: body position of each image (`body_positions`), for a recipe with position.
        callbacks: Lightning callbacks that observe the training.

    Raises:
        ValueError: an option out of range, patients on both sides, missing positions, data with a
            fault (`ubr-detect check`), a trunk that takes one image size only, or a run folder
            that holds another run.
        TransferError: the trunk was not transferred completely.
    """
    if machine.place not in ("auto", "file"):
        raise ValueError(
            f"a detector's images are read from files, got place {machine.place!r}; use 'auto'"
        )
    training = Finetuning(
        Path(out),
        weights,
        named_recipe(recipe) if isinstance(recipe, str) else recipe,
        train,
        val,
        positions=positions,
        machine=machine,
        intervals=intervals,
        callbacks=callbacks,
    )
    training.run()
    folder = training.folder
    best, last = folder / "best.pth", folder / training.result
    return Run(folder, best if best.exists() else last, last, _last_quality(folder))


def rehearse(
    weights: Weights,
    train: DeepLesion,
    val: DeepLesion | None,
    out: str | Path,
    recipe: DetectorRecipe,
    *,
    machine: Machine,
    intervals: Intervals,
    scorer: Weights | None = None,
) -> Estimate | None:
    """Refuse what `finetune` would refuse, and estimate what it would need; see
    `Training.rehearse`. Positions, which the scorer would give, are 0 here.
    """
    places = {k.name: 0.0 for data in (train, val) if data is not None for k in data.keys}
    options: dict[str, Any] = {"machine": machine, "intervals": intervals}
    options["positions"] = Positions(places, scorer.sha256()) if scorer else None
    return Finetuning(Path(out), weights, recipe, train, val, **options).rehearse()


def _spread(data: DeepLesion, batch: int) -> Iterator[list[Tensor]]:
    """Batches of images from all over a data set, padded as in training; the same in every
    process.
    """
    chosen = (
        np.random.default_rng(0)
        .permutation(len(data))[: max(MEASURED // batch, 1) * batch]
        .tolist()
    )
    for first in range(
        0, max(1, len(chosen) - batch + 1), batch
    ):  # equal batches, as they weigh alike
        yield [data.at(item, 0)[0] for item in chosen[first : first + batch]]


def _last_quality(folder: Path) -> dict[str, float]:
    lines = runs.read_metrics(folder, "val/recall5")
    return {name: lines[-1][f"val/{name}"] for name in ("recall5", "froc")} if lines else {}
