"""A lesion detector as a LightningModule, and its data.

Which images a step sees, and in which view, are functions of (seed, step), as in pretraining. So a
resumed run equals an unbroken one, whatever the number of workers or devices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ubr.weights.common.optimizer import build_optimizer, parameter_groups
from ubr.weights.common.processes import loader_options
from ubr.weights.common.trainer import StepsFrom, TrainingModule

from .dataset import DeepLesion, collate
from .detector import Detector
from .metrics import FPS, ImageResult, recall_at, sensitivity_at
from .positions import Positions
from .recipes import DetectorRecipe

SHOWN = 4
"""Images with boxes that validation writes to TensorBoard."""


class Batches(Dataset[tuple[list[Tensor], list[dict[str, Any]]]]):
    """A rank's share of each step's images. Every epoch shows all images, in its own order."""

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


class LesionDetection(TrainingModule):
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
        steps = StepsFrom(self.trainer.global_step, r.steps)
        return DataLoader(batches, batch_size=None, sampler=steps, **loader_options(self.workers))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Validation images. Every rank sees all: they are few, and recall is then exact."""
        if self.val_data is None:
            return []
        return DataLoader(
            self.val_data,
            batch_size=self.recipe.batch,
            collate_fn=collate,
            persistent_workers=self.workers > 0,  # validation is repeated
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

    def example_loss(self, step: int, images: int) -> Tensor:
        """The loss of a step of so many images."""
        batch = Batches(self.train_data, images, self.recipe.seed)[step]
        losses = self(*self.transfer_batch_to_device(batch, self.device, 0), train=True)
        return torch.stack(list(losses.values())).sum()

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
        """The recipe's optimizer: weight decay on weights only."""
        learning = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        return build_optimizer(parameter_groups(learning, self.recipe), self.recipe)


def result(target: dict[str, Any], found: dict[str, Tensor]) -> ImageResult:
    """What was found in an image beside what is there, in pixels of the slice as it was
    annotated.
    """
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
