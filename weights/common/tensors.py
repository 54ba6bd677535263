"""Tensors in files: written whole, opened without executing anything, no larger than the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from . import disk
from .checksums import check_members

_KINDS = frozenset(
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    ]
)
_OVERHEAD = 1 << 20
"""Bytes by which a tensor may be larger than its file: few numbers can be spread over many."""


def torch_save(values: Any, path: Path) -> None:
    """`torch.save`, whole or not at all: until the new file is complete, the old one stays.

    Raises:
        OSError: the disk is full.
    """
    try:
        with disk.whole(path) as part, part.open("wb") as file:
            torch.save(values, file)
    except RuntimeError as error:  # PyTorch's error for a disk that takes no more
        raise OSError(
            f"{path} could not be written, most likely because the disk is full; make room "
            "and repeat the command"
        ) from error


def load_torch(path: Path, remedy: str) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values only.

    Args:
        path: the file.
        remedy: what its user can do, as the end of a sentence.

    Raises:
        ValueError: it is something else, is damaged, or would execute code.
    """
    try:
        check_members(path)
        with warnings.catch_warnings(action="ignore"):  # PyTorch's, of what is refused then
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickle raises whatever broken bytes lead to
        raise ValueError(
            f"{path} is damaged, or holds more than numbers, so it is not opened; {remedy}"
        ) from error
    most = path.stat().st_size + _OVERHEAD
    for tensor in _tensors_in(loaded):
        if wrong := _unfit(tensor, most):
            raise ValueError(f"{path}: holds a tensor that is {wrong}; {remedy}")
    return loaded


def load_safetensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a .safetensors file.

    Raises:
        ValueError: it is something else, or is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
        return safetensors.torch.load_file(path), metadata
    except Exception as error:  # the library's own error class is not public
        raise ValueError(f"{path}: not a readable .safetensors file; {remedy}") from error


def check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors hold numbers that a network can hold.

    Raises:
        ValueError: NaN or infinity, or numbers of another kind.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _KINDS:
            raise ValueError(
                f"{path}: tensor {name!r} holds {tensor.dtype}, which no backbone here uses"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinity")


def _unfit(tensor: Tensor, most: int) -> str:
    """Why a tensor cannot be worked with; empty if it can."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return "sparse, quantized or without numbers"
    if tensor.numel() * tensor.element_size() > most:
        return f"larger than the file ({tensor.numel():,} numbers)"
    return ""


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tables and lists; each of these is entered once."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, dict | list | tuple | set) and id(one) not in seen:
            seen.add(id(one))
            waiting.extend(one.values() if isinstance(one, dict) else one)
