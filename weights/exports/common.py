"""What exports share:

the record that lets one come back, the preparation of an image as text, the reading back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import files
from ..artifact import Weights, digest
from ..inputs import InputSpec
from ..layouts import Layout
from ..receipts import TransferError


class Writer(NamedTuple):
    """How one library's export is written.

    write: (weights, layout, where to write, where it will lie) -> snippet. ending: of the file;
    none for a folder with `contents`. beside: further files that are written with it.
    """

    write: Callable[[Weights, Any, Path, Path], str]
    ending: str = ""
    contents: frozenset[str] = frozenset()
    beside: Callable[[Path], list[Path]] = lambda path: []


def record(weights: Weights, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What an export says of itself:

    enough to take it back as a start, and to refuse it where it was altered.
    """
    return {
        "backbone": weights.backbone,
        "inputs": weights.inputs.to_dict(),
        "licence": weights.licence,
        "provenance": dict(weights.provenance),
        "weights_sha256": weights.sha256(),
        "tensors_sha256": digest(tensors),
    }


def preparation(inputs: InputSpec, scale: float = 1.0) -> str:
    """Python that makes a detector's image `[3, H, W]` of `given`, before mean and std."""
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
    """The file, read as a start would, gives every tensor bit for bit."""
    found = files.read(file).trunk(weights.backbone, weights.trunk)
    if set(found) != set(weights.trunk) or not all(
        torch.equal(found[n], t) for n, t in weights.trunk.items()
    ):
        raise TransferError(f"{file.name} does not give back the tensors that were written")


def heads(layout: Layout, left: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a library's model that the trunk leaves as they were, as beginnings of names."""
    return tuple(
        sorted(
            {f"{n.split('.')[0]}." for n in left if not n.startswith(layout.heads)}
            | set(layout.heads)
        )
    )
