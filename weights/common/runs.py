"""Run folders, which pretraining and detectors share: what a run is, its metrics, its progress, and
going on where it was cut.

A run folder holds config.yaml (what makes this run this run), metrics.jsonl, tensorboard/,
checkpoints/last.ckpt, and what was trained.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import Sampler

Accelerator = Literal["auto", "cpu", "gpu", "mps"]


class From(Sampler[int]):
    """Steps first, first + 1, ... of a run of `steps`. Its length is the whole run's, by which the
    trainer counts.
    """

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.steps))

    def __len__(self) -> int:
        return self.steps


class Module(L.LightningModule):
    """A LightningModule that clips gradients by norm itself, and logs only what is written.

    Lightning's own clipping refuses fused optimisers under mixed precision, because of scaled
    gradients; bf16 scales none.
    """

    def log_losses(
        self, total: torch.Tensor, parts: Mapping[str, torch.Tensor], batch_size: int
    ) -> None:
        """Log the losses of a step that the logger writes.

        In between nobody reads them, and each costs time.
        """
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            shown = {"train/loss": total, **{f"train/{name}": part for name, part in parts.items()}}
            values = {name: value.detach() for name, value in shown.items()}
            self.log_dict(values, sync_dist=self.trainer.world_size > 1, batch_size=batch_size)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip all parameters' gradients together."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)


class Diverged(ValueError):
    """A training whose loss or weights are no numbers any more."""


class Record(Callback):
    """`metrics.jsonl`: a line a logged step, in the order of steps. After a resume, lines beyond
    the checkpoint are dropped first.

    every: steps between two lines. images: of a step, on all devices together. loss: the metric
    that has to stay finite.
    """

    def __init__(self, path: Path, every: int, images: int, loss: str = "train/loss") -> None:
        self.path, self.every, self.images, self.loss = path, every, images, loss
        self._since = (0.0, 0)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._since = (time.perf_counter(), trainer.global_step)
        if trainer.is_global_zero:
            lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
            kept = [line for line in lines if json.loads(line)["step"] <= trainer.global_step]
            part = self.path.with_suffix(".part")
            part.write_text("".join(kept))
            part.replace(self.path)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            seconds, steps = (
                time.perf_counter() - self._since[0],
                trainer.global_step - self._since[1],
            )
            if not math.isfinite(trainer.callback_metrics[self.loss]):
                raise Diverged(
                    f"the loss is not finite after {trainer.global_step} steps: lower --lr and "
                    "give a new --out"
                )
            self._since = (time.perf_counter(), trainer.global_step)
            speed = round(steps * self.images / seconds, 2)
            self._write(
                trainer,
                "train/",
                {"lr": trainer.optimizers[0].param_groups[0]["lr"], "images_per_s": speed},
            )

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer, "val/", {})
        self._since = (time.perf_counter(), trainer.global_step)

    def _write(self, trainer: L.Trainer, kind: str, more: dict[str, float]) -> None:
        if trainer.is_global_zero:
            values = {
                name: float(v)
                for name, v in trainer.callback_metrics.items()
                if name.startswith(kind)
            }
            with self.path.open("a") as file:
                file.write(json.dumps({"step": trainer.global_step, **values, **more}) + "\n")


class Bar(TQDMProgressBar):
    """Lightning's bar, with chosen metrics instead of the logger's version.

    shown: label -> metric.
    """

    def __init__(self, every: int, shown: Mapping[str, str]) -> None:
        super().__init__(refresh_rate=every)
        self._shown = dict(shown)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_start(trainer, module)
        self.train_progress_bar.total = (
            trainer.max_steps
        )  # Lightning sets it when an epoch begins, which a resumed run does not see

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        found = trainer.callback_metrics
        return {
            label: f"{float(found[name]):.3f}"
            for label, name in self._shown.items()
            if name in found
        }


def read_metrics(folder: Path, having: str) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl that have the metric `having`."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if having in line]


def check(folder: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
    """The folder is new, or holds this very run.

    Raises `ValueError` otherwise. config: parts with plain values.
    """
    path = folder / "config.yaml"
    if path.exists():
        found = yaml.safe_load(path.read_text())
        differing = [
            f"{part}.{name}"
            for part in config
            for name in config[part]
            if found.get(part, {}).get(name) != config[part][name]
        ]
        if differing:
            raise ValueError(
                f"{folder} holds another run (other {', '.join(differing[:4])}); give a new "
                "--out, or the run's own options"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty and holds no run; give a new --out")


def claim(folder: Path, config: Mapping[str, Any]) -> None:
    """Make the folder and write its config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".config.yaml.part"
    part.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    part.replace(folder / "config.yaml")


def values_sha256(values: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def at_least(least: int, **options: int) -> None:
    """Raises `ValueError` for the first option that is smaller."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def is_first_process() -> bool:
    """Whether this process is the one of a run's that writes and speaks."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def pick_precision(
    asked: Literal["auto", "32", "bf16"], backbone: str, accelerator: str
) -> Literal["32-true", "bf16-mixed"]:
    """bf16 where it is asked for, or where "auto" is and bf16 is faster.

    That is on GPUs that compute in it (from Ampere on; older ones only emulate it), and for plain
    convolutions on a CPU with matrix units (AMX): without them, and for depthwise convolutions, it
    is not.
    """
    if asked == "auto":
        plain = any(family in backbone for family in ("vgg", "alexnet", "resnet"))
        if accelerator == "gpu":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = accelerator == "cpu" and plain and torch.cpu._is_amx_tile_supported()
        return "bf16-mixed" if fast else "32-true"
    return "bf16-mixed" if asked == "bf16" else "32-true"


def pick_devices(accelerator: Accelerator, devices: int | Literal["auto"]) -> tuple[str, int]:
    """The accelerator and number of devices that "auto" stands for.

    Raises `ValueError` for a GPU where there is none.
    """
    if accelerator == "auto":
        accelerator = (
            "gpu"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError(
            "accelerator 'gpu' needs a CUDA or ROCm GPU, and none was found; use 'auto', 'cpu' "
            "or 'mps'"
        )
    if devices == "auto":
        devices = torch.cuda.device_count() if accelerator == "gpu" else 1
    return accelerator, devices


class Last(ModelCheckpoint):
    """Writes checkpoints and remembers nothing:

    its own state would hold the folder's absolute path.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was remembered."""


def save(values: Any, path: Path) -> None:
    """`torch.save` beside the file that is there, which it then replaces: whatever happens, one of
    the two is there and whole.

    Raises `OSError` where the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(values, file)
        part.replace(path)
    except RuntimeError as error:  # so PyTorch speaks of a disk that takes no more
        raise OSError(
            f"{path} could not be written, most likely for want of disk space; make room and "
            "give the same command"
        ) from error
    finally:
        part.unlink(missing_ok=True)


class Checkpoints(TorchCheckpointIO):
    """Checkpoints that replace the last one when they are whole.

    Lightning's own are written to the system's temporary folder and moved. Where that is another
    disk, as on most clusters, moving is copying, and a full disk or a kill meanwhile costs the run
    its only checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See `save`."""
        save(checkpoint, Path(path))


def trainer(
    folder: Path,
    callbacks: Sequence[Callback],
    *,
    accelerator: str,
    devices: int,
    nodes: int,
    strategy: str,
    precision: Literal["32-true", "bf16-mixed"],
    steps: int,
    clip_norm: float | None,
    validate_every: int,
    checkpoint_every: int,
    log_every: int,
    bar: Bar | None,
) -> L.Trainer:
    """Lightning's trainer as every run here uses it: it counts steps, and loaders share the data
    themselves.

    strategy: for several processes. bar: none shows no progress.
    """
    checkpoint = Last(
        folder / "checkpoints",
        "last",
        every_n_train_steps=checkpoint_every,
        enable_version_counter=False,
    )
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy if devices * nodes > 1 else "auto",
        precision=precision,
        max_steps=steps,
        val_check_interval=min(validate_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=clip_norm,
        use_distributed_sampler=False,
        log_every_n_steps=log_every,
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        plugins=[Checkpoints()],
        callbacks=[checkpoint, *callbacks, *([bar] if bar else [])],
        enable_progress_bar=bar is not None,
        enable_model_summary=False,
        default_root_dir=folder,
    )


@contextmanager
def quiet(*more: str) -> Iterator[None]:
    """Without Lightning's advice about other kinds of data, which cannot know that the loader asks
    for its step.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=".*_pytree")
        for text in (
            ".*not resumable.*",
            ".*does not have many workers.*",
            ".*exists and is not empty.*",
            ".*smaller than the logging interval.*",
            ".*Total length of `list`.*",
            ".*in eval mode at the start.*",
            *more,
        ):
            warnings.filterwarnings("ignore", text)
        yield


def train(trainer: L.Trainer, module: L.LightningModule, last: Path) -> None:
    """Fit from the last checkpoint, if there is one.

    Raises `KeyboardInterrupt` where Lightning would end the process on Ctrl-C.
    """
    with quiet():
        try:
            trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=False)
        except SystemExit:
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise


def check_finite(module: torch.nn.Module) -> None:
    """A training that diverged must not look like one that finished:

    its file could not be loaded.
    """
    if not all(torch.isfinite(t).all() for t in module.state_dict().values()):
        raise Diverged("the trained weights hold NaN or infinity: lower --lr and give a new --out")


def made_by(
    trainer: L.Trainer,
    packages: Sequence[str] = ("ubr-pretrain", "torch", "torchvision", "timm", "lightning"),
) -> dict[str, Any]:
    """Provenance that every run has: precision, device, versions, commit, date."""
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return {
        "precision": str(trainer.precision),
        "device": torch.cuda.get_device_name()
        if on_gpu
        else f"{platform.machine()} {trainer.strategy.root_device.type}",
        "versions": {name: version(name) for name in packages},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def commit() -> str | None:
    """The commit of the checkout that this package runs from ("+" where it has changes); none where
    it was installed otherwise.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        found = subprocess.run(
            [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return found + ("+" if changed else "")
