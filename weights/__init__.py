"""The currency: what a backbone is, which input it expects, and how its numbers travel."""

from .artifact import Weights, load
from .backbones import Backbone, build
from .inputs import InputSpec
from .layouts import export
from .starts import start
from .transfer import Receipt, TransferError, load_into

__all__ = ["Backbone", "InputSpec", "Receipt", "TransferError", "Weights", "build", "export", "load", "load_into", "start"]
