"""What can score: weights, which torch makes ready, or an exported ONNX, which needs no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .common.execution import Runtime
from .exported import ENDING, Exported
from .network import Ready
from .provenance import Provenance
from .released import resolve

if TYPE_CHECKING:
    from .artifact import Weights
    from .inputs import InputSpec


class Scorable(Protocol):
    """What scores depend on: `Weights`, or an `Exported`."""

    @property
    def backbone(self) -> str:
        """Its name."""

    @property
    def inputs(self) -> InputSpec:
        """The contract."""

    def sha256(self) -> str:
        """Digest of the weights, by which regions know them."""

    def made(self) -> Provenance:
        """The provenance."""


def opened(given: str | Path | Weights | Exported) -> Weights | Exported:
    """Weights, or a file of them: `.onnx` as exported, any other as `ubr.weights.load` reads it.

    Raises `ValueError` for a file that is neither, and for weights where torch is not installed.
    """
    if not isinstance(given, str | Path):
        return given
    if resolve(given).suffix == ENDING:
        return Exported.load(given)
    if find_spec("torch") is None:
        raise ValueError(
            f"{given}: reading weights needs PyTorch, which is not installed; where it is, export "
            "them with: ubr-pretrain export FILE --to onnx --out FILE.onnx, and give that file"
        )
    from .artifact import load

    return load(given)


def prepared(weights: Weights | Exported, device: str, choice: Runtime, *, features: bool) -> Ready:
    """Weights on a device, for a runtime.

    Raises `ValueError` for weights without the head, a device that is not there, or where an
    exported ONNX is asked for what it does not give.
    """
    if isinstance(weights, Exported):
        return weights.prepared(device, choice, features=features)
    from .runtimes import prepared

    return prepared(weights, device, choice, features=features)
