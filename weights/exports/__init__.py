"""Files that other libraries open, with the input contract in their own terms, and a snippet that
loads them. A module a library.

Nothing gets its name before it was read back and, where the library is installed anyway, loaded
into that library's own model and proven by `verify`. Every export carries a record (backbone,
contract, provenance, digests) in a place that its library ignores, so that it can come back as a
start.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from ..artifact import Weights
from ..folding import fold as folded
from ..layouts import layouts
from . import to_detectron2, to_onnx, to_timm, to_torchvision
from .common import Writer

Target = Literal["torchvision", "timm", "detectron2", "onnx"]
WRITERS: Mapping[str, Writer] = {
    "torchvision": to_torchvision.WRITER,
    "timm": to_timm.WRITER,
    "detectron2": to_detectron2.WRITER,
    "onnx": to_onnx.WRITER,
}


def export(
    weights: Weights,
    path: str | Path,
    *,
    to: Target = "torchvision",
    fold: bool = False,
    overwrite: bool = False,
) -> str:
    """Write the weights for another library, and prove that they arrive there.

    Args:
        weights: to export.
        path: for torchvision a .pth file (its contract goes beside it), for timm a new folder, for
            detectron2 a .pkl file (its cfg fragment goes beside it as .yaml), for onnx an .onnx
            file.
        to: for whom. "onnx" is the whole regressor, HU in and scores out; the others are the trunk.
        fold: put the intensity contract into the first convolution, so that the trunk takes HU
            (`ubr.weights.fold`).
        overwrite: replace what an earlier export wrote there.

    Returns:
        A snippet that loads the file.

    Raises:
        ValueError: the backbone has no such layout, the path has the wrong ending, or something is
            there already.
        TransferError: the library's own model did not take every tensor, or gives other features.
    """
    path = Path(path)
    if to not in WRITERS:
        raise ValueError(f"unknown target {to!r}; allowed: {', '.join(WRITERS)}")
    layout = layouts(weights.backbone, weights.trunk).get(to)
    if to != "onnx" and layout is None:
        known = ", ".join([*layouts(weights.backbone, weights.trunk), "onnx"])
        raise ValueError(f"backbone {weights.backbone} has no layout {to!r}; it has: {known}")
    if to == "onnx" and fold:
        raise ValueError("an onnx file takes HU as they are; --fold is for the other targets")
    writer = WRITERS[to]
    _check_place(path, writer, overwrite)
    weights.build()  # complete, and computed here as where they were written
    if fold:
        weights = folded(weights)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    written = [part, *writer.beside(part)]
    _remove(written)  # what a killed export left
    try:
        snippet = writer.write(weights, layout, part, path)
        if path.is_dir():
            shutil.rmtree(path)
        for made, final in reversed(
            list(zip(written, [path, *writer.beside(path)], strict=True))
        ):  # the file itself last
            made.replace(final)
    finally:
        _remove(written)
    return snippet


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def _check_place(path: Path, writer: Writer, overwrite: bool) -> None:
    """Raises `ValueError` where nothing may be written; a folder is replaced only if it holds
    nothing but an export.
    """
    if writer.ending and path.suffix != writer.ending:
        raise ValueError(f"{path}: this export is a file that ends with {writer.ending}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder; make it, or give another path")
    there = [p for p in (path, *writer.beside(path)) if p.exists()]
    if there and not overwrite:
        raise ValueError(f"{there[0]} exists; give another path or --overwrite")
    if path.exists() and path.is_dir() == bool(writer.ending):
        raise ValueError(
            f"{path} is a {'folder' if path.is_dir() else 'file'} and is not replaced; give "
            "another path"
        )
    if path.is_dir() and not {p.name for p in path.iterdir()} <= writer.contents:
        raise ValueError(
            f"{path} holds other things than an export and is not replaced; give another path"
        )
