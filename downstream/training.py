"""Training a detector: the LightningModule, and `finetune`, which turns a data set and a start into
a run folder.

Which images a step sees, and in which view, are functions of (seed, step), as in pretraining: a run
that was cut goes on from its last checkpoint with the data of the unbroken run, whatever the number
of workers or devices.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ubr.weights import Weights
from ubr.weights.common import runs
from ubr.weights.common.processes import loader_options

from .dataset import DeepLesion, collate
from .detector import Detector, faster_rcnn, measure_norms
from .metrics import FPS, ImageResult, recall_at, sensitivity_at
from .pictures import recall_curves
from .positions import Positions
from .recipes import DetectorRecipe
from .recipes import recipe as named_recipe

SHOWN = 4
"""Images with boxes that validation writes to TensorBoard."""
MEASURED = 96
"""Images over which statistics of norms are measured."""


class Batches(Dataset[tuple[list[Tensor], list[dict[str, Any]]]]):
    """A rank's share of each step's images.

    Every epoch goes through all images in an order of its own.
    """

    def __init__(
        self, data: DeepLesion, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.data, self.batch, self.seed, self.rank, self.world = data, batch, seed, rank, world

    def members(self, step: int) -> list[tuple[int, int]]:
        """(item, epoch) of each image of a step, on all ranks together."""
        n = len(self.data)
        places = range(step * self.batch, (step + 1) * self.batch)
        orders = {
            p // n: np.random.default_rng([self.seed, 3, p // n]).permutation(n) for p in places
        }
        return [(int(orders[p // n][p % n]), p // n) for p in places]

    def __getitem__(self, step: int) -> tuple[list[Tensor], list[dict[str, Any]]]:
        mine = self.members(step)[self.rank :: self.world]
        return collate(self.data.at(item, epoch) for item, epoch in mine)


class LesionDetection(runs.Module):
    """Faster R-CNN on lesions as a LightningModule.

    positions: body position of each image, where the recipe takes them.
    """

    def __init__(
        self,
        detector: Detector,
        recipe: DetectorRecipe,
        train: DeepLesion,
        val: DeepLesion | None = None,
        *,
        workers: int = 0,
        positions: Positions | None = None,
    ) -> None:
        super().__init__()
        self.detector = detector.to(memory_format=torch.channels_last)
        self.recipe, self.train_data, self.val_data, self.workers, self.positions = (
            recipe,
            train,
            val,
            workers,
            positions,
        )
        self.results: list[ImageResult] = []

    def train_dataloader(self) -> DataLoader[tuple[list[Tensor], list[dict[str, Any]]]]:
        """Batches from the step the trainer stands at, also after it restored a checkpoint."""
        r = self.recipe
        batches = Batches(
            self.train_data, r.batch, r.seed, self.global_rank, self.trainer.world_size
        )
        steps = runs.From(self.trainer.global_step, r.steps)
        return DataLoader(batches, batch_size=None, sampler=steps, **loader_options(self.workers))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every rank looks at all images:

        they are few beside training, and recall is then exact.
        """
        if self.val_data is None:
            return []
        return DataLoader(
            self.val_data,
            batch_size=self.recipe.batch,
            collate_fn=collate,
            persistent_workers=self.workers > 0,  # validation comes again and again
            **loader_options(self.workers),
        )

    def forward(self, images: list[Tensor], targets: list[dict[str, Any]], *, train: bool) -> Any:
        given = [{"boxes": t["boxes"], "labels": t["labels"]} for t in targets] if train else None
        places = None
        if self.positions is not None:
            places = torch.tensor(
                [self.positions.by_name[t["key"].name] for t in targets], device=self.device
            )
        return self.detector(images, given, places)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        images, targets = batch
        moved = [
            {
                n: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v
                for n, v in t.items()
            }
            for t in targets
        ]
        return [i.to(device, non_blocking=True) for i in images], moved

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], _: int) -> Tensor:
        """The sum of the four losses of Faster R-CNN."""
        # torchvision draws the proposals that it trains on from the global generator; so they too
        # are a function of (seed, step).
        seed = np.random.SeedSequence(
            [self.recipe.seed, 4, self.trainer.global_step, self.global_rank]
        ).generate_state(1)[0]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            losses = self(*batch, train=True)
        loss: Tensor = torch.stack(list(losses.values())).sum()
        self.log_losses(loss, losses, self.recipe.batch)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.results = []

    def validation_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], index: int) -> None:
        """Detect, map back to the slices, keep; the first images go to TensorBoard."""
        images, targets = batch
        found = self(images, targets, train=False)
        self.results += [result(t, f) for t, f in zip(targets, found, strict=True)]
        if index == 0 and isinstance(self.logger, TensorBoardLogger):
            for i, (image, target, f) in enumerate(
                zip(images[:SHOWN], targets, found, strict=False)
            ):
                self.logger.experiment.add_image(
                    f"val/{i}", _drawn(image, target["boxes"], f["boxes"][:5]), self.global_step
                )

    def on_validation_epoch_end(self) -> None:
        """The paper's recall, and the mean sensitivity at 0.5 to 16 false positives an image."""
        if self.results:
            quality = {
                "val/recall5": recall_at(self.results, k=5),
                "val/froc": float(np.mean(sensitivity_at(self.results, FPS))),
            }
            self.log_dict(
                {name: torch.tensor(value, dtype=torch.float32) for name, value in quality.items()}
            )

    def configure_optimizers(self) -> Any:
        """SGD or AdamW; weight decay on weights only."""
        r = self.recipe
        parameters = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": r.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        optimiser: torch.optim.Optimizer
        if r.optimiser == "sgd":
            optimiser = torch.optim.SGD(groups, lr=r.lr, momentum=r.momentum, fused=True)
        else:
            optimiser = torch.optim.AdamW(groups, lr=r.lr, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, r.rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def result(target: dict[str, Any], found: dict[str, Tensor]) -> ImageResult:
    """What was found in an image beside what is there, in pixels of the slice as it was annotated."""
    key, geometry = target["key"], target["geometry"]
    truth = np.array([b.edges for b in key.boxes])
    pixel_mm = np.array(key.spacing_mm[:2])
    sizes = [
        max(b.diameters_px) * pixel_mm.mean()
        if b.diameters_px
        else ((e[2:] - e[:2]) * pixel_mm).max()
        for b, e in zip(key.boxes, truth, strict=True)
    ]
    boxes = geometry.to_slice(found["boxes"].detach().cpu().double().numpy().reshape(-1, 4))
    types = np.array([b.lesion_type for b in key.boxes], int)
    return ImageResult(
        key.patient,
        truth,
        boxes,
        found["scores"].detach().cpu().double().numpy(),
        types,
        np.array(sizes, float),
    )


def _drawn(image: Tensor, truth: Tensor, found: Tensor) -> Tensor:
    """`[3, H, W]` uint8 with lesions in yellow and detections in blue."""
    from torchvision.utils import draw_bounding_boxes

    picture = (image.detach().cpu().clamp(0, 1) * 255).to(torch.uint8)
    picture = draw_bounding_boxes(picture, truth.cpu(), colors="yellow")
    return draw_bounding_boxes(picture, found.detach().cpu(), colors="deepskyblue")  # type: ignore[no-any-return]


class Best(Callback):
    """`best.pth`: the detector with the highest recall so far, and the step it is from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.value = folder, -1.0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After a cut, the best so far is what the file holds:

        the checkpoint may be older than it.
        """
        path = self.folder / "best.pth"
        about = (
            json.loads(torch.load(path, map_location="cpu", weights_only=True)["about"])
            if path.exists()
            else {"recall5": -1.0, "step": 0}
        )
        if about["step"] <= trainer.global_step:
            self.value = max(self.value, about["recall5"])

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        now = float(trainer.callback_metrics.get("val/recall5", torch.tensor(math.nan)))
        if trainer.is_global_zero and now > self.value and isinstance(module, LesionDetection):
            self.value = now
            save_detector(
                module.detector,
                self.folder / "best.pth",
                {"step": trainer.global_step, "recall5": now},
            )


def save_detector(detector: Detector, path: Path, about: dict[str, Any]) -> None:
    """A detector's state, as `runs.save` does. Opens without executing anything."""
    runs.save(
        {
            "model": {n: t.detach().cpu() for n, t in detector.state_dict().items()},
            "about": json.dumps(about),
        },
        path,
    )


@dataclass(frozen=True)
class Run:
    """A finished training.

    folder: the run's; best, last: detectors; metrics: of the last validation.
    """

    folder: Path
    best: Path
    last: Path
    metrics: dict[str, float]


def finetune(
    weights: Weights,
    train: DeepLesion,
    val: DeepLesion | None,
    out: str | Path,
    recipe: DetectorRecipe | str = "small",
    *,
    accelerator: runs.Accelerator = "auto",
    devices: int | Literal["auto"] = "auto",
    nodes: int = 1,
    workers: int = 1,
    validate_every: int = 250,
    checkpoint_every: int = 250,
    log_every: int = 10,
    positions: Positions | None = None,
    progress: bool = True,
) -> Run:
    """Train a lesion detector from weights into a run folder.

    A run folder that is half done is continued from its last checkpoint; a finished one is returned
    as it is. It holds config.yaml, metrics.jsonl, receipt.txt, tensorboard/, checkpoints/last.ckpt,
    best.pth, last.pth and recall.png.

    Args:
        weights: the start, of this project or `starting_weights(...)`.
        train: images to train on.
        val: images of other patients for recall; none trains without.
        out: the run folder.
        recipe: a complete configuration, or the name of one.
        accelerator: "auto", "cpu", "gpu", "mps".
        devices: GPUs (or processes, on a CPU) a node; "auto" takes all GPUs, one process on a CPU.
        nodes: machines; on SLURM the number that the job has.
        workers: loader processes.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints; what a kill can cost.
        log_every: steps between two lines of metrics.jsonl.
        positions: body position of each image (`body_positions`), for a recipe with position.
        progress: show a progress bar.

    Raises:
        ValueError: an option out of range, patients on both sides, missing positions, or a run
            folder that holds another run.
        TransferError: the trunk did not arrive whole.
    """
    recipe = named_recipe(recipe) if isinstance(recipe, str) else recipe
    runs.at_least(
        1,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        nodes=nodes,
    )
    runs.at_least(0, workers=workers)
    _check_data(weights, recipe, train, val, positions)
    folder, config = Path(out), _config(weights, recipe, train, val, positions)
    last_file, best_file = folder / "last.pth", folder / "best.pth"
    if runs.is_first_process():
        runs.check(folder, config)
    if last_file.exists():
        return Run(
            folder, best_file if best_file.exists() else last_file, last_file, _quality(folder)
        )
    detector, receipt = faster_rcnn(weights, seed=recipe.seed, **recipe.parts())
    module = LesionDetection(detector, recipe, train, val, workers=workers, positions=positions)
    logging.getLogger("lightning.pytorch").setLevel(
        logging.WARNING
    )  # its hints are about other products
    name, count = runs.pick_devices(accelerator, devices)
    if recipe.batch % (world := count * nodes):
        raise ValueError(
            f"a batch of {recipe.batch} images cannot be shared by {world} processes alike; "
            "change --batch or --devices"
        )
    trainer = runs.trainer(
        folder,
        [runs.Record(folder / "metrics.jsonl", log_every, recipe.batch), Best(folder)],
        accelerator=name,
        devices=count,
        nodes=nodes,
        strategy="ddp_find_unused_parameters_true",
        precision=runs.pick_precision(recipe.precision, weights.backbone, name),
        steps=recipe.steps,
        clip_norm=recipe.clip_norm,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        bar=runs.Bar(log_every, {"loss": "train/loss", "recall": "val/recall5"})
        if progress
        else None,
    )
    if runs.is_first_process():
        runs.claim(folder, config)
        (folder / "receipt.txt").write_text(f"{receipt}\n")
    last = folder / "checkpoints" / "last.ckpt"
    if recipe.norms == "measured" and not last.exists():
        measure_norms(detector, _spread(train, recipe.batch))
    runs.train(trainer, module, last)
    runs.check_finite(module)
    trainer.save_checkpoint(last)
    if trainer.is_global_zero:
        about = {
            **config,
            **runs.made_by(trainer),
            "step": trainer.global_step,
            "metrics": _quality(folder),
        }
        if lines := runs.read_metrics(folder, "val/recall5"):
            points = [(line["step"], line["val/recall5"], math.nan, math.nan) for line in lines]
            recall_curves({"validation": points}).savefig(folder / "recall.png", dpi=120)
        save_detector(detector, last_file, about)
    trainer.strategy.barrier("detector")
    return Run(folder, best_file if best_file.exists() else last_file, last_file, _quality(folder))


def _spread(data: DeepLesion, batch: int) -> Iterator[list[Tensor]]:
    """Batches, padded as training's are, of images from all over a data set; the same in every
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


def _check_data(
    weights: Weights,
    recipe: DetectorRecipe,
    train: DeepLesion,
    val: DeepLesion | None,
    positions: Positions | None,
) -> None:
    for name, data, augment in (("train", train, recipe.augment), ("val", val, None)):
        if data is not None and (data.view, data.augment, data.inputs.intensity()) != (
            recipe.view,
            augment,
            weights.inputs.intensity(),
        ):
            raise ValueError(
                f"the {name} images are not made as the recipe and the weights say (view "
                f"{data.view}, augment {data.augment}); "
                "make them with inputs=weights.inputs, view=recipe.view, "
                f"augment={'recipe.augment' if augment else 'None'}"
            )
    keys = [*train.keys, *(val.keys if val else [])]
    if val and (both := {k.patient for k in train.keys} & {k.patient for k in val.keys}):
        raise ValueError(
            f"{len(both)} patients are in both training and validation (patient {min(both)}); "
            "use the official split"
        )
    if recipe.position != (positions is not None):
        raise ValueError(
            f"a recipe with position {recipe.position} got positions {positions is not None}; "
            "make them with body_positions"
        )
    if positions is not None and (
        missing := [k.name for k in keys if k.name not in positions.by_name]
    ):
        raise ValueError(
            f"{len(missing)} of {len(keys)} images have no position, the first is {missing[0]}"
        )


def _config(
    weights: Weights,
    recipe: DetectorRecipe,
    train: DeepLesion,
    val: DeepLesion | None,
    positions: Positions | None,
) -> dict[str, Any]:
    """What makes a run this run and no other: config.yaml."""
    start = weights.provenance.get("start", {})
    data = {
        "train": [dataclasses.astuple(k) for k in train.keys],
        "val": [dataclasses.astuple(k) for k in val.keys] if val else [],
    }
    config = {
        "recipe": recipe.described(),
        "start": {
            "backbone": weights.backbone,
            "weights_sha256": weights.sha256(),
            "start": start,
            "inputs": weights.inputs.to_dict(),
        },
        "data": {
            "sha256": runs.digest(data),
            **{f"{name}_images": len(keys) for name, keys in data.items()},
        },
    }
    if positions is not None:
        config["positions"] = {"scorer_sha256": positions.scorer}
    return dict(json.loads(json.dumps(config)))  # tuples become lists, as they will be read back


def _quality(folder: Path) -> dict[str, float]:
    lines = runs.read_metrics(folder, "val/recall5")
    return {name: lines[-1][f"val/{name}"] for name in ("recall5", "froc")} if lines else {}
