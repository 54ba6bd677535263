"""Trunks in files of other libraries: torchvision, timm and detectron2.

Opening such a file executes nothing. What `export` writes carries a record of its input contract,
in the file or beside it, depending on the library. A file whose tensors do not match its record is
refused.
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

from .artifact import tensors_sha256
from .inputs import InputSpec
from .layouts import COUNTER, layouts_of, locate
from .receipts import TransferError


@dataclass(frozen=True)
class ForeignFile:
    """A file of tensors.

    Attributes:
        record: what `export` wrote about it; empty if the file is not an export.
        scale: (mean, std) that its library's config states.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any] = field(default_factory=dict)
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def inputs(self) -> InputSpec | None:
        """The contract of an export; None if the file is not one."""
        return InputSpec.from_dict(self.record["inputs"]) if self.record else None

    def trunk(self, backbone: str, names: Collection[str]) -> dict[str, Tensor]:
        """A backbone's tensors under its own `names`.

        Raises:
            TransferError: no tensor of the backbone is found, or the file holds a larger network.
        """
        location = locate(layouts_of(backbone, names), self.tensors)
        if location is None:
            raise TransferError(f"{self.path}: holds no tensor of {backbone}")
        theirs = {location.name(theirs): theirs for theirs in location.layout.names.values()}
        if foreign := sorted(
            name for name in self.tensors if location.holds(name) and name not in theirs
        ):
            raise TransferError(
                f"{self.path}: holds a larger network than {backbone}, with {len(foreign)} "
                f"more tensors ({foreign[0]})"
            )
        trunk = location.layout.to_ours(
            {theirs[n]: t for n, t in self.tensors.items() if n in theirs}
        )
        counters = self.record.get("counters", {})
        absent = [n for n in names if n.endswith(COUNTER) and n not in trunk]
        return {n: torch.tensor(counters.get(n, 0)) for n in absent} | trunk


def record_beside(path: Path) -> Path:
    """The path of a state dict's record."""
    return path.with_name(path.name + ".inputs.json")


def read_foreign(path: Path) -> ForeignFile:
    """Read a state dict (.pth, .safetensors) or a detectron2 checkpoint (.pkl).

    A record or timm's config beside it is read as well.

    Raises:
        ValueError: the file is something else, would execute code, or does not match its record.
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
    if record and record.get("tensors_sha256") != tensors_sha256(tensors):
        raise ValueError(f"{path}: its tensors do not match its record; export the weights again")
    return ForeignFile(path, tensors, record, scale)


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
        raise ValueError(f"{path}: not a state dict, which maps names to tensors")
    return loaded


class _Arrays(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays.

    Any other object is refused, so that nothing is executed.
    """

    ALLOWED = frozenset(
        [
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
            # NumPy 1 and NumPy 2.
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        ]
    )

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
            f"{path}: not a detectron2 checkpoint of arrays only, which opens without executing "
            f"code ({type(error).__name__}: {error})"
        ) from error
    return _checked(path, tensors), loaded.get("ubr", {})
