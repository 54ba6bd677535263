"""An exported regressor: one `.onnx` file that scores without torch, by the contract inside it.

`ubr.weights.export` writes it. Its metadata hold one JSON text under "ubr": backbone, input
contract, provenance, license ("licence"), the digest of the weights, the scores of a few synthetic
slices, which a runtime must give before it may score, and the CRC-32 of the whole file, with
question marks in its place.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, FiniteFloat

from .common import doors
from .common.checksums import say_unverified
from .common.execution import Runtime
from .common.pool import cores
from .common.published import check_published
from .common.shapes import Shape
from .inputs import InputSpec
from .network import CPU_BATCH, PARITY, Chosen, Network, Ready, apart, cpu_streams
from .provenance import Provenance
from .released import check_there, resolve
from .sessions import OnnxSession, openvino, trial, with_onnx, with_openvino

ENDING = ".onnx"
KEY = "ubr"
"""Of the metadata that are this project's."""
_MARK, _BLANK = b'"crc32": "', b"????????"
REMEDY = "export the weights again: ubr-pretrain export FILE --to onnx --out FILE.onnx"


class _About(Shape):
    backbone: str
    inputs: dict[str, Any]
    licence: str
    weights_sha256: str
    # Files of earlier versions have none of these.
    provenance: Provenance = Provenance()
    scores: Annotated[list[FiniteFloat], Field(min_length=1, max_length=CPU_BATCH)] | None = None
    crc32: str | None = None


def metadata_of(about: Mapping[str, Any]) -> str:
    """The text for the metadata of a model that is to be sealed."""
    return json.dumps({**about, "crc32": _BLANK.decode()})


def sealed(model: bytes) -> bytes:
    """A model with its checksum in place of the question marks."""
    at = model.rindex(_MARK + _BLANK) + len(_MARK)
    return b"".join([model[:at], f"{zlib.crc32(model):08x}".encode(), model[at + len(_BLANK) :]])


def _check_seal(path: Path, model: bytes, about: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the checksum is wrong. Files of earlier versions have none."""
    if "crc32" not in about and "scores" not in about:
        say_unverified("the exported weights")
        return
    digits = str(about.get("crc32")).encode()
    at = model.rfind(_MARK + digits) + len(_MARK)
    blank = b"".join([model[:at], _BLANK, model[at + len(_BLANK) :]])
    if f"{zlib.crc32(blank):08x}".encode() != digits:
        raise ValueError(f"{path}: its checksum is wrong: the file is damaged; {REMEDY}")


@dataclass(frozen=True)
class Exported:
    """An exported regressor with its contract. Scores are all that it gives, no features.

    Attributes:
        backbone: its name.
        inputs: the contract.
        weights_sha256: digest of the weights that were exported.
        provenance: of those weights.
        license: of the weights.
        scores: of the synthetic slices, as torch computed them; None in files of earlier versions.
        model: the file's bytes.
    """

    backbone: str
    inputs: InputSpec
    weights_sha256: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    license: str = "unstated"
    scores: tuple[float, ...] | None = None
    model: bytes = field(default=b"", repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Exported:
        """Read an exported file, or the bundled weights `released`.

        Raises `ValueError` for a file that is not an ONNX model, has no input contract, has inputs
        or outputs that contradict the contract, or does not match its published checksum.
        """
        path = resolve(path)
        check_there(path)
        if not path.is_file():
            raise ValueError(f"{path} is not a file; give an .onnx file")
        check_published(path)
        model = path.read_bytes()
        session = _opened(path, model)
        if KEY not in session.metadata:
            raise ValueError(
                f"{path}: this ONNX model has no input contract, and which slices it takes is "
                f"never guessed; {REMEDY}"
            )
        about = doors.from_json(session.metadata[KEY], f"{path}: the metadata", REMEDY)
        doors.check(about, _About, f"{path}: the metadata", REMEDY)
        _check_seal(path, model, about)
        try:
            inputs = InputSpec.from_dict(about["inputs"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        _check_ends(path, session, inputs)
        scores = about.get("scores")
        return cls(
            about["backbone"],
            inputs,
            about["weights_sha256"],
            about.get("provenance", {}),
            about["licence"],
            None if scores is None else tuple(scores),
            model,
        )

    def sha256(self) -> str:
        """The digest of the weights that were exported, by which regions know them."""
        return self.weights_sha256

    def made(self) -> Provenance:
        """The provenance, as far as this project reads it."""
        return Provenance.model_validate(dict(self.provenance))

    def prepared(self, device: str, choice: Runtime, *, features: bool) -> Ready:
        """As `scorable.prepared`; the device can only be the CPU."""
        if device not in ("auto", "cpu"):
            raise ValueError(f"device {device!r}: an ONNX export runs only on the CPU; use 'cpu'")
        if choice == "torch":
            raise ValueError("runtime 'torch' needs the weights themselves; use 'onnx' or 'auto'")
        if features:
            raise ValueError(
                "an ONNX export gives scores but no features; omit `features` and regions that "
                "classify by them, or give the weights themselves"
            )
        return lambda slices: self._ready(choice)

    def _ready(self, choice: Runtime) -> tuple[Network, tuple[str, ...]]:
        """OpenVINO where it is installed, ONNX Runtime elsewhere, unless one is chosen."""
        if choice == "auto" and find_spec("openvino"):
            try:
                return self._network("openvino"), ()
            except ValueError as error:
                return self._network("onnx"), (f"{error}; ONNX Runtime was used",)
        return self._network("openvino" if choice == "openvino" else "onnx"), ()

    def _network(self, runtime: Chosen) -> Network:
        streams, threads = cpu_streams(cores())
        grid = trial(self.inputs)
        infer = with_onnx(self.model, threads).infer
        if self.scores is not None and len(self.scores) == len(grid):
            expected = np.array(self.scores, np.float32)
        else:  # of an earlier version
            expected = infer(grid)[0]
        if runtime == "openvino":
            infer = with_openvino(_openvino_model(self.model), grid.shape, streams, threads)
        difference = apart(infer(grid)[0], expected)
        if not difference <= PARITY:
            raise ValueError(
                f"scores under runtime {runtime!r} differ from those of the export by "
                f"{difference:.2g} (allowed: {PARITY:g}): the file is damaged, or the runtime "
                "cannot run it"
            )
        return Network(runtime, CPU_BATCH, streams, infer)


def _openvino_model(model: bytes) -> Any:
    return openvino().Core().read_model(model, b"")


def _opened(path: Path, model: bytes) -> OnnxSession:
    try:
        return with_onnx(model, 1)
    except Exception as error:  # of a damaged model ONNX Runtime raises its own classes
        if type(error) is ValueError or isinstance(error, MemoryError):
            raise
        raise ValueError(
            f"{path}: not a readable ONNX model ({type(error).__name__}); {REMEDY}"
        ) from None


def _check_ends(path: Path, session: OnnxSession, inputs: InputSpec) -> None:
    """Raise `ValueError` where a model takes or gives something else than its contract says."""
    size = inputs.size_px
    sides = [3, size, size] if inputs.neighbours_mm else [size, size]
    given = session.inputs.get("hu")
    if len(session.inputs) != 1 or given is None or list(given[1:]) != sides:
        raise ValueError(
            f"{path}: the model takes {dict(session.inputs)}, but its contract says hu, slices of "
            f"{sides}; {REMEDY}"
        )
    if next(iter(session.outputs)) != "score":
        raise ValueError(f"{path}: the model gives {list(session.outputs)}, not score; {REMEDY}")
