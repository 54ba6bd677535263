"""Rules of the product that can be taken away, to see that the fuzz then finds something."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A rule.

    take_away: changes the modules of this process. doors: those that it guards. mutations: what it
    guards them against.
    """

    take_away: Callable[[], None]
    doors: tuple[str, ...]
    mutations: tuple[str, ...]


def _replaced(*changes: tuple[str, str, Any]) -> Callable[[], None]:
    """What puts other values in the place of attributes: (module, attribute, value)."""

    def change() -> None:
        for module, attribute, value in changes:
            *way, last = attribute.split(".")
            owner = importlib.import_module(module)
            for name in way:
                owner = getattr(owner, name)
            getattr(owner, last)  # AttributeError: the rule has another name now
            setattr(owner, last, value)

    return change


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _yes(*_: Any, **__: Any) -> bool:
    return True


def _first(value: Any, *_: Any, **__: Any) -> Any:
    return value


def _without_gzip_ends() -> None:
    """Nothing is read beyond what is asked for, and the checksum at the end counts for nothing."""
    import gzip

    gzip._GzipReader._read_eof = _nothing  # type: ignore[attr-defined]


def _without_png_ends() -> None:
    from PIL import PngImagePlugin

    PngImagePlugin.ChunkStream.crc = _nothing  # type: ignore[method-assign]
    PngImagePlugin.PngImageFile.verify = _nothing  # type: ignore[method-assign]


def _unpickling() -> None:
    import torch

    load = torch.load
    torch.load = lambda *args, **more: load(*args, **{**more, "weights_only": False})  # type: ignore[assignment]


def _aliases() -> None:
    import yaml

    from ubr.weights.common import doors

    doors._Plain = yaml.SafeLoader


DATA, STORE, COMMON = "ubr.pretrain.data", "ubr.pretrain.data.store", "ubr.weights.common"
DAMAGE = ("bit", "bits", "swapped", "zeroed")
RULES: dict[str, Rule] = {
    "checksum of gzip": Rule(_without_gzip_ends, ("nii_gz",), DAMAGE),
    "checksum of png": Rule(_without_png_ends, ("png", "lesion slices"), DAMAGE),
    "size and checksum of MetaImage": Rule(
        _replaced((f"{DATA}.itk", "_check_bytes", _nothing)),
        ("mha", "mha_z"),
        (*DAMAGE, "inserted", "lost"),
    ),
    "dimensions of MetaImage": Rule(
        _replaced((f"{DATA}.itk", "_size", lambda fields: 0)), ("mha", "mha_z"), ("wild",)
    ),
    "bytes among voxels of NIfTI": Rule(
        _replaced((f"{DATA}.nifti", "_check_surplus", _nothing)), ("nii",), ("inserted",)
    ),
    "bytes among pixels of DICOM": Rule(
        _replaced((f"{DATA}.dicom.pixels", "_check_pixels", _nothing)),
        ("dicom",),
        ("inserted", "wild"),
    ),
    "checksum of a store's rows": Rule(
        _replaced((f"{STORE}.values", "_crc32", lambda values: None)), ("store rows",), DAMAGE
    ),
    "sense of a store's rows": Rule(
        _replaced((f"{STORE}.catalog", "is_sensible", _yes)), ("store rows",), ("wild",)
    ),
    "checksum of a store's pixels": Rule(
        _replaced((f"{STORE}.pixels", "zlib.crc32", lambda data: _Any())),
        ("store volumes", "pictures of a store"),
        DAMAGE,
    ),
    "checksum of grids": Rule(
        _replaced((f"{DATA}.gridfiles", "zlib.crc32", lambda data: _Any())), ("grids",), DAMAGE
    ),
    "checksum of checkpoints": Rule(
        _replaced((f"{COMMON}.tensors", "check_members", _nothing)),
        ("fit checkpoint", "train best"),
        DAMAGE,
    ),
    "nothing in a file is executed": Rule(
        _unpickling, ("fit checkpoint", "start a.pth", "evaluated"), ("payload",)
    ),
    "digest of weights": Rule(
        _replaced(("ubr.weights.artifact", "tensors_sha256", lambda tensors: "")),
        ("weights",),
        DAMAGE,
    ),
    "schema at the door": Rule(
        _replaced((f"{COMMON}.doors", "check", _first)),
        ("store.json", "weights", "fit config", "scored regions"),
        ("wild", "a list", "null"),
    ),
    "yaml without references": Rule(_aliases, ("fit config", "fit options"), ("unfolding",)),
    "one line for a mistake": Rule(
        _replaced((f"{COMMON}.doors", "from_json", lambda text, *_: json.loads(text))),
        ("level regions", "scored regions"),
        ("cut", "deep", "deep objects"),
    ),
}


class _Any:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]
