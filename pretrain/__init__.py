"""The method: Unsupervised Body-part Regression, from scans to weights and scores.

Names are loaded when first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ingest": "data.ingestion",
    "Store": "data.store",
    "phantoms": "phantom.files",
    "fit": "training",
    "Recipe": "recipes",
    "recipe": "recipes",
    "score": "scores.scoring",
    "calibrate": "uses.calibration",
    "crop": "uses.cropping",
    "same_level": "uses.levels",
    "annotate": "uses.annotation",
    "report": "uses.report",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
