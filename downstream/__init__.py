"""The consumers: lesion detectors that start from a trunk.

Names are loaded when first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "DeepLesion": "dataset",
    "check": "preflight",
    "evaluate": "evaluation",
    "faster_rcnn": "detector",
    "finetune": "training",
    "plant": "planting.write",
    "starting_weights": "detector",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
