"""Trainings that are cut at a chosen moment, as by a kill, and what a run folder then holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from ubr.downstream.training import Best, Finetuning
from ubr.pretrain.training import Pretraining
from ubr.weights.common.callbacks import MetricsFile
from ubr.weights.common.checkpoints import LastCheckpoint


class Cut(BaseException):
    """The kill."""


MOMENTS: dict[str, tuple[type, str, bool]] = {
    "before the checkpoint": (LastCheckpoint, "on_train_batch_end", False),
    "between checkpoint and validation": (LastCheckpoint, "on_train_batch_end", True),
    "before the validation is noted": (MetricsFile, "on_validation_end", False),
    "after the validation": (MetricsFile, "on_validation_end", True),
    "before the best is kept": (Best, "on_validation_end", False),
    "before the last checkpoint": (L.Trainer, "save_checkpoint", False),
    "after the last checkpoint": (L.Trainer, "save_checkpoint", True),
    "before the weights": (Pretraining, "finish", False),
    "before the detector": (Finetuning, "finish", False),
}
"""Name -> class, method, and whether the cut comes after it."""


def cut_at(moment: str, step: int, patch: pytest.MonkeyPatch) -> None:
    """Make a training end at a moment of a step."""
    owner, name, after = MOMENTS[moment]
    method: Callable[..., Any] = getattr(owner, name)

    def cutting(self: Any, *args: Any, **kwargs: Any) -> Any:
        trainer = next((one for one in (self, *args) if isinstance(one, L.Trainer)), None)
        here = trainer is not None and trainer.global_step == step
        if here and not after:
            raise Cut
        done = method(self, *args, **kwargs)
        if here:
            raise Cut
        return done

    patch.setattr(owner, name, cutting)


def contents(folder: Path) -> dict[str, Any]:
    """What a run folder holds, but for how long things took and what differs in nothing."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith("tensorboard"):
            continue
        if path.suffix == ".jsonl":
            lines = map(json.loads, path.read_text().splitlines())
            found[name] = [{k: v for k, v in one.items() if k != "images_per_s"} for one in lines]
        elif path.suffix in (".ckpt", ".pth"):
            saved = torch.load(path, weights_only=True)
            kept = (
                "state_dict",
                "optimizer_states",
                "lr_schedulers",
                "epoch",
                "global_step",
                "loops",
                "model",
            )
            found[name] = _plain({part: saved[part] for part in kept if part in saved})
            found[name + " about"] = saved.get("about")
        else:
            found[name] = path.read_bytes()
    return found


def _plain(value: Any) -> Any:
    """Tensors as lists, so that they compare."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


class Payload:
    """Pickled, it makes a folder when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)
