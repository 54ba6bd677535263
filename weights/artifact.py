"""The weights file: one `.safetensors` with everything that is needed to use the weights.

Such a file holds numbers and text; reading it executes nothing. The trunk is stored as
`trunk.<the library's own name>`. The regressor's head, which detectors leave out, is stored as
`head.<name>`. The metadata holds one JSON text under "ubr": format version, backbone, input
contract, provenance, license ("licence"), the trunk's features of the reference slice, a SHA-256
of everything that changes an output, and a seal. The seal is the SHA-256 of this JSON text without
the seal itself.

Digest and seal guard against accidents, not against forgery: whoever alters the file on purpose can
make both anew. A checksum that is published beside the file does (`common.published`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from .backbones import Backbone, build
from .common import disk, doors
from .common.published import check_published
from .common.shapes import Shape
from .common.stored import values_sha256
from .common.tensors import check_numbers, load_safetensors
from .common.zeroed import Zeroed
from .inputs import InputSpec, reference_slice
from .layouts import layouts_of
from .provenance import Provenance
from .receipts import TransferError, copy_into
from .released import check_there, resolve

FORMAT = 1
WEIGHTS_FILE = "weights.safetensors"
"""Its name in a run folder."""
ALTERED = "the file was altered or damaged"

_FIELDS = ("format", "backbone", "inputs", "provenance", "licence", "reference", "sha256", "seal")


class _About(Shape):
    """The metadata, once its fields are there."""

    backbone: str
    inputs: dict[str, Any]
    provenance: Provenance
    licence: str
    reference: Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]
    sha256: str
    seal: str


@dataclass(frozen=True)
class Weights:
    """A trained trunk with its contract.

    Attributes:
        backbone: a name that `ubr.weights.build` takes.
        inputs: the contract that it was trained under.
        trunk: tensors by the library's own names.
        head: the regressor's Conv6 and Fc7; may be empty.
        provenance: method, recipe, seed, steps, data fingerprint, metrics, versions; no identities.
        license: of the weights.
        reference: `reference_features` of the trunk when the file was written; None for weights
            that were made in memory.
    """

    backbone: str
    inputs: InputSpec
    trunk: Mapping[str, Tensor]
    head: Mapping[str, Tensor] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    license: str = "unstated"
    reference: tuple[float, ...] | None = None

    def sha256(self) -> str:
        """SHA-256 of everything that changes an output.

        That is the backbone, the contract, and every tensor's name, dtype, shape and bytes.
        """
        about = [self.backbone, self.inputs.to_dict(), tensors_sha256(self._tensors())]
        return values_sha256(about)

    def made(self) -> Provenance:
        """The provenance, as far as this project reads it.

        Raises:
            ValueError: it holds something of another kind, such as a number in place of a table.
        """
        doors.check(dict(self.provenance), Provenance, "provenance", "correct it")
        return Provenance.model_validate(dict(self.provenance))

    def build(self) -> Backbone:
        """The backbone with these weights, in evaluation mode.

        Raises:
            TransferError: a tensor did not arrive, or the installed library computes other features
                from them than the library that wrote them.
        """
        with Zeroed():
            backbone = build(self.backbone).eval()
        copy_into(backbone.body, self.trunk)
        if self.reference is not None:
            expected = torch.tensor(self.reference)
            found = torch.tensor(reference_features(backbone, self.inputs))
            if not float((expected - found).abs().max()) <= 1e-3 * float(expected.abs().max()):
                raise TransferError(
                    "the installed libraries compute different features from these weights than "
                    "those that wrote the file; it was written with "
                    f"{self.provenance.get('versions', 'unstated versions')}"
                )
        return backbone

    def about(self) -> dict[str, Any]:
        """The output of `inspect` as plain values.

        Backbone, contract, provenance, license, SHA-256, layouts, and one row per tensor.
        """
        rows = [
            {
                "name": name,
                "shape": list(t.shape),
                "kind": str(t.dtype).removeprefix("torch."),
                "numbers": t.numel(),
            }
            for name, t in sorted(
                self._tensors().items(),
                key=lambda item: [int(p) if p.isdecimal() else p for p in item[0].split(".")],
            )
        ]
        return {
            "backbone": self.backbone,
            "inputs": self.inputs.to_dict(),
            "provenance": dict(self.provenance),
            "license": self.license,
            "sha256": self.sha256(),
            "exports_to": [
                *layouts_of(self.backbone, self.trunk),
                *(["onnx"] if self.head else []),
            ],
            "tensors": rows,
        }

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ValueError: a tensor holds NaN or infinity, or the provenance a value of the wrong
                type; such a file could not be loaded.
            TransferError: the trunk does not fit the backbone.
        """
        path = Path(path)
        for name, tensor in self._tensors().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"tensor {name!r} holds NaN or infinity; {path} was not written")
        self.made()
        about = {
            "format": FORMAT,
            "backbone": self.backbone,
            "inputs": self.inputs.to_dict(),
            "provenance": dict(self.provenance),
            "licence": self.license,
            "reference": reference_features(self.build(), self.inputs),
            "sha256": self.sha256(),
        }
        about["seal"] = _seal(about)
        metadata = {"ubr": json.dumps(about, sort_keys=True)}
        # Not save_file: only their owner can read its files, whatever the umask.
        disk.write_bytes(path, safetensors.torch.save(self._tensors(), metadata=metadata))

    def _tensors(self) -> dict[str, Tensor]:
        parts = (("trunk.", self.trunk), ("head.", self.head))
        return {
            p + n: t.detach().cpu().contiguous() for p, tensors in parts for n, t in tensors.items()
        }


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def reference_features(backbone: Backbone, inputs: InputSpec) -> list[float]:
    """Sixteen numbers that identify a backbone's feature map of the reference slice.

    Mean, standard deviation and fourteen values of the map. The backbone must be in evaluation
    mode.
    """
    with torch.no_grad():
        flat = backbone(inputs.to_input(reference_slice(inputs))).flatten()
    chosen = torch.linspace(0, len(flat) - 1, 14).long()
    return [float(v) for v in (flat.mean(), flat.std(), *flat[chosen])]


def _seal(about: Mapping[str, Any]) -> str:
    return values_sha256({k: v for k, v in about.items() if k != "seal"})


def metadata(path: str | Path) -> dict[str, Any] | None:
    """The project's metadata in a safetensors file, None if there is none.

    Raises:
        ValueError: there is no file, or it cannot be read as safetensors.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: a folder; give the weights.safetensors in it")
    check_there(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file; give a weights file")
    if path.suffix == ".onnx":
        raise ValueError(
            f"{path}: an ONNX export, which `score` takes; give the weights that it was made from"
        )
    with path.open("rb") as opened:
        first = opened.read(2)
    if first in (b"PK", b"\x80\x02"):  # torch.save's zip and pickle
        raise ValueError(
            f"{path}: a PyTorch checkpoint, not a weights file; give the weights.safetensors "
            "that a finished run has in its folder (a detector's run folder goes to "
            "ubr-detect)"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ubr")
    except Exception as error:  # the library's own error class is not public
        raise ValueError(
            f"{path}: not a readable .safetensors file; give a weights file of this project"
        ) from error
    if text is None:
        return None
    about = doors.from_json(text, f"{path}: the metadata", ALTERED)
    if not isinstance(about, dict):
        raise ValueError(f"{path}: the metadata is not a JSON object; {ALTERED}")
    return about


def has_head(path: Path) -> bool:
    """Whether a file is weights of this project with the regressor's head."""
    if path.suffix != ".safetensors" or not path.is_file() or metadata(path) is None:
        return False
    with safetensors.safe_open(path, "pt") as file:
        return any(name.startswith("head.") for name in file.keys())


def weights_file(path: str | Path) -> Path:
    """The weights file that is meant: a file, that of a run folder, or a packaged one by its name.

    Raises:
        ValueError: a folder without weights, or a name without a file.
    """
    if not (path := resolve(path)).is_dir():
        return path
    if not (path / WEIGHTS_FILE).is_file():
        raise ValueError(
            f"{path} holds no {WEIGHTS_FILE}; give a weights file, or the folder of a finished run"
        )
    return path / WEIGHTS_FILE


def load(path: str | Path) -> Weights:
    """Read a weights file, or that of a run folder, or the bundled weights `released`.

    The digest in the file detects accidents. Only a checksum from elsewhere detects forgery: if
    `FILE.sha256`, as printed by `sha256sum`, is beside the file, the file is checked against it.

    Raises:
        ValueError: a folder without weights, not a safetensors file, not of this project, a newer
            format, a missing field or one of the wrong type, NaN, or content that does not match
            its digest or the published checksum.
    """
    path = weights_file(path)
    if path.is_file():
        check_published(path)
    about = metadata(path)
    if about is None:
        raise ValueError(
            f"{path}: a .safetensors file, but not of this project (it has no 'ubr' metadata)"
        )
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format {about.get('format')!r}, but this version reads {FORMAT}; upgrade "
            "ubr-pretrain"
        )
    if missing := [name for name in _FIELDS if name not in about]:
        raise ValueError(f"{path}: the metadata lacks {', '.join(missing)}; {ALTERED}")
    if _seal(about) != about["seal"]:
        raise ValueError(
            f"{path}: the metadata does not match its seal; it was altered after the file was "
            "written"
        )
    doors.check(about, _About, f"{path}: the metadata", ALTERED)
    trunk, head = _parts(path, load_safetensors(path, ALTERED)[0])
    weights = Weights(
        about["backbone"],
        _contract(path, about["inputs"]),
        trunk,
        head,
        about["provenance"],
        about["licence"],
        tuple(about["reference"]),
    )
    if weights.sha256() != about["sha256"]:
        raise ValueError(f"{path}: the content does not match its digest; {ALTERED}")
    return weights


def _contract(path: Path, values: dict[str, Any]) -> InputSpec:
    try:
        return InputSpec.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parts(
    path: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of trunk and head in a file, under their own names."""
    check_numbers(path, tensors)
    parts: dict[str, dict[str, Tensor]] = {"trunk": {}, "head": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(
                f"{path}: unexpected tensor {name!r}; names begin with 'trunk.' or 'head.'"
            )
        parts[part][rest] = tensor
    return parts["trunk"], parts["head"]
