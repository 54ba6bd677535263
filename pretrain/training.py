"""Training: the LightningModule, its data, and `fit`, which turns a store into a run folder.

A step's slices and their views are functions of (seed, step), and the loader asks the trainer for
the step it stands at. So a run that was cut goes on from its last checkpoint as if it had never
stopped, whatever the number of workers; and W GPUs see the groups that one would see. Losses are
sums over groups (or their mean over all G), and DDP averages gradients over ranks, hence the factor
W.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import timm.layers
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ubr.weights import Backbone, Head, Regressor, card, start
from ubr.weights.common import runs
from ubr.weights.common.pool import cores
from ubr.weights.common.processes import loader_options

from .data.bank import SliceBank, Storage, grid_folder, prepare
from .data.store import SeriesRow, Store
from .losses import distance_loss, order_loss, position_loss
from .reading.curve import line_errors_mm, ordered_share, pearson_r
from .recipes import Recipe
from .recipes import recipe as named_recipe
from .sampler import SliceSampler, even_sizes

VALIDATION_SLICES = 64
"""Equidistant slices of a held-out volume that validation scores:

enough for r, cheap beside training.
"""
VALIDATION_VOLUMES = 64


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


class UBR(runs.Module):
    """Unsupervised Body-part Regression as a LightningModule.

    Args:
        recipe: the configuration.
        store: where the grids are prepared.
        train: series to train on, each with at least `recipe.m` slices.
        held_out: series of other patients, for the label-free quality; may be empty.
        place, workers: see `fit`.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        train: Sequence[SeriesRow],
        held_out: Sequence[SeriesRow] = (),
        *,
        place: Storage = "auto",
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.store, self.place, self.workers = recipe, store, place, workers
        self.train_rows, self.held_out = list(train), list(held_out)[:VALIDATION_VOLUMES]
        self.train_px = math.ceil(recipe.inputs.size_px * recipe.augment.magnifies)
        self.sampler = SliceSampler(
            [row.z_mm for row in train],
            g=recipe.g,
            m=recipe.m,
            unit=recipe.unit,
            begin=recipe.begin,
            share=even_sizes([row.areas_mm2 for row in train])
            if recipe.balance == "sizes"
            else None,
            seed=recipe.seed,
        )
        backbone = start(recipe.backbone, recipe.start, inputs=recipe.inputs, seed=recipe.seed)
        _check_size(backbone, recipe.inputs.size_px)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            head = Head(backbone.channels, recipe.head_std)
        self.regressor = Regressor(backbone, recipe.inputs, head).to(
            memory_format=torch.channels_last
        )
        self.bank: SliceBank | None = None

    def prepare_data(self) -> None:
        """Resample what the grids lack; Lightning calls this in one process a machine."""
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
        order = runs.From(self.trainer.global_step, self.recipe.steps)
        return DataLoader(steps, batch_size=None, sampler=order, **loader_options(workers))

    def val_dataloader(self) -> list[int]:
        """Numbers of the held-out volumes.

        Every rank scores all of them: they are few, and the mean is then exact.
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
            found["position"] = (position_loss(scores, z_mm), r.m)
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

    def on_validation_epoch_start(self) -> None:
        self.curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def validation_step(self, volume: int, _: int) -> None:
        """Label-free quality on a held-out volume:

        Pearson r of scores with position, and the share of ordered pairs.
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
        """SGD or AdamW; weight decay on weights only, biases at their own rate."""
        r = self.recipe
        weights = [p for p in self.parameters() if p.ndim > 1]
        biases = [p for name, p in self.named_parameters() if p.ndim < 2 and name.endswith("bias")]
        scales = [
            p for name, p in self.named_parameters() if p.ndim < 2 and not name.endswith("bias")
        ]
        groups = [
            {"params": weights, "lr": r.lr, "weight_decay": r.weight_decay},
            {"params": scales, "lr": r.lr, "weight_decay": 0.0},
            {"params": biases, "lr": r.lr * r.bias_lr_factor, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        optimiser: torch.optim.Optimizer
        optimiser = (
            torch.optim.SGD(groups, momentum=r.momentum, fused=True)
            if r.optimiser == "sgd"
            else torch.optim.AdamW(groups, fused=True)
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, r.rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Run:
    """A finished training.

    folder: the run's; weights: its file; metrics: the last label-free quality; notes: what a user
    should know.
    """

    folder: Path
    weights: Path
    metrics: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a training would do: its series, and what was left out."""

    recipe: Recipe
    train: tuple[SeriesRow, ...]
    held_out: tuple[SeriesRow, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        slices = sum(row.slices for row in self.train)
        patients, others = (
            len({row.patient for row in self.train}),
            len({row.patient for row in self.held_out}),
        )
        r = self.recipe
        lines = [
            f"train on {len(self.train)} series of {patients} patients ({slices} slices), held "
            f"out {len(self.held_out)} series of {others}",
            f"{r.backbone} from {r.start} start, {r.inputs.size_px} px, {r.steps} steps of {r.g} "
            f"x {r.m} slices, {r.optimiser} at {r.lr:g}",
        ]
        return "\n".join([*lines, *self.notes])


def plan(store: Store, recipe: Recipe, holdout: float | Sequence[str] = 0.1) -> Plan:
    """Split a store's series by patient and set aside those too short for the recipe.

    Args:
        holdout: share of the patients to hold out (at least one where it is above 0), or their
            keys.

    Raises:
        ValueError: too few series are left to train on.
    """
    rows = store.usable()
    patients = list(dict.fromkeys(row.patient for row in rows))
    if isinstance(holdout, (int, float)):
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout must be in 0..1 (a share of the patients), got {holdout}")
        count = min(len(patients) - 1, max(1, round(holdout * len(patients)))) if holdout else 0
        chosen = np.random.default_rng([recipe.seed, 2]).permutation(len(patients))[:count]
        aside = {patients[i] for i in chosen}
    else:
        aside = set(holdout)
        if unknown := aside - set(patients):
            raise ValueError(
                f"{len(unknown)} of the patients to hold out are not in the store "
                f"({sorted(unknown)[0]})"
            )
    long_enough = [row for row in rows if row.slices >= recipe.m]
    train = tuple(row for row in long_enough if row.patient not in aside)
    held_out = tuple(row for row in rows if row.patient in aside and row.slices >= 3)
    notes = []
    if short := len(rows) - len(long_enough):
        notes.append(
            f"{short} of {len(rows)} series have fewer than m = {recipe.m} slices and are not "
            "trained on"
        )
    if len(train) < recipe.g:
        raise ValueError(
            f"{len(train)} series can be trained on, fewer than g = {recipe.g} a step (holding "
            f"out {len(held_out)}, {short} too short); "
            f"add scans or lower --g"
        )
    return Plan(recipe, train, held_out, tuple(notes))


def _check_size(backbone: Backbone, size_px: int) -> None:
    """Raises `ValueError` where the backbone cannot take slices of this size:

    a fixed size, or too small for its strides.
    """
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, size_px, size_px))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{backbone.name} cannot take slices of {size_px} px ({error}); change "
            "--inputs.size_px or --backbone"
        ) from error
    backbone.train()


def fit(
    store: str | Path | Store,
    out: str | Path,
    recipe: Recipe | str = "default",
    *,
    holdout: float | Sequence[str] = 0.1,
    accelerator: runs.Accelerator = "auto",
    devices: int | Literal["auto"] = "auto",
    nodes: int = 1,
    workers: int = 2,
    place: Storage = "auto",
    validate_every: int = 100,
    checkpoint_every: int = 100,
    log_every: int = 10,
    licence: str = "unstated",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a regressor on a store's series, without labels, into a run folder.

    A run folder that is half done is continued from its last checkpoint; a finished one is returned
    as it is. It holds config.yaml, metrics.jsonl, tensorboard/, checkpoints/last.ckpt,
    weights.safetensors and card.md.

    Args:
        store: made by `ingest`.
        out: the run folder.
        recipe: a complete configuration, or the name of one.
        holdout: share of the patients that training never sees, for the label-free quality; or
            their keys (the column patient of the store's catalog.parquet), on the command line as
            '[KEY,KEY]'.
        accelerator: "auto", "cpu", "gpu", "mps".
        devices: GPUs (or processes, on a CPU) a node; "auto" takes all GPUs, one process on a CPU.
        nodes: machines; on SLURM the number that the job has.
        workers: loader processes, where slices are read from files.
        place: where slices are kept while training: "gpu", "ram" or "file"; "auto" takes the first
            that half of the free memory holds.
        validate_every: steps between two looks at the held-out series.
        checkpoint_every: steps between two checkpoints; what a kill can cost.
        log_every: steps between two lines of metrics.jsonl.
        licence: of the weights, written into them.
        progress: show a progress bar.
        callbacks: Lightning's, to look at the training while it goes on.

    Raises:
        ValueError: an option out of range, too few series, or a run folder that holds another run.
        StoreError: no store, or nothing usable in it.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    recipe = named_recipe(recipe) if isinstance(recipe, str) else recipe
    runs.at_least(
        1,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        nodes=nodes,
    )
    runs.at_least(1, devices=1 if devices == "auto" else devices)
    runs.at_least(0, workers=workers)
    planned = plan(store, recipe, holdout)
    folder, config = Path(out), _config(store, planned)
    weights_file = folder / "weights.safetensors"
    first = runs.is_first_process()
    if first:
        runs.check(folder, config)
    if weights_file.exists():
        return Run(
            folder, weights_file, _last_quality(folder), ("already finished; nothing was trained",)
        )

    # Whatever can be refused is refused before the folder is made.
    module = UBR(recipe, store, planned.train, planned.held_out, place=place, workers=workers)
    logging.getLogger("lightning.pytorch").setLevel(
        logging.WARNING
    )  # its hints are about other products
    trainer = _trainer(
        folder,
        recipe,
        accelerator,
        devices,
        nodes,
        validate_every,
        checkpoint_every,
        log_every,
        progress,
        callbacks,
    )
    if place == "gpu" and trainer.strategy.root_device.type != "cuda":
        raise ValueError(
            f"place 'gpu' needs a GPU, the run is on {trainer.strategy.root_device.type}; use "
            "'ram', 'file' or 'auto'"
        )
    if trainer.num_devices * trainer.num_nodes > 1 and trainer.strategy.root_device.type == "cuda":
        # timm's, not Lightning's sync_batchnorm: that drops the activation that timm's norms hold
        # (EfficientNet, ...).
        timm.layers.convert_sync_batchnorm(module.regressor)  # type: ignore[attr-defined, no-untyped-call]
    if first:
        runs.claim(folder, config)
    last = folder / "checkpoints" / "last.ckpt"
    runs.train(trainer, module, last)
    runs.check_finite(module)
    trainer.save_checkpoint(last)
    if trainer.is_global_zero:
        weights = module.regressor.to_weights(
            _provenance(module, config, _last_quality(folder)), licence
        )
        (folder / "card.md").write_text(card(weights))
        weights.save(weights_file)
    trainer.strategy.barrier("weights")
    return Run(folder, weights_file, _last_quality(folder), planned.notes)


def _trainer(
    folder: Path,
    recipe: Recipe,
    accelerator: runs.Accelerator,
    devices: int | Literal["auto"],
    nodes: int,
    validate_every: int,
    checkpoint_every: int,
    log_every: int,
    progress: bool,
    callbacks: Sequence[Callback],
) -> L.Trainer:
    name, count = runs.pick_devices(accelerator, devices)
    if (world := count * nodes) > recipe.g:
        raise ValueError(
            f"{world} processes cannot share g = {recipe.g} volumes a step; lower --devices, or "
            "raise --g"
        )
    return runs.trainer(
        folder,
        [runs.Record(folder / "metrics.jsonl", log_every, recipe.g * recipe.m), *callbacks],
        accelerator=name,
        devices=count,
        nodes=nodes,
        strategy="ddp",
        precision=runs.pick_precision(recipe.precision, recipe.backbone, name),
        steps=recipe.steps,
        clip_norm=recipe.clip_norm,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        bar=runs.Bar(log_every, {"loss": "train/loss", "r": "val/r"}) if progress else None,
    )


def _config(store: Store, planned: Plan) -> dict[str, Any]:
    """What makes a run this run and no other: config.yaml."""
    config = {
        "recipe": planned.recipe.described(),
        "data": {
            "fingerprint": store.fingerprint(row.key for row in planned.train),
            "train": sorted(row.key for row in planned.train),
            "held_out": sorted(row.key for row in planned.held_out),
        },
    }
    return dict(json.loads(json.dumps(config)))  # tuples become lists, as they will be read back


def _last_quality(folder: Path) -> dict[str, float]:
    quality = runs.read_metrics(folder, "val/r")
    return (
        {name: quality[-1][f"val/{name}"] for name in ("r", "ordered", "error_mm")}
        if quality
        else {}
    )


def _provenance(module: UBR, config: dict[str, Any], quality: dict[str, float]) -> dict[str, Any]:
    trainer = module.trainer
    return {
        "method": "Unsupervised Body-part Regression (Yan, Lu, Summers, ISBI 2018)",
        "recipe": config["recipe"],
        "start": module.regressor.backbone.origin,
        "recipe_sha256": module.recipe.sha256(),
        "steps": trainer.global_step,
        "seed": module.recipe.seed,
        "data": {
            "fingerprint": config["data"]["fingerprint"],
            "series": len(module.train_rows),
            "patients": len({row.patient for row in module.train_rows}),
            "slices": sum(row.slices for row in module.train_rows),
        },
        "held_out": {"series": len(module.held_out), **quality},
        **runs.made_by(trainer),
    }
