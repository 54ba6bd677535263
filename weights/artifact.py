"""One file for weights and everything they need to be used: `.safetensors`, which holds numbers and
text and executes nothing.

The trunk is stored as `trunk.<the library's own name>`, the regressor's head, which detectors leave
out, as `head.<name>`. The file's metadata holds one JSON text under "ubr": format version,
backbone, input contract, provenance, licence, what the trunk makes of the reference slice, a
SHA-256 of all that changes an output, and a seal, the SHA-256 of this very text without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .backbones import Backbone, build
from .features import reference_slice
from .inputs import InputSpec
from .layouts import layouts
from .receipts import TransferError
from .transfer import copy_into

FORMAT = 1
_FIELDS = ("format", "backbone", "inputs", "provenance", "licence", "reference", "sha256", "seal")


@dataclass(frozen=True)
class Weights:
    """A trained trunk with its contract.

    backbone: a name that `ubr.weights.build` takes. inputs: the contract it was trained under.
    trunk: tensors by the library's own names. head: the regressor's Conv6 and Fc7 (may be empty).
    provenance: method, recipe, seed, steps, data fingerprint, metrics, versions; no identities.
    licence: of the weights. reference: `fingerprint` of the trunk when the file was written; none
    for weights made in memory.
    """

    backbone: str
    inputs: InputSpec
    trunk: Mapping[str, Tensor]
    head: Mapping[str, Tensor] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unstated"
    reference: tuple[float, ...] | None = None

    def sha256(self) -> str:
        """Digest of what changes an output:

        backbone, contract, and every tensor's name, kind, shape and bytes.
        """
        about = json.dumps(
            [self.backbone, self.inputs.to_dict(), digest(self._tensors())], sort_keys=True
        )
        return hashlib.sha256(about.encode()).hexdigest()

    def build(self) -> Backbone:
        """The backbone with these weights in it, in evaluation mode.

        Raises:
            TransferError: a tensor did not arrive, or the installed library computes something else
                from them than the one that wrote them.
        """
        backbone = build(self.backbone).eval()
        copy_into(backbone.body, self.trunk)
        if self.reference is not None:
            expected, found = (
                torch.tensor(self.reference),
                torch.tensor(fingerprint(backbone, self.inputs)),
            )
            if not float((expected - found).abs().max()) <= 1e-3 * float(expected.abs().max()):
                raise TransferError(
                    "the installed libraries compute other features from these weights than "
                    "those that wrote the file; it was written "
                    f"with {self.provenance.get('versions', 'unstated versions')}"
                )
        return backbone

    def about(self) -> dict[str, Any]:
        """What `inspect` prints, as plain values:

        backbone, contract, provenance, licence, digest, layouts, and a row a tensor.
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
            "licence": self.licence,
            "sha256": self.sha256(),
            "exports_to": [*layouts(self.backbone, self.trunk), *(["onnx"] if self.head else [])],
            "tensors": rows,
        }

    def save(self, path: str | Path) -> None:
        """Write the file under a temporary name and rename it, so that a kill leaves nothing half
        made.

        Raises:
            ValueError: a tensor holds NaN or infinity; such a file could not be loaded.
            TransferError: the trunk is not the backbone's.
        """
        path = Path(path)
        for name, tensor in self._tensors().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ValueError(f"tensor {name!r} holds NaN or infinity; {path} was not written")
        about = {
            "format": FORMAT,
            "backbone": self.backbone,
            "inputs": self.inputs.to_dict(),
            "provenance": dict(self.provenance),
            "licence": self.licence,
            "reference": fingerprint(self.build(), self.inputs),
            "sha256": self.sha256(),
        }
        about["seal"] = _seal(about)
        part = path.with_name(f".{path.name}.part")
        # Not save_file: its files can be read by their owner only, whatever the umask.
        part.write_bytes(
            safetensors.torch.save(
                self._tensors(), metadata={"ubr": json.dumps(about, sort_keys=True)}
            )
        )
        part.replace(path)

    def _tensors(self) -> dict[str, Tensor]:
        parts = (("trunk.", self.trunk), ("head.", self.head))
        return {
            p + n: t.detach().cpu().contiguous() for p, tensors in parts for n, t in tensors.items()
        }


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, kinds, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return total.hexdigest()


def fingerprint(backbone: Backbone, inputs: InputSpec) -> list[float]:
    """Sixteen numbers of the map that a backbone in evaluation mode makes of the reference slice:

    its mean, spread and fourteen values.
    """
    with torch.no_grad():
        flat = backbone(inputs.to_input(reference_slice(inputs))).flatten()
    chosen = torch.linspace(0, len(flat) - 1, 14).long()
    return [float(v) for v in (flat.mean(), flat.std(), *flat[chosen])]


def _seal(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps({k: v for k, v in about.items() if k != "seal"}, sort_keys=True).encode()
    ).hexdigest()


def metadata(path: str | Path) -> dict[str, Any] | None:
    """The project's metadata of a safetensors file, None where it has none.

    Raises `ValueError` where the file cannot be read as one.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ubr")
    except Exception as error:  # the library's own error class is not public
        raise ValueError(
            f"{path}: not a readable .safetensors file ({str(error).splitlines()[0]}); weights "
            "of this project are"
        ) from error
    if text is None:
        return None
    try:
        about = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: the metadata is not JSON ({error}); the file was altered or damaged"
        ) from error
    if not isinstance(about, dict):
        raise ValueError(f"{path}: the metadata is no table; the file was altered or damaged")
    return about


def load(path: str | Path) -> Weights:
    """Read a weights file.

    Raises:
        ValueError: not a safetensors file, another project's, a newer format, a missing field, NaN,
            or a content that does not match its digest.
    """
    about = metadata(path)
    if about is None:
        raise ValueError(
            f"{path}: a .safetensors file, but not of this project (no 'ubr' metadata)"
        )
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format {about.get('format')!r}, this version reads {FORMAT}; upgrade "
            "ubr-pretrain"
        )
    if missing := [name for name in _FIELDS if name not in about]:
        raise ValueError(f"{path}: the metadata lacks {', '.join(missing)}")
    if _seal(about) != about["seal"]:
        raise ValueError(
            f"{path}: the metadata does not match its seal; it was altered after the file was "
            "written"
        )
    tensors = safetensors.torch.load_file(path)
    parts: dict[str, dict[str, Tensor]] = {"trunk": {}, "head": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(
                f"{path}: unexpected tensor {name!r}; names begin with 'trunk.' or 'head.'"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinity")
        parts[part][rest] = tensor
    inputs = InputSpec.from_dict(about["inputs"])
    reference = tuple(about["reference"])
    weights = Weights(
        about["backbone"],
        inputs,
        parts["trunk"],
        parts["head"],
        about["provenance"],
        about["licence"],
        reference,
    )
    if weights.sha256() != about["sha256"]:
        raise ValueError(
            f"{path}: the content does not match its digest; the file was altered or damaged"
        )
    return weights
