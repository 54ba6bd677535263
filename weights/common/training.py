"""The training core: from options to a finished run folder, for pretraining and for detectors.

`Training.run` is the skeleton: check the folder, claim it, build, resume, finish. A
subclass says what is trained on what, and what a finished run leaves.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from . import disk, runs
from .callbacks import MetricsFile, OwedValidation
from .checkpoints import read_checkpoint
from .claims import claim_folder
from .estimate import Estimate, free_bytes, measure
from .execution import Intervals, Machine
from .recipes import TrainingRecipe
from .trainer import (
    TrainingModule,
    build_trainer,
    how_to_resume,
    is_first_process,
    last_checkpoint,
    pick_devices,
    train_from_last,
    validate_now,
)

M = TypeVar("M", bound=TrainingModule)


class Training(ABC, Generic[M]):
    """A training into a run folder.

    Args:
        folder: the run folder.
        config: what identifies this run; becomes config.yaml.
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
    copies: ClassVar[int]
    """Files with all weights that a finished run has, beside its checkpoint."""
    parts: int
    """Groups or images of a step, on all devices together."""
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

    @abstractmethod
    def example(self, module: M, step: int, parts: int) -> Tensor:
        """The loss of a step over so many of its groups or images, for an estimate."""

    def kept_bytes(self) -> tuple[int, int]:
        """Bytes of data that training keeps in memory, and that it writes beside the run."""
        return 0, 0

    def run(self) -> bool:
        """Train, or resume from the last checkpoint, to the end.

        Returns:
            Whether anything was trained; it is not where the folder holds this run, finished.

        Raises:
            ValueError: the folder holds another run, another process trains into it, or an option
                does not fit the machine.
            Diverged: the loss or the weights are not finite.
            KeyboardInterrupt: its text says how to continue.
        """
        try:
            return self._run()
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(str(error) or how_to_resume(self.last)) from None

    def rehearse(self) -> Estimate | None:
        """Refuse what `run` would refuse, and estimate what it would need. Nothing is written.

        Returns:
            The estimate; None if the folder holds this run, finished.

        Raises:
            ValueError: as `run`, or the disk is too small.
        """
        runs.check(self.folder, self.config)
        if (self.folder / self.result).exists():
            return None
        module, trainer, _ = self._prepared()
        device, devices = pick_devices(self.machine)
        measured = measure(
            module,
            lambda step, parts: self.example(module, step, parts),
            -(-self.parts // (devices * self.machine.nodes)),
            device=device,
            bf16=str(trainer.precision) == "bf16-mixed",
        )
        in_memory, on_disk = self.kept_bytes()
        # An old checkpoint stays until the new one is complete.
        disk = on_disk + 2 * measured.checkpoint + self.copies * measured.weights
        free = free_bytes(self.folder)
        if disk > free:
            raise ValueError(
                f"the run would need about {disk / 1e9:.2g} GB of disk, and {free / 1e9:.2g} GB "
                "are free; make room, or give another `out`"
            )
        memory = None if measured.memory is None else measured.memory + in_memory
        done = read_checkpoint(self.last)["global_step"] if self.last.exists() else 0
        return Estimate(done, self.recipe.steps, measured.step_s, memory, disk, free)

    @property
    def last(self) -> Path:
        """The checkpoint from which the run is resumed."""
        return last_checkpoint(self.folder)

    def _run(self) -> bool:
        first = is_first_process()
        if first:
            runs.check(self.folder, self.config)
        if (self.folder / self.result).exists():
            if first:
                disk.sweep(self.folder)  # a kill after the last rename leaves an empty folder
            return False
        # The other processes of a run start once the first one has claimed the folder.
        with claim_folder(self.folder) if first else nullcontext():
            return self._run_claimed(first)

    def _run_claimed(self, first: bool) -> bool:
        if first:
            runs.check(self.folder, self.config)  # again: another process may just have ended
            if (self.folder / self.result).exists():
                return False
        # Whatever can be refused is refused before anything is written.
        module, trainer, owed = self._prepared()
        if first:
            runs.begin(self.folder, self.config)
        last = self.last
        self.begin(module, resumes=last.exists())
        train_from_last(trainer, module, last)
        trainer.save_checkpoint(last)
        if owed.is_owed(trainer):
            validate_now(trainer, module, last)
        if trainer.is_global_zero:
            self.finish(module, trainer)
        trainer.strategy.barrier("finished")
        return True

    def _prepared(self) -> tuple[M, L.Trainer, OwedValidation]:
        module = self.build()
        # Lightning's hints are about other products.
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        _, devices = pick_devices(self.machine)
        self.check_world(devices * self.machine.nodes)
        metrics = MetricsFile(self.folder / "metrics.jsonl", self.intervals.log_every, self.images)
        owed = OwedValidation(metrics, self.intervals.validate_every)
        trainer = build_trainer(
            self.folder,
            self.recipe,
            self.backbone,
            machine=self.machine,
            intervals=self.intervals,
            strategy=self.strategy,
            shown=self.shown,
            # The line of a validation comes after all else that is done for it.
            callbacks=[*self.callbacks, metrics, owed],
        )
        self.adapt(module, trainer)
        return module, trainer, owed
