"""What the paper compares UBR with (Table 1), trained as UBR is.

Trunk, head, views, slices a step, optimizer and schedule are the same.

`Supervised`: a classifier of three parts on labelled slices (Yan et al.'s reference [2]).
`PairOrder`: a classifier of which of two slices is higher, from their features side by side (Zhang
et al., ISBI 2017: the concatenated Fc6 features; here the 512 pooled ones, which UBR's own score is
computed from).
`FineTuned`: a score that is regressed on labelled volumes, beginning with what PairOrder learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common.landmarks import PARTS
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.module import UBR, Batch
from ubr.pretrain.recipes import Recipe
from ubr.weights import Intervals, Machine
from ubr.weights.common.devices import to_device
from ubr.weights.common.tensors import torch_save
from ubr.weights.common.trainer import build_trainer, train_from_last

PART_MM = (280.0, 220.0, 230.0)
"""Usual lengths of chest, abdomen and pelvis; they place slices beyond a volume's last border."""


class Supervised(UBR):
    """Cross entropy over the labelled slices of a step.

    Args:
        ranks: `Labelled.ranks` of each series in `train`.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        train: Sequence[SeriesRow],
        ranks: Sequence[NDArray[np.int64]],
        **more: Any,
    ) -> None:
        super().__init__(recipe, store, train, **more)
        self.classes = _seeded(recipe, 512, len(PARTS))
        self.register_buffer("ranks", torch.from_numpy(np.concatenate(ranks)), persistent=False)

    def logits(self, hu: Tensor) -> Tensor:
        """`[N, S, S]` HU -> `[N, 3]`."""
        return self.classes(self.regressor.pool6(hu))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        ranks: Tensor = self.ranks  # type: ignore[assignment]
        truth = ranks[batch.rows.flatten()]
        loss = F.cross_entropy(
            self.logits(self.views(batch).flatten(0, 1)), truth, ignore_index=-1, reduction="sum"
        )
        return _reduced(self.recipe, loss, int((truth >= 0).sum()))


class PairOrder(UBR):
    """Binary cross entropy on pairs of slices of one volume, in random order.

    The recipe's m is 2.
    """

    def __init__(
        self, recipe: Recipe, store: Store, train: Sequence[SeriesRow], **more: Any
    ) -> None:
        super().__init__(recipe, store, train, **more)
        self.order = _seeded(recipe, 2 * 512, 1)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        pooled = self.regressor.pool6(self.views(batch).flatten(0, 1)).view(self.recipe.g, 2, 512)
        swapped = torch.from_numpy(
            np.random.default_rng([self.recipe.seed, batch.step, 3]).integers(0, 2, self.recipe.g)
        ).bool()
        pairs = torch.where(swapped[:, None, None].to(pooled.device), pooled.flip(1), pooled)
        loss = F.binary_cross_entropy_with_logits(
            self.order(pairs.flatten(1))[:, 0], swapped.to(pooled), reduction="sum"
        )
        return _reduced(self.recipe, loss, len(swapped))


class FineTuned(UBR):
    """Smooth L1 between scores and places in the body (`places`).

    It is taken over the slices of a step that have a place.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        train: Sequence[SeriesRow],
        ranks: Sequence[NDArray[np.int64]],
        **more: Any,
    ) -> None:
        super().__init__(recipe, store, train, **more)
        found = [places(rank, row.z_mm) for rank, row in zip(ranks, train, strict=True)]
        self.register_buffer(
            "places", torch.from_numpy(np.concatenate(found)).float(), persistent=False
        )

    def training_step(self, batch: Batch, _: int) -> Tensor:
        wanted: Tensor = self.places[batch.rows.flatten()]  # type: ignore[index]
        known = wanted.isfinite()
        scores = self.regressor.score(self.views(batch).flatten(0, 1))
        return _reduced(
            self.recipe,
            F.smooth_l1_loss(scores[known], wanted[known], reduction="sum", beta=0.1),
            int(known.sum()),
        )


def _seeded(recipe: Recipe, inputs: int, outputs: int) -> nn.Linear:
    """A layer that is initialised from the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed + 2)
        return nn.Linear(inputs, outputs)


def _reduced(recipe: Recipe, loss: Tensor, terms: int) -> Tensor:
    """Reduce a summed loss as the recipe reduces UBR's.

    At the same learning rate, the step of a mean would be a hundredth of that of a sum.
    """
    return loss / max(1, terms) if recipe.mean_losses else loss


def places(ranks: NDArray[np.int64], z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fine-grained labels: the place of each slice in the body.

    It is 0 to 1 in the chest, 1 to 2 in the abdomen, 2 to 3 in the pelvis, and linear in mm between
    two borders that the volume shows. Beyond its first and last border, a part has its usual
    length. NaN if the volume shows no border, or the slice has no part.
    """
    known = np.flatnonzero(ranks >= 0)
    if not len(known) or ranks[known[0]] == ranks[known[-1]]:
        return np.full(len(ranks), np.nan)
    z, level = [], []
    for i, j in pairwise(known):
        if ranks[j] > ranks[i]:
            z.append(float(z_mm[i] + z_mm[j]) / 2)
            level.append(float(ranks[j]))
    z = [z[0] - PART_MM[int(level[0]) - 1], *z, z[-1] + PART_MM[int(level[-1])]]
    level = [level[0] - 1, *level, level[-1] + 1]
    slope = (level[-1] - level[-2]) / (z[-1] - z[-2])
    found = (
        np.interp(z_mm, z, level)
        + np.clip(z_mm - z[-1], 0, None) * slope
        - np.clip(z[0] - z_mm, 0, None) / PART_MM[0]
    )
    return np.where(ranks >= 0, found, np.nan)


def trained(module: UBR, folder: Path, begin: Mapping[str, Tensor] | None = None) -> UBR:
    """Train a module, or load what an earlier call has trained.

    A training that was interrupted resumes. The module is returned on a GPU if there is one.

    Args:
        module: to train.
        folder: of the training.
        begin: state of the regressor to begin with.
    """
    done = folder / "trained.pt"
    if done.exists():
        module.load_state_dict(torch.load(done, weights_only=True, map_location="cpu"))
    else:
        if begin is not None:
            module.regressor.load_state_dict(dict(begin))
        _train(module, folder)
        torch_save(module.state_dict(), done)
    to_device(module, "auto")
    return module.eval()


def _train(module: UBR, folder: Path) -> None:
    recipe = module.recipe
    folder.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(
        folder,
        recipe,
        recipe.backbone,
        machine=Machine(devices=1),
        intervals=Intervals(validate_every=recipe.steps),
    )
    train_from_last(trainer, module, folder / "checkpoints" / "last.ckpt")
