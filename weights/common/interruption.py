"""Ctrl-C and SIGTERM end a training after the step under way, which is saved."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Stopped(Exception):
    """A training that was asked to stop, and did with its last step saved."""


class Interruption(Callback):
    """Saves and stops where Lightning would lose the steps since the last checkpoint.

    In the middle of a step the weights may be half updated, so the step is finished first. A
    validation comes after a checkpoint, so it is left at once. A second Ctrl-C ends at once, too.

    Args:
        last: the checkpoint.
    """

    def __init__(self, last: Path) -> None:
        self.last, self.asked = last, False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._listen()

    def _listen(self) -> None:
        """Take the signals. Lightning, which took them before, gives all back when it ends."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._ask)

    def _ask(self, number: int, _: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if self._is_asked(trainer):
            trainer.save_checkpoint(self.last)
            raise Stopped

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, *_: Any
    ) -> None:
        if self._is_asked(trainer):
            raise Stopped

    def _is_asked(self, trainer: L.Trainer) -> bool:
        """Whether any process was asked; all must stop at the same step."""
        if trainer.world_size == 1:
            return self.asked
        return bool(trainer.strategy.reduce_boolean_decision(self.asked, all=False))
