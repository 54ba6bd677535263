"""Verbs about a weights file: export, inspect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ubr.weights.common.commandline import show

if TYPE_CHECKING:
    from ubr.weights.common.options import Options


PUBLISHED = "the file matches the .sha256 beside it"
UNPUBLISHED = (
    "no .sha256 beside the file: its own digest detects accidents, not forgery; the publisher can "
    "make one with: sha256sum FILE > FILE.sha256"
)


def export(options: Options, words: Sequence[str]) -> None:
    """Weights for another library."""
    from ubr.weights import export
    from ubr.weights.released import check_there

    options.description = (
        "Write the weights for another library, verify what was written, and print how to load it."
    )
    options.called = {"path": "out"}
    options.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a run folder, its weights.safetensors, or released (the bundled weights)",
    )
    options.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="torchvision: a .pth file; timm: a folder; detectron2: a .pkl file; onnx: an .onnx "
        "file",
    )
    options.add_argument(
        "--fold",
        action="store_true",
        help="put window, mean and std into the first convolution: the trunk then takes HU",
    )
    options.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier export wrote there"
    )
    options.offer(export, {"weights", "path", "fold", "overwrite"})
    given = options.read(words)
    check_there(given["weights"])
    from ubr.weights import load

    show(str(export(load(given.pop("weights")), given.pop("out"), **given)))


def inspect(options: Options, words: Sequence[str]) -> None:
    """What a weights file or a store is."""
    from ubr.weights.released import CARD, beside, check_there, resolve

    from ..data.scans import is_store

    options.description = (
        "Describe a weights file (backbone, input contract, provenance, digest, tensors) or a "
        "store (series, patients, slices, spacing, warnings, what was left out). The digest guards "
        "against accidents, not against forgery. If sha256sum's FILE.sha256 lies beside a weights "
        "file, the file is checked against it."
    )
    options.add_argument(
        "path",
        metavar="PATH",
        help="a run folder, its weights.safetensors, released (the bundled weights, with "
        "their card), or a store",
    )
    options.offer_json("the description")
    given = options.read(words)
    check_there(given["path"])
    path = resolve(given["path"])
    if is_store(path):
        from ..data.store.description import describe, description
        from ..data.store.folder import Store

        about = describe(Store.open(path))
        show(about if given["json"] else description(about))
        return
    from ubr.weights import load
    from ubr.weights.artifact import weights_file
    from ubr.weights.common.published import checksum_beside

    about = load(path).about()
    about["has_checksum"] = checksum_beside(weights_file(path)).is_file()
    if given["json"]:
        show(about)
        return
    card = beside(about["provenance"].get("name"), CARD)
    show("\n".join([*([card.read_text("utf-8")] if card else []), _shown(about)]))


def _shown(about: dict[str, Any]) -> str:
    """The tables of `inspect` as text."""
    lines = [f"{name:<12}{about[name]}" for name in ("backbone", "license", "sha256")]
    lines.append(f"{'published':<12}{PUBLISHED if about['has_checksum'] else UNPUBLISHED}")
    for part in ("inputs", "provenance"):
        lines += [f"{part:<12}{name}: {json.dumps(value)}" for name, value in about[part].items()]
    count, numbers = len(about["tensors"]), sum(t["numbers"] for t in about["tensors"])
    return "\n".join(
        [
            *lines,
            f"exports to  {', '.join(about['exports_to'])}",
            f"tensors     {count} with {numbers:,} numbers; --json lists them",
        ]
    )
