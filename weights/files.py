"""Trunks in files of other libraries: state dicts of torchvision and timm, checkpoints of
detectron2. Opening one executes nothing.

What `export` writes carries a record of its contract (beside or in the file, where the library has
a place for it), and is refused where tensors and record do not belong together.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .artifact import digest
from .inputs import InputSpec
from .layouts import COUNTER, layouts, locate
from .receipts import TransferError


@dataclass(frozen=True)
class Foreign:
    """A file of tensors.

    record: what `export` wrote about it, if it did. scale: (mean, std) that its own library's
    config states.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any] = field(default_factory=dict)
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def inputs(self) -> InputSpec | None:
        """The contract of an export; none of a file that is not one."""
        return InputSpec.from_dict(self.record["inputs"]) if self.record else None

    def trunk(self, backbone: str, names: Collection[str]) -> dict[str, Tensor]:
        """A backbone's tensors under its own `names`.

        Raises:
            TransferError: a tensor is missing, or the file holds more of such a network than the
                backbone has.
        """
        place = locate(layouts(backbone, names), self.tensors)
        if place is None:
            raise TransferError(f"{self.path}: holds no tensor of a {backbone}")
        theirs = {place.name(theirs): theirs for theirs in place.layout.names.values()}
        if foreign := sorted(
            name for name in self.tensors if place.kin(name) and name not in theirs
        ):
            raise TransferError(
                f"{self.path}: holds a larger network than {backbone}, with {len(foreign)} "
                f"tensors more ({foreign[0]})"
            )
        trunk = place.layout.to_ours({theirs[n]: t for n, t in self.tensors.items() if n in theirs})
        counters = self.record.get("counters", {})
        return {
            n: torch.tensor(counters.get(n, 0))
            for n in names
            if n.endswith(COUNTER) and n not in trunk
        } | trunk


def record_beside(path: Path) -> Path:
    """Where the record of a state dict lies."""
    return path.with_name(path.name + ".inputs.json")


def read(path: Path) -> Foreign:
    """Read a state dict (.pth, .safetensors) or a detectron2 checkpoint (.pkl), with the record or
    config beside it.

    Raises:
        ValueError: not such a file, one that would execute code, or a record that does not belong
            to the tensors.
    """
    record: dict[str, Any] = {}
    scale = None
    if path.suffix == ".safetensors":
        tensors = safetensors.torch.load_file(path)
        if (config := path.with_name("config.json")).is_file():  # a timm model's folder
            about = json.loads(config.read_text())
            record = about.get("ubr", {})
            pretrained = about.get("pretrained_cfg", {})
            if "mean" in pretrained and "std" in pretrained:
                scale = tuple(pretrained["mean"]), tuple(pretrained["std"])
    elif path.suffix == ".pkl":
        tensors, record = _detectron2(path)
    else:
        tensors = _state_dict(path)
        if (beside := record_beside(path)).is_file():
            record = json.loads(beside.read_text())
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinity")
    if record and record.get("tensors_sha256") != digest(tensors):
        raise ValueError(
            f"{path}: its tensors are not those that its record was written for; export the "
            "weights anew"
        )
    return Foreign(path, tensors, record, scale)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path}: not a state dict that opens without executing code ({type(error).__name__})"
        ) from error
    if isinstance(loaded, dict):
        loaded = next(
            (loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), dict)),
            loaded,
        )
    return _checked(path, loaded)


def _checked(path: Path, loaded: object) -> dict[str, Tensor]:
    if (
        not isinstance(loaded, dict)
        or not loaded
        or not all(isinstance(t, Tensor) for t in loaded.values())
    ):
        raise ValueError(
            f"{path}: a state dict maps names to tensors; this file holds something else"
        )
    return loaded


class _Arrays(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays; whatever else a pickle may ask for is
    refused, so that nothing is executed.
    """

    ALLOWED = frozenset(
        (f"numpy.{core}.{home}", name)
        for core in ("core", "_core")
        for home, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module, name)


def _detectron2(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        loaded = _Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        tensors = {name: torch.from_numpy(array.copy()) for name, array in loaded["model"].items()}
    except Exception as error:
        raise ValueError(
            f"{path}: not a detectron2 checkpoint of arrays alone that opens without executing "
            f"code ({type(error).__name__}: {error})"
        ) from error
    return _checked(path, tensors), loaded.get("ubr", {})
