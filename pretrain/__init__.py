"""The method: Unsupervised Body-part Regression, from scans to weights and scores.

Names are loaded when first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.dicomweb.fetching import fetch
    from .data.ingestion import ingest
    from .data.scans import read
    from .data.store import Store
    from .phantom.files import phantoms
    from .recipes import Recipe, recipe
    from .scores.scoring import score
    from .training import fit
    from .uses.annotation import annotate
    from .uses.audit.audit import audit
    from .uses.calibration import calibrate
    from .uses.cropping import crop
    from .uses.levels import same_level
    from .uses.report.page import report
    from .uses.selection import select
    from .uses.watching import watch

_HOMES = {
    "ingest": "data.ingestion",
    "Store": "data.store",
    "read": "data.scans",
    "phantoms": "phantom.files",
    "fit": "training",
    "Recipe": "recipes",
    "recipe": "recipes",
    "score": "scores.scoring",
    "calibrate": "uses.calibration",
    "crop": "uses.cropping",
    "same_level": "uses.levels",
    "annotate": "uses.annotation",
    "audit": "uses.audit.audit",
    "fetch": "data.dicomweb.fetching",
    "report": "uses.report.page",
    "select": "uses.selection",
    "watch": "uses.watching",
}
__all__ = [
    "Recipe",
    "Store",
    "annotate",
    "audit",
    "calibrate",
    "crop",
    "fetch",
    "fit",
    "ingest",
    "phantoms",
    "read",
    "recipe",
    "report",
    "same_level",
    "score",
    "select",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
