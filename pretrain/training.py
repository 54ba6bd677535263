"""`fit`, which turns a store into a run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import timm.layers
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ubr.weights import card, load
from ubr.weights.common import disk, runs
from ubr.weights.common.estimate import Estimate
from ubr.weights.common.execution import Intervals, Machine
from ubr.weights.common.training import Training

from .data.bank import grid_bytes, missing_rows
from .data.store import Store
from .module import UBR, train_px
from .parents import settle
from .planning import Plan, plan
from .recipes import Recipe
from .recipes import recipe as named_recipe

MACHINE = Machine()
INTERVALS = Intervals()


@dataclass(frozen=True)
class Run:
    """A finished training.

    folder: the run's; weights: its file; metrics: their label-free quality; notes: what a user
    should know.
    """

    folder: Path
    weights: Path
    metrics: dict[str, float]
    notes: tuple[str, ...]


class Pretraining(Training[UBR]):
    """A regressor on a store's series, without labels."""

    result = "weights.safetensors"
    copies = 1
    shown = {"loss": "train/loss", "r": "val/r"}  # noqa: RUF012
    recipe: Recipe

    def __init__(
        self,
        folder: Path,
        store: Store,
        planned: Plan,
        *,
        machine: Machine,
        intervals: Intervals,
        license: str = "unstated",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.store, self.planned, self.license = store, planned, license
        recipe = planned.recipe
        self.parts = recipe.g
        super().__init__(
            folder,
            _config(store, planned),
            recipe,
            recipe.backbone,
            images=recipe.g * recipe.m,
            machine=machine,
            intervals=intervals,
            callbacks=callbacks,
        )

    def build(self) -> UBR:
        return UBR(
            self.recipe,
            self.store,
            self.planned.train,
            self.planned.held_out,
            place=self.machine.place,
            workers=self.machine.workers,
        )

    def example(self, module: UBR, step: int, parts: int) -> Tensor:
        return module.example_loss(step, parts)

    def kept_bytes(self) -> tuple[int, int]:
        """Bytes of the slices kept in memory, and of those still to be resampled and written."""
        inputs, px = self.recipe.inputs, train_px(self.recipe)
        train, held_out = self.planned.train, self.planned.held_out
        kept = sum(grid_bytes(row, inputs, px) for row in train)
        missing = [
            *(grid_bytes(row, inputs, px) for row in missing_rows(self.store, train, inputs, px)),
            *(grid_bytes(row, inputs) for row in missing_rows(self.store, held_out, inputs)),
        ]
        return 0 if self.machine.place == "file" else kept, sum(missing)

    def check_world(self, processes: int) -> None:
        if processes > self.recipe.g:
            raise ValueError(
                f"{processes} processes cannot share g = {self.recipe.g} volumes per step; lower "
                "`devices`, or raise `g`"
            )

    def adapt(self, module: UBR, trainer: L.Trainer) -> None:
        """Refuse a place that the device does not have; share the statistics of norms."""
        device = trainer.strategy.root_device.type
        if self.machine.place == "gpu" and device != "cuda":
            raise ValueError(
                f"place 'gpu' needs a GPU, but the run is on {device}; use 'ram', 'file' or 'auto'"
            )
        if trainer.num_devices * trainer.num_nodes > 1 and device == "cuda":
            # timm's, not Lightning's sync_batchnorm: that drops the activation that timm's norms
            # hold (EfficientNet, ...).
            timm.layers.convert_sync_batchnorm(module.regressor)  # type: ignore[attr-defined, no-untyped-call]

    def finish(self, module: UBR, trainer: L.Trainer) -> None:
        """Write the card and the weights."""
        provenance = _provenance(module, self.config, _last_quality(self.folder))
        if module.parent is not None:
            provenance["parent"] = {
                "sha256": module.parent.sha256(),
                "name": module.parent.made().name,
                "moved": settle(module.parent, module),
            }
        weights = module.regressor.to_weights(provenance, self.license)
        disk.write_text(self.folder / "card.md", card(weights))
        weights.save(self.folder / self.result)


def fit(
    store: str | Path | Store,
    out: str | Path,
    recipe: Recipe | str = "default",
    *,
    holdout: float | Sequence[str] = 0.1,
    machine: Machine = MACHINE,
    intervals: Intervals = INTERVALS,
    license: str = "unstated",
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a regressor on a store's series, without labels, into a run folder.

    A half-done run is resumed from its last checkpoint; a finished one is returned as it is. The
    folder holds config.yaml, metrics.jsonl, tensorboard/, checkpoints/last.ckpt,
    weights.safetensors and card.md.

    Args:
        store: made by `ingest`.
        out: the run folder.
        recipe: a complete configuration, or the name of one.
        holdout: share of the patients that training never sees, for the label-free quality; or
            their keys (the column patient of the store's catalog.parquet), on the command line as
            '[KEY,KEY]'.
        machine: where it runs.
        intervals: how often it validates, saves and reports.
        license: license of the weights, written into them.
        callbacks: Lightning callbacks that observe the training.

    Raises:
        ValueError: an option out of range, too few series, or a run folder that holds another run.
        StoreError: no store, or nothing usable in it.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    planned = plan(store, named_recipe(recipe) if isinstance(recipe, str) else recipe, holdout)
    training = Pretraining(
        Path(out),
        store,
        planned,
        machine=machine,
        intervals=intervals,
        license=license,
        callbacks=callbacks,
    )
    trained = training.run()
    notes = planned.notes if trained else ("already finished; nothing was trained",)
    folder = training.folder
    file = folder / training.result
    if planned.recipe.keeps_head() and (parent := load(file).made().parent):
        notes = (*notes, f"continued from {parent}")
    return Run(folder, file, _last_quality(folder), notes)


def rehearse(
    store: Store, out: str | Path, planned: Plan, *, machine: Machine, intervals: Intervals
) -> Estimate | None:
    """Refuse what `fit` would refuse, and estimate what it would need; see `Training.rehearse`."""
    training = Pretraining(Path(out), store, planned, machine=machine, intervals=intervals)
    return training.rehearse()


def _config(store: Store, planned: Plan) -> dict[str, Any]:
    """What identifies a run: config.yaml."""
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
    lines = runs.read_metrics(folder, "val/r")
    names = ("r", "ordered", "error_mm")
    if not lines:
        return {}
    last = {name: lines[-1].get(f"val/{name}", math.inf) for name in names}
    if any(abs(last[name]) > 1 for name in ("r", "ordered")):  # NaN is possible
        raise ValueError(
            f"{folder / 'metrics.jsonl'}: the last validation record is invalid; {runs.DAMAGED}"
        )
    return last


def _provenance(
    module: UBR, config: Mapping[str, Any], quality: dict[str, float]
) -> dict[str, Any]:
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
        **runs.provenance(trainer),
    }
