"""Run folders: a run's identity, its metrics, and its provenance.

A run folder holds config.yaml (the run's identity), metrics.jsonl, tensorboard/,
checkpoints/last.ckpt, and what was trained.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from . import disk, doors

if TYPE_CHECKING:
    import lightning as L


def check(folder: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that the folder is new, or holds this very run.

    Args:
        folder: the run folder.
        config: parts with plain values.

    Raises:
        ValueError: the folder holds another run, or other files.
    """
    path = folder / "config.yaml"
    if path.exists():
        found = read_config(folder)
        differing = [
            f"{part}.{name}"
            for part in config
            for name in config[part]
            if found.get(part, {}).get(name) != config[part][name]
        ]
        if differing:
            raise ValueError(
                f"{folder} holds another run (different {', '.join(differing[:4])}); give a new "
                "`out`, or the run's own options"
            )
    elif folder.exists() and (not folder.is_dir() or not all(map(disk.is_part, folder.iterdir()))):
        raise ValueError(f"{folder} is not empty and holds no run; give a new `out`")
    parent = next(one for one in folder.absolute().parents if one.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise ValueError(
            f"{folder}: {parent} is not a folder that can be written to; give another `out`"
        )


def begin(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml into a folder that this process has claimed, and make the folders in it.

    Raises:
        ValueError: a link lies where something would be written through it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = [folder / "checkpoints", folder / "tensorboard"]
    for inner in (one for one in inside if one.exists() or one.is_symlink()):
        disk.make_folder(inner)  # it refuses a link
        disk.sweep(inner, claimed="*")
        if link := next((path.name for path in inner.iterdir() if path.is_symlink()), None):
            raise ValueError(f"{inner} holds a link, {link}, which is not followed; remove it")
    # Before any folder: one that holds others and no config.yaml is refused.
    disk.write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    for inner in inside:
        disk.make_folder(inner)


def read_config(folder: Path, shape: Any = dict[str, dict[str, Any]]) -> Any:
    """What config.yaml says a run is.

    Args:
        folder: the run folder.
        shape: of what the caller reads of it.

    Raises:
        ValueError: it is damaged.
    """
    return doors.read_yaml(folder / "config.yaml", shape, DAMAGED)


DAMAGED = "the run is damaged: restore the file, or give a new `out`"


def read_metrics(folder: Path, having: str) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl that have the metric `having`.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        raise ValueError(f"{path} is missing; {DAMAGED}")
    return [one for _, one in metrics_lines(path) if having in one]


def metrics_lines(path: Path) -> list[tuple[str, dict[str, float]]]:
    """The lines of a metrics.jsonl, as text and as values, without a last one that a power cut left
    unfinished.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__}); {DAMAGED}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            where = f"{path} line {number}"
            values = doors.from_json(line, where, DAMAGED)
            doors.check(values, dict[str, float], where, DAMAGED)
            doors.check(values.get("step"), int, f"{where}: step", DAMAGED)
            found.append((line, values))
    return found


def provenance(
    trainer: L.Trainer,
    packages: Sequence[str] = ("ubr-pretrain", "torch", "torchvision", "timm", "lightning"),
) -> dict[str, Any]:
    """What every run records of how it was made: precision, device, versions, commit, date."""
    kind = trainer.strategy.root_device.type
    return {
        "precision": str(trainer.precision),
        "device": _gpu_name() if kind == "cuda" else f"{platform.machine()} {kind}",
        "versions": {name: version(name) for name in packages},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name()


def commit() -> str | None:
    """The commit of the checkout that this package runs from, with "+" where files have changed;
    none where the package was installed otherwise.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = _git(root, "rev-parse", "--short=10", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return found + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
