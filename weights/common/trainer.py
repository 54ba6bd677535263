"""Lightning as every training here uses it: modules, the trainer, and a fit that resumes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import Sampler

from .callbacks import Diverged, ProgressBar, build_progress
from .checkpoints import OVER, LastCheckpoint, Restored, WholeCheckpointIO
from .devices import pick_device
from .execution import Intervals, Machine
from .interruption import Interruption, Stopped
from .optimizer import pick_precision
from .recipes import TrainingRecipe


class StepsFrom(Sampler[int]):
    """Steps first, first + 1, ... of a run of `steps`.

    Its length is that of the whole run, by which the trainer counts.
    """

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.steps))

    def __len__(self) -> int:
        return self.steps


class TrainingModule(L.LightningModule):
    """A LightningModule that clips gradients by norm itself, and logs only what is written.

    Lightning's own clipping refuses fused optimizers under mixed precision, because of scaled
    gradients; bf16 scales none.
    """

    def log_losses(
        self, total: torch.Tensor, parts: Mapping[str, torch.Tensor], batch_size: int
    ) -> None:
        """Log the losses of a step that the logger writes.

        Nobody reads those in between, and each costs time.
        """
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            shown = {"train/loss": total, **{f"train/{name}": part for name, part in parts.items()}}
            values = {name: value.detach() for name, value in shown.items()}
            self.log_dict(values, sync_dist=self.trainer.world_size > 1, batch_size=batch_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out those of Lightning's counts that tell where a run was cut.

        A validation that is made up for is counted twice. After the last step the epoch ends, if
        the run was not cut just there, and only the count of steps has a meaning.
        """
        ended = checkpoint["global_step"] >= (self.trainer.max_steps or 0)
        counts = {
            name: count
            for name, count in checkpoint["loops"]["fit_loop"].items()
            if "val_loop" not in name and (not ended or "optim_progress" in name)
        }
        checkpoint["loops"] = {"fit_loop": counts}
        if ended:
            checkpoint["epoch"] = 0

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip the gradients of all parameters together."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)


def is_first_process() -> bool:
    """Whether this process is the one of a run that writes and prints."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def pick_devices(machine: Machine) -> tuple[torch.device, int]:
    """The device, and the number of such devices per node, that "auto" stands for.

    Raises:
        ValueError: the machine does not have them.
    """
    device = pick_device(machine.device)
    if device.type == "cpu":
        return device, 1 if machine.devices == "auto" else machine.devices
    has = torch.cuda.device_count() if str(device) == "cuda" else 1
    if machine.devices != "auto" and machine.devices > has:
        raise ValueError(f"devices must be at most {has} here, got {machine.devices}")
    return device, has if machine.devices == "auto" else machine.devices


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint of a run folder from which the run is resumed."""
    return folder / "checkpoints" / "last.ckpt"


def build_trainer(
    folder: Path,
    recipe: TrainingRecipe,
    backbone: str,
    *,
    machine: Machine,
    intervals: Intervals,
    strategy: str = "ddp",
    shown: Mapping[str, str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> L.Trainer:
    """Lightning's trainer. It counts steps, and loaders divide the data between processes
    themselves.

    Args:
        folder: the run folder.
        recipe: steps, clipping and precision.
        backbone: name of the trunk, on which the precision may depend.
        machine: where it runs.
        intervals: how often it validates, saves and reports.
        strategy: for several processes.
        shown: metrics beside the progress bar, label -> metric.
        callbacks: beside the checkpoint's and the bar's.
    """
    device, devices = pick_devices(machine)
    every = min(intervals.validate_every, recipe.steps)
    last = LastCheckpoint(folder, intervals.checkpoint_every, every)
    bar = [build_progress(intervals.log_every, shown or {})] if intervals.progress else []
    return L.Trainer(
        accelerator=device.type,
        devices=[device.index] if ":" in str(device) else devices,
        num_nodes=machine.nodes,
        strategy=strategy if devices * machine.nodes > 1 else "auto",
        precision=pick_precision(recipe.precision, backbone, device.type),
        max_steps=recipe.steps,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.clip_norm,
        use_distributed_sampler=False,
        log_every_n_steps=intervals.log_every,
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        plugins=[WholeCheckpointIO()],
        callbacks=[Restored(), *bar, *callbacks, Interruption(last_checkpoint(folder)), last],
        enable_progress_bar=any(isinstance(one, ProgressBar) for one in bar),
        enable_model_summary=False,
        default_root_dir=folder,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's advice, which does not know that the loader asks for its step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=".*_pytree")
        for text in (
            ".*not resumable.*",
            ".*does not have many workers.*",
            ".*exists and is not empty.*",
            ".*smaller than the logging interval.*",
            ".*Total length of `list`.*",
            ".*in eval mode at the start.*",
        ):
            warnings.filterwarnings("ignore", text)
        yield


def train_from_last(trainer: L.Trainer, module: L.LightningModule, last: Path) -> None:
    """Train from the last checkpoint, if there is one, to the end.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM; its text says how to continue.
        Diverged: the trained weights are not finite. Such a run must not look finished, as its
            file could not be loaded.
        ValueError: the checkpoint cannot be read.
    """
    with _quiet(), _interrupted(trainer, last), _restored(trainer, last):
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    if not all(torch.isfinite(tensor).all() for tensor in module.state_dict().values()):
        raise Diverged("the trained weights hold NaN or infinity: lower `lr` and give a new `out`")


@contextmanager
def _restored(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Raise `ValueError` where a checkpoint was read and does not fit the run: PyTorch and
    Lightning raise whatever that leads to.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        file = trainer.strategy.checkpoint_io
        read = isinstance(file, WholeCheckpointIO) and file.step is not None
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        fits = any(isinstance(one, Restored) and one.done for one in callbacks)
        if not read or fits or f"{last.parent.parent}{os.sep}" in str(error):
            raise
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{last} does not fit this run ({why}); {OVER}") from error


def validate_now(trainer: L.Trainer, module: L.LightningModule, last: Path) -> None:
    """Validate the trained weights.

    Raises:
        KeyboardInterrupt: as `train_from_last`.
    """
    with _quiet(), _interrupted(trainer, last):
        trainer.validate(module, verbose=False)


@contextmanager
def _interrupted(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Raise `KeyboardInterrupt` with how to continue, where Lightning would end the process."""
    try:
        yield
    except Stopped:
        how = f"step {trainer.global_step} is saved; repeat the command to resume from it"
    except SystemExit:
        if not trainer.interrupted:
            raise
        how = how_to_resume(last)
    else:
        return
    if not is_first_process():
        raise SystemExit(130)
    raise KeyboardInterrupt(how)


def how_to_resume(last: Path) -> str:
    """How an interrupted training continues."""
    if last.exists():
        return "repeat the command to resume from the last checkpoint"
    return "nothing was trained yet; repeat the command to start over"
