"""Export to other libraries: files that they open, with the input contract in their own terms.

One module per library. A file appears under its name only after it has been read back. torchvision
and timm, which are always installed, have then also loaded it into their own model, and `verify`
has proven it. Every export carries a record (backbone, contract, provenance, digests) where its
library ignores it, so that it can be used as a start again.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Collection, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..common import disk
from ..common.claims import claiming

if TYPE_CHECKING:
    from ..artifact import Weights
    from .common import Writer

Target = Literal["torchvision", "timm", "detectron2", "onnx"]
"""The libraries. What writes for one is `WRITER` in the module `to_...`."""


@claiming("path")
def export(
    weights: Weights,
    path: str | Path,
    *,
    to: Target = "torchvision",
    fold: bool = False,
    overwrite: bool = False,
) -> str:
    """Write the weights for another library, and verify what was written.

    Args:
        weights: to export.
        path: for torchvision a .pth file (its contract is written beside it), for timm a new
            folder, for detectron2 a .pkl file (its config is written beside it as .yaml), for onnx
            an .onnx file. Missing parent folders are created.
        to: the library. "onnx" gets the whole regressor, HU in and scores out; the others get the
            trunk.
        fold: put the intensity contract into the first convolution, so that the trunk takes HU
            (`ubr.weights.fold`).
        overwrite: replace an earlier export at the same path.

    Returns:
        A snippet that loads the file.

    Raises:
        ValueError: the backbone has no such layout, the path has the wrong ending, or something
            exists there.
        TransferError: a tensor did not arrive in the model of torchvision or timm, its features
            differ, or what was written reads back differently.
    """
    from ..folding import fold as folded
    from ..layouts import layouts_of

    path = Path(path).absolute()  # so that the snippet works from any folder
    if to not in get_args(Target):
        raise ValueError(f"unknown target {to!r}; allowed: {', '.join(get_args(Target))}")
    layout = layouts_of(weights.backbone, weights.trunk).get(to)
    if to != "onnx" and layout is None:
        known = ", ".join([*layouts_of(weights.backbone, weights.trunk), "onnx"])
        raise ValueError(f"backbone {weights.backbone} has no layout {to!r}; it has: {known}")
    if to == "onnx" and fold:
        raise ValueError("an ONNX file takes HU unchanged; `fold` is for the other targets")
    writer: Writer = import_module(f".to_{to}", __name__).WRITER
    check_place(path, writer.ending, overwrite, writer.contents)
    weights.build()  # raises unless they are complete and give the features of the file
    if fold:
        weights = folded(weights)
    with disk.whole(path) as part:
        snippet = writer.write(weights, layout, part, path)
        # What belongs beside the file appears before the file itself.
        put_beside(zip(writer.beside(part), writer.beside(path), strict=True), overwrite)
        if path.is_dir():
            shutil.rmtree(path)
    return snippet


def put_beside(pairs: Iterable[tuple[Path, Path]], overwrite: bool) -> None:
    """Move what belongs beside an export to its place.

    pairs: what was made, and where it will be.

    Raises `ValueError`, with nothing moved, if it would replace another file without `overwrite`. A
    file with the same bytes was left by an interrupted export and is replaced.
    """
    pairs = list(pairs)
    for made, final in pairs if not overwrite else []:
        if final.exists() and not (final.is_file() and filecmp.cmp(made, final, shallow=False)):
            raise ValueError(f"{final} exists; give another path, or set `overwrite`")
    for made, final in pairs:
        with disk.whole(final) as beside:
            made.replace(beside)


def check_place(
    path: Path, ending: str, overwrite: bool, contents: Collection[str] = frozenset()
) -> None:
    """Raise `ValueError` if nothing may be written to `path`.

    An existing folder may be replaced only if it holds nothing but an export.

    ending: of the file; empty for a folder, with `contents`.
    """
    if ending and path.suffix != ending:
        raise ValueError(f"{path}: the name of this export must end with {ending}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; give another path, or set `overwrite`")
    if path.exists() and path.is_dir() == bool(ending):
        raise ValueError(
            f"{path} is a {'folder' if path.is_dir() else 'file'} and will not be replaced; give "
            "another path"
        )
    if path.is_dir() and not {p.name for p in path.iterdir()} <= set(contents):
        raise ValueError(
            f"{path} holds files that no export wrote and will not be replaced; give another path"
        )
