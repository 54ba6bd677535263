"""The training core: from options to a finished run folder, for pretraining and for detectors.

`Training.run` is the skeleton: check the folder, build, claim the folder, resume, finish. A
subclass says what is trained on what, and what a finished run leaves.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Callback

from . import runs
from .callbacks import MetricsFile
from .execution import Intervals, Machine
from .recipes import TrainingRecipe
from .trainer import (
    TrainingModule,
    build_trainer,
    is_first_process,
    pick_devices,
    train_from_last,
)

M = TypeVar("M", bound=TrainingModule)


class Training(ABC, Generic[M]):
    """A training into a run folder.

    Args:
        folder: the run folder.
        config: what makes this run this run and no other; becomes config.yaml.
        recipe: everything that shapes the trained numbers.
        backbone: name of the trunk.
        images: images of a step, on all devices together.
        machine: where it runs.
        intervals: how often it validates, saves and reports.
        callbacks: Lightning's, beside the core's own.
    """

    result: ClassVar[str]
    """Name of the file that only a finished run has."""
    strategy: ClassVar[str] = "ddp"
    """Lightning's, for several processes."""
    shown: ClassVar[Mapping[str, str]]
    """Metrics beside the progress bar, label -> metric."""
    recipe: TrainingRecipe

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Mapping[str, Any]],
        recipe: TrainingRecipe,
        backbone: str,
        *,
        images: int,
        machine: Machine,
        intervals: Intervals,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.folder, self.config, self.backbone, self.images = folder, config, backbone, images
        self.recipe, self.machine, self.intervals = recipe, machine, intervals
        self.callbacks = callbacks

    @abstractmethod
    def build(self) -> M:
        """The module with its data."""

    @abstractmethod
    def check_world(self, processes: int) -> None:
        """Raise `ValueError` where so many processes cannot share a step."""

    def adapt(self, module: M, trainer: L.Trainer) -> None:
        """Check and change the module for the devices of the trainer, before the folder is made."""

    def begin(self, module: M, *, resumes: bool) -> None:
        """What comes after the folder is made and before the first step, in every process."""

    @abstractmethod
    def finish(self, module: M, trainer: L.Trainer) -> None:
        """Write what was trained, `result` last; in the first process only."""

    def run(self) -> bool:
        """Train, or resume from the last checkpoint, to the end.

        Returns:
            Whether anything was trained; it is not where the folder holds this run, finished.

        Raises:
            ValueError: the folder holds another run, or an option does not fit the machine.
            Diverged: the loss or the weights are not finite.
        """
        first = is_first_process()
        if first:
            runs.check(self.folder, self.config)
        if (self.folder / self.result).exists():
            return False
        # Whatever can be refused is refused before the folder is made.
        module = self.build()
        trainer = self._trainer()
        self.adapt(module, trainer)
        if first:
            runs.claim(self.folder, self.config)
        last = self.folder / "checkpoints" / "last.ckpt"
        self.begin(module, resumes=last.exists())
        train_from_last(trainer, module, last)
        trainer.save_checkpoint(last)
        if trainer.is_global_zero:
            self.finish(module, trainer)
        trainer.strategy.barrier("finished")
        return True

    def _trainer(self) -> L.Trainer:
        # Lightning's hints are about other products.
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        _, devices = pick_devices(self.machine)
        self.check_world(devices * self.machine.nodes)
        metrics = MetricsFile(self.folder / "metrics.jsonl", self.intervals.log_every, self.images)
        return build_trainer(
            self.folder,
            self.recipe,
            self.backbone,
            machine=self.machine,
            intervals=self.intervals,
            strategy=self.strategy,
            shown=self.shown,
            callbacks=[metrics, *self.callbacks],
        )
