"""Weights files: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ubr.pretrain.model import Regressor
from ubr.weights import InputSpec, TransferError, Weights, build, load, load_into, start

NAMES = ["vgg16", "alexnet", "timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet"]


def weights_of(name: str, seed: int = 0) -> Weights:
    backbone = start(name, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        regressor = Regressor(backbone, InputSpec(size_px=64, window_hu=(-200.0, 300.0)))
    return regressor.to_weights({"method": "test", "steps": 0}, "CC0-1.0")


@pytest.mark.parametrize("name", NAMES)
def test_save_load__bitwise_and_scores_the_same(name: str, tmp_path: Path) -> None:
    weights = weights_of(name)
    weights.save(tmp_path / "w.safetensors")
    read = load(tmp_path / "w.safetensors")
    assert (read.backbone, read.inputs, read.licence, read.provenance) == (name, weights.inputs, "CC0-1.0", {"method": "test", "steps": 0})
    assert read.sha256() == weights.sha256()
    for part in ("trunk", "head"):
        assert set(getattr(read, part)) == set(getattr(weights, part))
        assert all(torch.equal(t, getattr(weights, part)[n]) for n, t in getattr(read, part).items())
    grid = torch.randint(-1000, 1000, (3, 64, 64), dtype=torch.int16)
    with torch.no_grad():
        scores = [Regressor.from_weights(w).eval().score(grid) for w in (weights, read)]
        other = Regressor.from_weights(weights_of(name, seed=1)).eval().score(grid)
    assert torch.equal(*scores) and not torch.equal(scores[0], other)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def _meta(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["ubr"])
    change(about)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata={"ubr": json.dumps(about)})


def _tensor(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata=metadata)


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"w": 1})), "not a readable .safetensors file"),
    "empty": (lambda p: p.write_bytes(b""), "not a readable .safetensors file"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "not a readable .safetensors file"),
    "another project's": (lambda p: safetensors.torch.save_file({"w": torch.zeros(1)}, p), "not of this project"),
    "newer": (lambda p: _meta(p, lambda a: a.update(format=2)), "format 2, this version reads 1; upgrade"),
    "missing field": (lambda p: _meta(p, lambda a: a.pop("licence")), "the metadata lacks licence"),
    "another window": (lambda p: _meta(p, lambda a: a["inputs"].update(window_hu=[0, 1])), "does not match its digest"),
    "another backbone": (lambda p: _meta(p, lambda a: a.update(backbone="vgg16")), "does not match its digest"),
    "one number altered": (lambda p: _tensor(p, lambda t: t["head.fc7.bias"].add_(1e-6)), "does not match its digest"),
    "renamed": (lambda p: _tensor(p, lambda t: t.update({"head.fc8": t.pop("head.fc7.bias")})), "does not match its digest"),
    "foreign tensor": (lambda p: _tensor(p, lambda t: t.update(rpn=torch.zeros(1))), "unexpected tensor 'rpn'"),
    "NaN": (lambda p: _tensor(p, lambda t: t["head.fc7.bias"].fill_(float("nan"))), "holds NaN or infinity"),
}


@pytest.mark.parametrize("case", CASES)
def test_load__refuses(case: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights_of("timm/test_resnet").save(path)
    damage, reason = CASES[case]
    damage(path)
    with pytest.raises(ValueError, match=reason):
        load(path)


def test_load__no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such weights file"):
        load(tmp_path / "w.safetensors")


def test_regressor__trunk_only_weights_cannot_score() -> None:
    w = weights_of("timm/test_resnet")
    with pytest.raises(ValueError, match="without the regressor's head"):
        Regressor.from_weights(Weights(w.backbone, w.inputs, w.trunk))


def _changed(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    name = next(n for n, t in tensors.items() if t.ndim == 4)
    t = dict(tensors)
    if how == "dropped":
        del t[name]
    elif how == "renamed":
        t["module." + name] = t.pop(name)
    elif how == "added":
        t["rpn.weight"] = torch.zeros(1)
    elif how == "reshaped":
        t[name] = t[name][:-1]
    elif how == "cast":
        t[name] = t[name].half()
    return t


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("dropped", "1 missing"),
        ("renamed", "1 missing .* 1 unexpected"),
        ("added", "1 unexpected"),
        ("reshaped", "1 of another shape"),
        ("cast", "1 of another kind"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_load_into__all_or_nothing(name: str, how: str, reason: str) -> None:
    target, source = build(name), dict(weights_of(name).trunk)
    before = {n: t.clone() for n, t in target.body.state_dict().items()}
    with pytest.raises(TransferError, match=f"nothing was loaded: .*{reason}"):
        load_into(target.body, _changed(source, how))
    assert all(torch.equal(t, before[n]) for n, t in target.body.state_dict().items())
    receipt = load_into(target.body, source)
    assert set(receipt.loaded) == set(source) and receipt.left == ()


def test_load_into__prefix_leaves_the_rest_alone() -> None:
    w = weights_of("timm/test_resnet")
    detector = torch.nn.ModuleDict({"backbone": build("timm/test_resnet").body, "rpn": torch.nn.Linear(2, 2)})
    receipt = load_into(detector, w.trunk, prefix="backbone.")
    assert receipt.left == ("rpn.bias", "rpn.weight") and len(receipt.loaded) == len(w.trunk)
