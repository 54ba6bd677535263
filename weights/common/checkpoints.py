"""Checkpoints that never destroy the previous one and record nothing about the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from pydantic import Field

from . import doors
from .shapes import Shape
from .tensors import load_torch, torch_save

OVER = "remove it to start over"
"""What can be done about a checkpoint that cannot be read."""


class _Optimizer(Shape):
    state: dict[int, dict[str, Any]]
    param_groups: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _Loops(Shape):
    fit_loop: Annotated[dict[str, Any], Field(min_length=1)]


class _Checkpoint(Shape):
    global_step: Annotated[int, Field(ge=0, le=10**8)]
    state_dict: dict[str, Any]
    # Lightning passes over what is missing, and would begin it anew.
    optimizer_states: Annotated[list[_Optimizer], Field(min_length=1, max_length=1)]
    lr_schedulers: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1)]
    loops: _Loops
    callbacks: dict[str, Any]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, opened without executing anything.

    Raises:
        ValueError: it is damaged, holds more than numbers, or lacks what a training needs.
    """
    found = doors.check(load_torch(path, OVER), _Checkpoint, path, OVER)
    return dict(found)


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written by `torch_save` and read by `read_checkpoint`.

    Lightning itself writes them to the system's temporary folder and moves them. Where that is
    another disk, as on most clusters, moving is copying, and a full disk or a kill meanwhile costs
    the run its only checkpoint.

    Attributes:
        step: of the checkpoint that was read; None if none was.
    """

    step: int | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See `torch_save`."""
        torch_save(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """See `read_checkpoint`."""
        found = read_checkpoint(Path(path))
        self.step = found["global_step"]
        return found


class Restored(Callback):
    """Compares the step of a run with that of its checkpoint, before anything else begins.

    Attributes:
        done: whether all that the checkpoint holds has found its place.
    """

    done = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        file = trainer.strategy.checkpoint_io
        step = file.step if isinstance(file, WholeCheckpointIO) else None
        if step not in (None, trainer.global_step):
            raise ValueError(f"its step is {step}, but its loops are at {trainer.global_step}")
        self.done = True


class LastCheckpoint(ModelCheckpoint):
    """Writes `checkpoints/last.ckpt` and stores no state of its own, which would hold the folder's
    absolute path.

    Args:
        folder: the run folder.
        every: steps between two checkpoints.
        validate_every: steps between two validations. Each comes after a checkpoint, so it can be
            interrupted without loss.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        super().__init__(
            folder / "checkpoints",
            "last",
            every_n_train_steps=1,
            enable_version_counter=False,
        )
        self._every = (every, validate_every)

    def on_train_batch_end(self, trainer: L.Trainer, *more: Any) -> None:
        if any(trainer.global_step % every == 0 for every in self._every):
            super().on_train_batch_end(trainer, *more)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was stored."""
