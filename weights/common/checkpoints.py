"""Checkpoints that never cost the one that is there, and hold nothing of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from . import disk
from .checksums import torch_load


def torch_save(values: Any, path: Path) -> None:
    """`torch.save`, whole or not at all: until the new file is complete, the old one stays.

    Raises:
        OSError: the disk is full.
    """
    try:
        with disk.whole(path) as part, part.open("wb") as file:
            torch.save(values, file)
    except RuntimeError as error:  # PyTorch's error for a disk that takes no more
        raise OSError(
            f"{path} could not be written, most likely for want of disk space; make room and "
            "give the same command"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, as `torch_load` does."""
    return dict(torch_load(path, "remove it to start over"))


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written by `torch_save` and read by `read_checkpoint`.

    Lightning itself writes them to the system's temporary folder and moves them. Where that is
    another disk, as on most clusters, moving is copying, and a full disk or a kill meanwhile costs
    the run its only checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See `torch_save`."""
        torch_save(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """See `read_checkpoint`."""
        return read_checkpoint(Path(path))


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
