"""What a training reports while it runs: `metrics.jsonl`, its validations, and progress."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from . import disk
from .progress import Lines, on_terminal
from .runs import metrics_lines


class Diverged(ValueError):
    """A training whose loss or weights are not finite."""


class MetricsFile(Callback):
    """Writes `metrics.jsonl`, one line per logged step, in the order of steps.

    After a resume, lines beyond the checkpoint are dropped first. A validation's line is written
    last, so a step without one still has to be validated.

    Args:
        path: the file.
        every: steps between two lines.
        images: images of a step, on all devices together.
        loss: the metric that has to stay finite.
    """

    def __init__(self, path: Path, every: int, images: int, loss: str = "train/loss") -> None:
        self.path, self.every, self.images, self.loss = path, every, images, loss
        self.validated: set[int] = set()
        self._since = (0.0, 0)

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.validated = {
                int(one["step"])
                for _, one in metrics_lines(self.path)
                if any("val/" in name for name in one)
            }

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        step = trainer.global_step
        self._since = (time.perf_counter(), step)
        self.validated = {one for one in self.validated if one <= step}
        if trainer.is_global_zero:
            kept = [line for line, one in metrics_lines(self.path) if one["step"] <= step]
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
        self.validated.add(trainer.global_step)
        self._since = (time.perf_counter(), trainer.global_step)

    def _write(self, trainer: L.Trainer, kind: str, more: dict[str, float]) -> None:
        if trainer.is_global_zero:
            found = trainer.callback_metrics.items()
            values = {name: float(value) for name, value in found if name.startswith(kind)}
            line = json.dumps({"step": trainer.global_step, **values, **more})
            disk.append_text(self.path, line + "\n")


class OwedValidation(Callback):
    """Makes up for a validation that is due at the step from which a run resumes, if the run was
    cut between the step's checkpoint and the end of its validation.

    Args:
        metrics: knows what was validated.
        every: steps between two validations; there is always one after the last step.
    """

    def __init__(self, metrics: MetricsFile, every: int) -> None:
        self.metrics, self.every = metrics, every

    def is_owed(self, trainer: L.Trainer) -> bool:
        """Whether a validation is due at this step and was not done."""
        step = trainer.global_step
        due = step > 0 and (step % self.every == 0 or step == trainer.max_steps)
        return due and step not in self.metrics.validated

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.is_owed(trainer):
            # as Lightning itself does between two steps
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True


def build_progress(every: int, shown: Mapping[str, str]) -> Callback:
    """Progress of a training: a bar on a terminal, elsewhere a line now and then.

    Args:
        every: steps between two updates.
        shown: label -> metric.
    """
    # Lightning draws its bar on standard output, which may be a file although the other is not.
    if on_terminal() and sys.stdout.isatty():
        return ProgressBar(every, shown)
    return ProgressLines(every, shown)


class ProgressLines(Callback):
    """See `build_progress`."""

    def __init__(self, every: int, shown: Mapping[str, str]) -> None:
        self._every, self._shown = every, shown

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        _say_resumed(trainer)
        total, done = trainer.max_steps, trainer.global_step
        self._lines: Lines[int] = Lines(None, total=total, done=done, title="train", unit="steps")

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and step % self._every == 0:
            self._lines.update(step - self._lines.done, _values(trainer, self._shown))


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
        _say_resumed(trainer)
        super().on_train_start(trainer, module)
        # Lightning sets it when an epoch begins, which a resumed run does not see.
        self.train_progress_bar.total = trainer.max_steps
        # Steps of an earlier run say nothing of the time left.
        self.train_progress_bar.initial = trainer.global_step

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        return _values(trainer, self._shown)


def _values(trainer: L.Trainer, shown: Mapping[str, str]) -> dict[str, str]:
    found = trainer.callback_metrics
    return {label: f"{float(found[name]):.3f}" for label, name in shown.items() if name in found}


def _say_resumed(trainer: L.Trainer) -> None:
    if trainer.global_step and trainer.is_global_zero:
        sys.stderr.write(f"resumed from step {trainer.global_step} of {trainer.max_steps}\n")
        sys.stderr.flush()
