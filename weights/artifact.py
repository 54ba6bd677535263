"""One file for weights and everything they need to be used: `.safetensors`, which holds numbers and text and executes nothing.

The trunk is stored as `trunk.<the library's own name>`, the regressor's head as `head.<name>`; the file's metadata holds one JSON text
under "ubr" with the format version, backbone, input contract, provenance, licence and a SHA-256 over all of it but the licence and
provenance.
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
from .inputs import InputSpec
from .transfer import load_into

FORMAT = 1
_FIELDS = ("format", "backbone", "inputs", "provenance", "licence", "sha256")


@dataclass(frozen=True)
class Weights:
    """A trained trunk with its contract.

    backbone: a name that `ubr.weights.build` takes. inputs: the contract it was trained under. trunk: tensors by the library's own names.
    head: the regressor's Conv6 and Fc7 (may be empty). provenance: method, recipe, seed, steps, data fingerprint, metrics, versions; no
    identities. licence: of the weights.
    """

    backbone: str
    inputs: InputSpec
    trunk: Mapping[str, Tensor]
    head: Mapping[str, Tensor] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unstated"

    def sha256(self) -> str:
        """Digest of what changes an output: backbone, contract, and every tensor's name, kind, shape and bytes."""
        digest = hashlib.sha256(json.dumps([self.backbone, self.inputs.to_dict()], sort_keys=True).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def build(self) -> Backbone:
        """The backbone with these weights in it. Raises `TransferError` unless every tensor arrives."""
        backbone = build(self.backbone)
        load_into(backbone.body, self.trunk)
        return backbone

    def describe(self) -> str:
        """What `inspect` prints: backbone, contract, provenance, digest and the tensors' number."""
        numbers = sum(t.numel() for t in self.trunk.values())
        lines = [
            f"backbone    {self.backbone}: {len(self.trunk)} tensors, {numbers:,} numbers; head: {len(self.head)} tensors",
            *(f"input       {name}: {value}" for name, value in self.inputs.to_dict().items()),
            *(f"provenance  {name}: {json.dumps(value)}" for name, value in self.provenance.items()),
            f"licence     {self.licence}",
            f"sha256      {self.sha256()}",
        ]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write the file under a temporary name and rename it, so that a kill leaves nothing half made."""
        path = Path(path)
        about = {
            "format": FORMAT,
            "backbone": self.backbone,
            "inputs": self.inputs.to_dict(),
            "provenance": dict(self.provenance),
            "licence": self.licence,
            "sha256": self.sha256(),
        }
        part = path.with_name(f".{path.name}.part")
        # Not save_file: its files can be read by their owner only, whatever the umask.
        part.write_bytes(safetensors.torch.save(self._tensors(), metadata={"ubr": json.dumps(about, sort_keys=True)}))
        part.replace(path)

    def _tensors(self) -> dict[str, Tensor]:
        parts = (("trunk.", self.trunk), ("head.", self.head))
        return {p + n: t.detach().cpu().contiguous() for p, tensors in parts for n, t in tensors.items()}


def metadata(path: str | Path) -> dict[str, Any] | None:
    """The project's metadata of a safetensors file, None where it has none. Raises `ValueError` where the file cannot be read as one."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ubr")
    except Exception as error:  # the library's own error class is not public
        raise ValueError(f"{path}: not a readable .safetensors file ({str(error).splitlines()[0]}); weights of this project are") from error
    return None if text is None else json.loads(text)


def load(path: str | Path) -> Weights:
    """Read a weights file.

    Raises:
        ValueError: not a safetensors file, another project's, a newer format, a missing field, NaN, or a content that does not match
            its digest.
    """
    about = metadata(path)
    if about is None:
        raise ValueError(f"{path}: a .safetensors file, but not of this project (no 'ubr' metadata)")
    if about.get("format") != FORMAT:
        raise ValueError(f"{path}: format {about.get('format')!r}, this version reads {FORMAT}; upgrade ubr-pretrain")
    if missing := [name for name in _FIELDS if name not in about]:
        raise ValueError(f"{path}: the metadata lacks {', '.join(missing)}")
    tensors = safetensors.torch.load_file(path)
    parts: dict[str, dict[str, Tensor]] = {"trunk": {}, "head": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{path}: unexpected tensor {name!r}; names begin with 'trunk.' or 'head.'")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {name!r} holds NaN or infinity")
        parts[part][rest] = tensor
    weights = Weights(
        about["backbone"], InputSpec.from_dict(about["inputs"]), parts["trunk"], parts["head"], about["provenance"], about["licence"]
    )
    if weights.sha256() != about["sha256"]:
        raise ValueError(f"{path}: the content does not match its digest; the file was altered or damaged")
    return weights
