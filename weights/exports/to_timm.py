"""timm: a folder with config.json, model.safetensors, a card and a LICENSE.

`timm.create_model` opens it offline, and the Hugging Face hub accepts it.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import timm
import torch

from .. import files
from ..artifact import Weights
from ..cards import card
from ..common.zeroed import Zeroed
from ..layouts import Layout
from ..transfer import load_into, verify
from .common import Writer, given, preparation, prove_it_comes_back, record
from .hub import front_matter, license_text

FILES = frozenset({"config.json", "model.safetensors", "README.md", "LICENSE"})


def _write_timm(weights: Weights, layout: Layout, part: Path, path: Path) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(layout.model, num_classes=0)
    left = load_into(model, weights).left
    state = model.state_dict()
    # What timm's model has behind the trunk is stored as initialised, so that timm can load
    # strictly. If it is larger than the trunk (VGG's 120 million parameters), it is left out and
    # timm is configured not to be strict; `verify` below then proves the file.
    strict = sum(state[name].numel() for name in left) < sum(
        t.numel() for t in weights.trunk.values()
    )
    stored = {name: t.contiguous() for name, t in state.items() if strict or name not in left}
    part.mkdir()
    about = record(weights, stored)
    # Not save_file: only their owner can read its files, whatever the umask.
    (part / "model.safetensors").write_bytes(
        safetensors.torch.save(
            stored, metadata={"format": "pt", files.EXPORT: json.dumps(about, sort_keys=True)}
        )
    )
    i = weights.inputs
    config = {
        "architecture": layout.model,
        "num_classes": 0,
        "num_features": model.num_features,
        "pretrained_cfg": {
            **{
                name: vars(timm.get_pretrained_cfg(layout.model)).get(name)
                for name in ("fixed_input_size", "first_conv", "classifier")
            },
            **{
                "input_size": (3, i.size_px, i.size_px),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                "mean": i.mean,
                "std": i.std,
            },
            **{"num_classes": 0, "license": weights.license},
        },
        "ubr": {**about, "image": preparation(i), "untrained": left},
    }
    if not strict:
        config["model_args"] = {"pretrained_strict": False}
    (part / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (part / "README.md").write_text(front_matter(weights) + card(weights) + _untrained(left))
    (part / "LICENSE").write_text(license_text(weights.license))
    prove_it_comes_back(weights, part / "model.safetensors")
    with Zeroed():
        model = timm.create_model(f"local-dir:{part}", pretrained=True)
    verify(model, weights)
    return f"""import timm, torch
# num_classes=N makes a classifier, features_only=True gives maps.
model = timm.create_model({f"local-dir:{path}"!r}, pretrained=True)
# From {given(i)}:  {preparation(i)}
# Then (image - mean) / std. Both are in model.pretrained_cfg: {list(i.mean)}, {list(i.std)}"""


def _untrained(left: tuple[str, ...]) -> str:
    if not left:
        return ""
    return (
        "\n## Untrained tensors\nInitialised by timm and not trained by this method: "
        f"{', '.join(left)}.\n"
    )


WRITER = Writer(_write_timm, contents=FILES)
