"""Tensors out of files, opened without executing anything, and no larger than the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_KINDS = frozenset(
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    ]
)
_OVERHEAD = 1 << 20
"""Bytes by which a tensor may be larger than its file: few numbers can be spread over many."""


def load_torch(path: Path, remedy: str) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values only.

    Args:
        path: the file.
        remedy: what its user can do, as the end of a sentence.

    Raises:
        ValueError: it is something else, is damaged, or would execute code.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        most = path.stat().st_size + _OVERHEAD
        for tensor in _tensors_in(loaded):
            _check_kind(tensor, most)
    except Exception as error:  # a damaged file raises anything
        why = str(error) if type(error) is _Unfit else type(error).__name__
        raise ValueError(
            f"{path} is damaged, or holds more than numbers and does not open without executing "
            f"code ({why}); {remedy}"
        ) from error
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
        raise ValueError(
            f"{path}: not a readable .safetensors file ({str(error).splitlines()[0][:120]}); "
            f"{remedy}"
        ) from error


def check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors hold numbers that a network can hold.

    Raises:
        ValueError: NaN or infinity, or numbers of another kind.
    """
    for name, tensor in tensors.items():
        try:
            _check_kind(tensor, path.stat().st_size + _OVERHEAD)
        except _Unfit as error:
            raise ValueError(f"{path}: tensor {name!r} is {error}") from None
        if tensor.dtype not in _KINDS:
            raise ValueError(
                f"{path}: tensor {name!r} holds {tensor.dtype}, which no backbone here has"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinity")


class _Unfit(ValueError):
    pass


def _check_kind(tensor: Tensor, most: int) -> None:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise _Unfit("sparse, quantized or without numbers")
    if tensor.numel() * tensor.element_size() > most:
        raise _Unfit(f"larger than the file, {tensor.numel():,} numbers")


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
