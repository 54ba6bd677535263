"""Files of a detector: best.pth and last.pth of a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ubr.weights.common import doors
from ubr.weights.common.shapes import Shape
from ubr.weights.common.tensors import check_numbers, load_torch, torch_save

OTHER = "take the file that training wrote, or train again into a new folder"


def save_detector(detector: nn.Module, path: Path, about: dict[str, Any]) -> None:
    """A detector's state, as `torch_save` does. Opens without executing anything."""
    torch_save(
        {
            "model": {n: t.detach().cpu() for n, t in detector.state_dict().items()},
            "about": json.dumps(about),
        },
        path,
    )


class _Stored(Shape):
    model: dict[str, Any]
    about: str = "{}"


class _Best(Shape):
    step: int
    recall5: float


class Begun(Shape):
    """What a detector began with."""

    backbone: str
    inputs: dict[str, Any]


class Config(Shape):
    """What is read of a detector's config.yaml."""

    recipe: dict[str, Any]
    start: Begun
    positions: dict[str, str] = {}  # noqa: RUF012


def read_detector(path: Path) -> dict[str, Any]:
    """What `save_detector` wrote: the state as `model`, and the text `about`.

    Raises:
        ValueError: it is something else, or is damaged.
    """
    stored: dict[str, Any] = doors.check(load_torch(path, OTHER), _Stored, path, OTHER)
    if not all(isinstance(one, Tensor) for one in stored["model"].values()):
        raise ValueError(f"{path}: its model holds more than tensors; {OTHER}")
    check_numbers(path, stored["model"])
    return stored


def read_about(path: Path) -> dict[str, Any]:
    """The step and recall of best.pth.

    Raises:
        ValueError: it is something else, or is damaged.
    """
    text, where = read_detector(path).get("about", "{}"), f"{path}: about"
    about: dict[str, Any] = doors.check(doors.from_json(text, where, OTHER), _Best, where, OTHER)
    return about
