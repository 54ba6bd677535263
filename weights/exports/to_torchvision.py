"""torchvision: a state dict, and beside it the contract as JSON.

The contract has torchvision's own names, `image_mean` and `image_std`.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import torch
from torchvision import models

from .. import files
from ..artifact import Weights
from ..common.tensors import torch_save
from ..common.zeroed import Zeroed
from ..layouts import Layout
from ..transfer import verify
from .common import Writer, given, heads, preparation, prove_it_comes_back, record


def _write_torchvision(weights: Weights, layout: Layout, part: Path, path: Path) -> str:
    state = {name: t.contiguous() for name, t in layout.to_theirs(weights.trunk).items()}
    i = weights.inputs
    about = record(weights, state)
    # Plain for every reader. `load_state_dict` passes over metadata that belongs to no module.
    stored = OrderedDict(state)
    stored._metadata = {files.EXPORT: about}  # type: ignore[attr-defined]
    torch_save(stored, part)
    contract = {
        "image": f"{preparation(i)}  # from {given(i)}, float",
        "image_mean": i.mean,
        "image_std": i.std,
        **about,
    }
    files.record_beside(part).write_text(json.dumps(contract, indent=1) + "\n")
    prove_it_comes_back(weights, part)
    with Zeroed():
        model = getattr(models, layout.model)()
    model.load_state_dict(torch.load(part, weights_only=True), strict=False)
    left = heads(layout, verify(model, weights).left)
    return f"""import torch, torchvision
model = torchvision.models.{layout.model}()
loaded = model.load_state_dict(torch.load({str(path)!r}, weights_only=True), strict=False)
assert not loaded.unexpected_keys, loaded
assert all(k.startswith({left!r}) for k in loaded.missing_keys), loaded
# From {given(i)}:  {preparation(i)}
# In a detector: FasterRCNN(..., image_mean={list(i.mean)}, image_std={list(i.std)})
# Elsewhere: (image - mean) / std"""


WRITER = Writer(_write_torchvision, ".pth", beside=lambda path: [files.record_beside(path)])
