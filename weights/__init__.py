"""Weights: what a backbone is, which input it expects, and how its tensors are exchanged.

Names are loaded when first used, so that a process that only needs the body's box does not load
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifact import Weights, load
    from .backbones import Backbone, build
    from .cards import card
    from .common.execution import Intervals, Machine
    from .exports import export
    from .folding import fold
    from .inputs import InputSpec
    from .receipts import Receipt, TransferError
    from .regressor import Head, Regressor
    from .starts import start
    from .transfer import load_into, verify

_HOMES = {
    "Weights": "artifact",
    "load": "artifact",
    "Backbone": "backbones",
    "build": "backbones",
    "card": "cards",
    "Intervals": "common.execution",
    "Machine": "common.execution",
    "export": "exports",
    "fold": "folding",
    "InputSpec": "inputs",
    "Head": "regressor",
    "Regressor": "regressor",
    "start": "starts",
    "Receipt": "receipts",
    "TransferError": "receipts",
    "load_into": "transfer",
    "verify": "transfer",
}
__all__ = [
    "Backbone",
    "Head",
    "InputSpec",
    "Intervals",
    "Machine",
    "Receipt",
    "Regressor",
    "TransferError",
    "Weights",
    "build",
    "card",
    "export",
    "fold",
    "load",
    "load_into",
    "start",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
