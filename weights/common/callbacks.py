"""What a training reports while it runs: `metrics.jsonl` and a progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from . import disk


class Diverged(ValueError):
    """A training whose loss or weights are not finite."""


class MetricsFile(Callback):
    """Writes `metrics.jsonl`, one line per logged step, in the order of steps.

    After a resume, lines beyond the checkpoint are dropped first.

    Args:
        path: the file.
        every: steps between two lines.
        images: images of a step, on all devices together.
        loss: the metric that has to stay finite.
    """

    def __init__(self, path: Path, every: int, images: int, loss: str = "train/loss") -> None:
        self.path, self.every, self.images, self.loss = path, every, images, loss
        self._since = (0.0, 0)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._since = (time.perf_counter(), trainer.global_step)
        if trainer.is_global_zero:
            lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
            kept = [line for line in lines if json.loads(line)["step"] <= trainer.global_step]
            disk.write_text(self.path, "".join(kept))

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step % self.every:
            return
        now = time.perf_counter()
        seconds, steps = now - self._since[0], step - self._since[1]
        if not math.isfinite(trainer.callback_metrics[self.loss]):
            raise Diverged(
                f"the loss is not finite after {step} steps: lower `lr` and give a new `out`"
            )
        self._since = (time.perf_counter(), step)
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        speed = round(steps * self.images / seconds, 2)
        self._write(trainer, "train/", {"lr": lr, "images_per_s": speed})

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer, "val/", {})
        self._since = (time.perf_counter(), trainer.global_step)

    def _write(self, trainer: L.Trainer, kind: str, more: dict[str, float]) -> None:
        if trainer.is_global_zero:
            found = trainer.callback_metrics.items()
            values = {name: float(value) for name, value in found if name.startswith(kind)}
            with self.path.open("a") as file:
                file.write(json.dumps({"step": trainer.global_step, **values, **more}) + "\n")


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, with chosen metrics instead of the logger's version.

    Args:
        every: steps between two updates.
        shown: label -> metric.
    """

    def __init__(self, every: int, shown: Mapping[str, str]) -> None:
        super().__init__(refresh_rate=every)
        self._shown = dict(shown)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_start(trainer, module)
        # Lightning sets it when an epoch begins, which a resumed run does not see.
        self.train_progress_bar.total = trainer.max_steps

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        found = trainer.callback_metrics
        return {
            label: f"{float(found[name]):.3f}"
            for label, name in self._shown.items()
            if name in found
        }
