"""Packages hidden from a process, as if they were not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TOOLKIT = (
    *("torch", "torchvision", "timm", "lightning", "scipy", "pyarrow", "blosc2", "safetensors"),
    *("onnx", "onnxscript", "openvino", "matplotlib", "sklearn", "jinja2", "tensorboard", "gdcm"),
    *("PIL", "SimpleITK", "highdicom", "distributed", "typeshed_client", "ubr"),
)
"""What an installation of the scorer lacks."""


def hide(names: Sequence[str]) -> None:
    """Let nothing be found of these packages from now on."""

    class Hiding(PathFinder):
        @classmethod
        def find_spec(
            cls,
            fullname: str,
            path: Sequence[str] | None = None,
            target: ModuleType | None = None,
        ) -> ModuleSpec | None:
            if fullname.partition(".")[0] in names:
                return None
            return PathFinder.find_spec(fullname, path, target)

    sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
    editable = [one for one in sys.meta_path if "__editable__" in getattr(one, "__module__", "")]
    for finder in editable:  # of a checkout that is installed
        sys.meta_path.remove(finder)
