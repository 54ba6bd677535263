"""Rules of the product that can be taken away, to see that the fuzz then finds something."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
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
    import gzip

    def read_eof(self: Any) -> None:
        """As in the library, without comparing the checksum and the length."""
        self._fp.read(8)
        following = b"\0"
        while following == b"\0":
            following = self._fp.read(1)
        if following:
            self._fp.prepend(following)

    gzip._GzipReader._read_eof = read_eof  # type: ignore[attr-defined]


def _without_png_ends() -> None:
    from PIL import PngImagePlugin

    PngImagePlugin.ChunkStream.crc = PngImagePlugin.ChunkStream.crc_skip  # type: ignore[method-assign]
    PngImagePlugin.PngImageFile.verify = _nothing  # type: ignore[method-assign]


def _unpickling() -> None:
    import torch

    load = torch.load
    torch.load = lambda *args, **more: load(*args, **{**more, "weights_only": False})


class _Any(str):
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def _whatever(*_: Any) -> Any:
    return _Any("0")


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
    "bytes among voxels of NIfTI": Rule(
        _replaced((f"{DATA}.nifti", "_check_surplus", _nothing)), ("nii",), ("doubled",)
    ),
    "bytes among pixels of DICOM": Rule(
        _replaced((f"{DATA}.dicom.pixels", "_check_pixels", _nothing)),
        ("dicom",),
        ("inserted", "wild"),
    ),
    "checksum of a store's rows": Rule(
        _replaced((f"{STORE}.values", "_crc32", _whatever)), ("store rows",), ("bit",)
    ),
    "sense of a store's rows": Rule(
        _replaced(
            (f"{STORE}.catalog", "is_sensible", _yes),
            (f"{DATA}.volume", "check_positions", _nothing),
        ),
        ("store rows",),
        ("wild",),
    ),
    "checksum of a store's pixels": Rule(
        _replaced((f"{STORE}.pixels", "zlib", SimpleNamespace(crc32=_whatever))),
        ("store volumes", "pictures of a store"),
        DAMAGE,
    ),
    "checksum of grids": Rule(
        _replaced((f"{DATA}.gridfiles", "zlib", SimpleNamespace(crc32=_whatever))),
        ("grids",),
        DAMAGE,
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
        _replaced(("ubr.weights.artifact", "Weights.sha256", _whatever)),
        ("weights",),
        DAMAGE,
    ),
    "schema at the door": Rule(
        _replaced((f"{COMMON}.doors", "check", _first)),
        ("store.json", "weights", "fit config", "scored regions"),
        ("wild", "a list", "null"),
    ),
    "one line for a mistake": Rule(
        _replaced((f"{COMMON}.doors", "from_json", lambda text, *_: json.loads(text))),
        ("level regions", "scored regions"),
        ("cut", "deep", "deep objects"),
    ),
}
