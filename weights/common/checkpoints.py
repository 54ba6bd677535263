"""Checkpoints that never cost the one that is there, and hold nothing of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from pydantic import Field

from . import doors
from .tensors import load_torch, torch_save

OVER = "remove it to start over"
"""What can be done about a checkpoint that cannot be read."""


class _Checkpoint(doors.Shape):
    global_step: Annotated[int, Field(ge=0, le=10**8)]
    state_dict: dict[str, Any]
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, Any]
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
        read: whether a checkpoint was read.
    """

    read = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See `torch_save`."""
        torch_save(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """See `read_checkpoint`."""
        found = read_checkpoint(Path(path))
        self.read = True
        return found


class LastCheckpoint(ModelCheckpoint):
    """Writes `checkpoints/last.ckpt` and stores no state of its own, which would hold the folder's
    absolute path.

    Args:
        folder: the run folder.
        every: steps between two checkpoints.
        validate_every: steps between two validations. Each comes after a checkpoint, so it can be
            interrupted without loss.

    Attributes:
        restored: whether everything that a checkpoint holds has found its place.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        super().__init__(
            folder / "checkpoints",
            "last",
            every_n_train_steps=1,
            enable_version_counter=False,
        )
        self._every = (every, validate_every)
        self.restored = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_start(trainer, module)
        self.restored = True

    def on_train_batch_end(self, trainer: L.Trainer, *more: Any) -> None:
        if any(trainer.global_step % every == 0 for every in self._every):
            super().on_train_batch_end(trainer, *more)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was stored."""
