"""The consumers: lesion detectors that start from a trunk.

Names are loaded when first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import DeepLesion
    from .detector import faster_rcnn, starting_weights
    from .evaluation import evaluate
    from .planting.write import plant
    from .prediction.predicting import predict
    from .preflight import check
    from .training import finetune

_HOMES = {
    "DeepLesion": "dataset",
    "check": "preflight",
    "evaluate": "evaluation",
    "faster_rcnn": "detector",
    "finetune": "training",
    "plant": "planting.write",
    "predict": "prediction.predicting",
    "starting_weights": "detector",
}
__all__ = [
    "DeepLesion",
    "check",
    "evaluate",
    "faster_rcnn",
    "finetune",
    "plant",
    "predict",
    "starting_weights",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
