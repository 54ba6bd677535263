"""The method as a LightningModule: its data, its losses, its validation.

A step's slices and their views are functions of (seed, step), and the loader asks the trainer for
the step it stands at. So a resumed run equals an unbroken one, whatever the number of workers, and
W GPUs see the groups that one would see. Losses are sums over groups (or their mean over all G),
and DDP averages gradients over ranks, hence the factor W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ubr.weights import Head, Regressor
from ubr.weights.common.execution import Place
from ubr.weights.common.optimizer import build_optimizer, parameter_groups
from ubr.weights.common.pool import cores
from ubr.weights.common.processes import loader_options
from ubr.weights.common.trainer import StepsFrom, TrainingModule
from ubr.weights.norms import hold_norms
from ubr.weights.receipts import copy_into

from .data.bank import SliceBank, grid_folder, prepare
from .data.store import SeriesRow, Store
from .losses import distance_loss, order_loss, position_loss
from .reading.curve import line_errors_mm, ordered_share, pearson_r
from .recipes import Recipe
from .sampler import SliceSampler, even_sizes

VALIDATION_SLICES = 64
"""Equidistant slices of each held-out volume that validation scores: enough for r, and cheap."""
VALIDATION_VOLUMES = 64
"""Held-out volumes that validation scores, at most."""


@dataclass
class Batch:
    """A step's groups of one rank.

    rows: `[G', M]` in the bank. z_mm: `[G', M]` position in the volume. hu: `[G', M, T, T]` int16,
    or None where the bank is on the device.
    """

    step: int
    rows: Tensor
    z_mm: Tensor
    hu: Tensor | None


class Steps(Dataset[Batch]):
    """Training batches by step number."""

    def __init__(
        self, sampler: SliceSampler, bank: SliceBank, rank: int = 0, world: int = 1
    ) -> None:
        self.sampler, self.bank, self.rank, self.world = sampler, bank, rank, world

    def __getitem__(self, step: int) -> Batch:
        volumes, slices = self.sampler.groups(step)
        mine = slice(self.rank, None, self.world)
        rows = torch.from_numpy(self.bank.offsets[volumes[mine], None] + slices[mine])
        z_mm = torch.from_numpy(
            np.stack(
                [self.sampler.z_mm[v][s] for v, s in zip(volumes[mine], slices[mine], strict=True)]
            )
        )
        return Batch(
            step, rows, z_mm.float(), None if self.bank.place == "gpu" else self.bank.gather(rows)
        )


class UBR(TrainingModule):
    """Unsupervised Body-part Regression as a LightningModule.

    Args:
        recipe: the configuration.
        store: where the grids are prepared.
        train: series to train on, each with at least `recipe.m` slices.
        held_out: series of other patients, for the label-free quality; may be empty.
        place, workers: see `ubr.weights.Machine`.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        train: Sequence[SeriesRow],
        held_out: Sequence[SeriesRow] = (),
        *,
        place: Place = "auto",
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.store, self.place, self.workers = recipe, store, place, workers
        self.train_rows, self.held_out = list(train), list(held_out)[:VALIDATION_VOLUMES]
        self.train_px = train_px(recipe)
        even = recipe.balance == "sizes"
        share = even_sizes([row.areas_mm2 for row in train]) if even else None
        self.sampler = SliceSampler(
            [row.z_mm for row in train],
            g=recipe.g,
            m=recipe.m,
            unit=recipe.unit,
            begin=recipe.begin,
            share=share,
            seed=recipe.seed,
        )
        backbone = recipe.backbone_at_start()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            head = Head(backbone.channels, recipe.head_std)
        self.parent = recipe.parent()
        if self.parent is not None:
            copy_into(head, self.parent.head)
        self.regressor = Regressor(backbone, recipe.inputs, head).to(
            memory_format=torch.channels_last
        )
        self.bank: SliceBank | None = None
        self.train()

    def train(self, mode: bool = True) -> UBR:
        """Where a parent's head is kept, its BatchNorm layers keep their statistics too: those of a
        few new scans would shift the scores of all others.
        """
        super().train(mode)
        if self.parent is not None:
            hold_norms(self.regressor)
        return self

    def prepare_data(self) -> None:
        """Resample what the grids lack; Lightning calls this in one process per machine."""
        workers = cores()
        prepare(
            self.store,
            self.train_rows,
            self.recipe.inputs,
            self.train_px,
            workers=workers,
            progress=True,
        )
        prepare(self.store, self.held_out, self.recipe.inputs, workers=workers, progress=True)

    def setup(self, stage: str) -> None:
        """Open the banks, in every process."""
        if self.bank is None:
            inputs, device = self.recipe.inputs, self.trainer.strategy.root_device
            folder = grid_folder(self.store, inputs, self.train_px)
            self.bank = SliceBank(
                folder,
                self.train_rows,
                place=self.place,
                device=device,
                share=self.trainer.num_devices,
            )
            if self.held_out:
                self.held_out_bank = SliceBank(
                    grid_folder(self.store, inputs), self.held_out, place="file"
                )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches from the step the trainer stands at, also after it restored a checkpoint."""
        assert self.bank is not None
        workers = self.workers if self.bank.place == "file" else 0
        steps = Steps(self.sampler, self.bank, self.global_rank, self.trainer.world_size)
        order = StepsFrom(self.trainer.global_step, self.recipe.steps)
        return DataLoader(steps, batch_size=None, sampler=order, **loader_options(workers))

    def val_dataloader(self) -> list[int]:
        """Numbers of the held-out volumes. Every rank scores all of these few, so that the mean is
        exact.
        """
        return list(range(len(self.held_out)))

    def losses(self, scores: Tensor, z_mm: Tensor) -> dict[str, Tensor]:
        """The losses of this rank's `[G', M]` scores, scaled so that DDP's average over ranks is
        the loss of all G groups.
        """
        r = self.recipe
        found = {
            "order": (order_loss(scores, scale=r.order_scale), r.m - 1),
            "distance": (distance_loss(scores), max(1, r.m - 2)),
        }
        if r.position_weight:
            found["position"] = (position_loss(scores, z_mm, stretch=r.stretch), r.m)
        return {
            name: loss * self.trainer.world_size / (r.g * terms if r.mean_losses else 1)
            for name, (loss, terms) in found.items()
        }

    def views(self, batch: Batch) -> Tensor:
        """The slices of a step as the recipe shows them, `[G', M, S, S]` float32 HU."""
        r, world = self.recipe, self.trainer.world_size
        assert self.bank is not None
        grid = self.bank.gather(batch.rows) if batch.hu is None else batch.hu
        return r.augment.views(
            grid,
            r.inputs.size_px,
            g=r.g,
            seed=r.seed,
            step=batch.step,
            rank=self.global_rank,
            world=world,
        )

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one step, eq. 3 and what the recipe adds."""
        r = self.recipe
        hu = self.views(batch)
        scores = self.regressor.score(hu.flatten(0, 1)).view(hu.shape[:2])
        parts = self.losses(scores, batch.z_mm)
        weights = {"order": 1.0, "distance": r.distance_weight, "position": r.position_weight}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        self.log_losses(loss, parts, r.g)
        return loss

    def example_loss(self, step: int, groups: int) -> Tensor:
        """The loss of a step of so many groups of noise, which costs what one of slices does."""
        r = self.recipe
        planes = (3,) if r.inputs.neighbours_mm else ()
        grid = torch.randint(
            -1000, 1000, (groups, r.m, *planes, self.train_px, self.train_px), dtype=torch.int16
        ).to(self.device)
        options = {"g": groups, "seed": r.seed, "step": step, "rank": 0, "world": 1}
        hu = r.augment.views(grid, r.inputs.size_px, **options)
        scores = self.regressor.score(hu.flatten(0, 1)).view(hu.shape[:2])
        return order_loss(scores, scale=r.order_scale)

    def on_validation_epoch_start(self) -> None:
        self.curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def validation_step(self, volume: int, _: int) -> None:
        """Label-free quality on a held-out volume: Pearson r of scores with position, and the share
        of ordered pairs.
        """
        first, end = (int(v) for v in self.held_out_bank.offsets[volume : volume + 2])
        chosen = np.unique(
            np.linspace(0, end - first - 1, VALIDATION_SLICES).round().astype(np.int64)
        )
        grid = self.held_out_bank.gather(torch.from_numpy(first + chosen)).to(self.device)
        scores = self.regressor.score(grid).cpu().double().numpy()
        z_mm = self.held_out[volume].z_mm[chosen]
        self.curves.append((scores, z_mm))
        r, ordered = pearson_r(scores, z_mm), ordered_share(scores)
        # Constant scores have no r. They order nothing, so they count as 0 rather than as absent.
        self.log_dict(
            {"val/r": 0.0 if math.isnan(r) else r, "val/ordered": ordered},
            on_step=False,
            on_epoch=True,
            batch_size=1,
        )

    def on_validation_epoch_end(self) -> None:
        """Label-free quality over all of them: how far their curves lie from lines of one slope."""
        if self.curves:
            self.log(
                "val/error_mm",
                torch.tensor(
                    np.median(line_errors_mm(*zip(*self.curves, strict=True))), dtype=torch.float32
                ),
            )

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer: weight decay on weights only, biases at their own rate."""
        r = self.recipe
        groups = parameter_groups(self.named_parameters(), r, r.bias_lr_factor)
        return build_optimizer(groups, r)


def train_px(recipe: Recipe) -> int:
    """Side of the slices that random views are cut from."""
    return math.ceil(recipe.inputs.size_px * recipe.augment.magnifies)
