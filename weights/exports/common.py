"""What all exports share: the record, the image preparation as text, and the check of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import files
from ..artifact import Weights, tensors_sha256
from ..inputs import InputSpec
from ..layouts import Layout
from ..receipts import TransferError


class Writer(NamedTuple):
    """How one library's export is written.

    Attributes:
        write: (weights, layout, path to write to, final path) -> snippet.
        ending: of the file; empty for a folder with `contents`.
        contents: the files in the folder.
        beside: path -> further files that are written beside it.
    """

    write: Callable[[Weights, Any, Path, Path], str]
    ending: str = ""
    contents: frozenset[str] = frozenset()
    beside: Callable[[Path], list[Path]] = lambda path: []


def record(weights: Weights, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What an export says about itself.

    Enough to use it as a start again, and to refuse it if it was altered.
    """
    return {
        "backbone": weights.backbone,
        "inputs": weights.inputs.to_dict(),
        "licence": weights.license,
        "provenance": dict(weights.provenance),
        "weights_sha256": weights.sha256(),
        "tensors_sha256": tensors_sha256(tensors),
    }


def preparation(inputs: InputSpec, scale: float = 1.0) -> str:
    """Python that turns `given` into a detector's image `[3, H, W]`, before mean and std."""
    low, high = inputs.window_hu
    clipped = f"hu.clamp({low:g}, {high:g})"
    if inputs.channels == "folded":
        return f"image = torch.stack([{clipped}, torch.zeros_like(hu), torch.ones_like(hu)])"
    unit = f"({clipped} {'-' if low >= 0 else '+'} {abs(low):g}) / {high - low:g}"
    image = f"{unit}{f' * {scale:g}' if scale != 1 else ''}"
    return f"image = {image}" if inputs.neighbours_mm else f"image = torch.stack([{image}] * 3)"


def given(inputs: InputSpec) -> str:
    """What `hu` is in `preparation`."""
    if inputs.neighbours_mm:
        return f"hu [3, H, W], a slice between those {inputs.neighbours_mm:g} mm above and below"
    return "a slice hu [H, W]"


def prove_it_comes_back(weights: Weights, file: Path) -> None:
    """Raise `TransferError` unless the file, read as a start, gives every tensor bit for bit."""
    found = files.read_foreign(file).trunk(weights.backbone, weights.trunk)
    if set(found) != set(weights.trunk) or not all(
        torch.equal(found[n], t) for n, t in weights.trunk.items()
    ):
        raise TransferError(f"{file.name} does not return the tensors that were written")


def heads(layout: Layout, left: tuple[str, ...]) -> tuple[str, ...]:
    """The modules of a library's model that are not in the trunk, as beginnings of names."""
    others = {f"{n.split('.')[0]}." for n in left if not n.startswith(layout.heads)}
    return tuple(sorted(others | set(layout.heads)))
