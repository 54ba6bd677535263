"""Weights files: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.made.networks import BACKBONES, kept, weights_of
from ubr.weights import Backbone, Regressor, TransferError, artifact, load, start


@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_convnext"])
def test_save_load__bitwise_and_scores_the_same(name: str, tmp_path: Path) -> None:
    weights = kept(name)
    weights.save(tmp_path / "w.safetensors")
    read = load(tmp_path / "w.safetensors")
    assert (read.backbone, read.inputs, read.license, read.provenance) == (
        name,
        weights.inputs,
        "CC0-1.0",
        {"method": "test", "steps": 0},
    )
    assert read.sha256() == weights.sha256()
    for part in ("trunk", "head"):
        assert set(getattr(read, part)) == set(getattr(weights, part))
        assert all(
            torch.equal(t, getattr(weights, part)[n]) for n, t in getattr(read, part).items()
        )
    side = weights.inputs.size_px
    grid = torch.randint(-1000, 1000, (3, side, side), dtype=torch.int16)
    with torch.no_grad():
        scores = [Regressor.from_weights(w).eval().score(grid) for w in (weights, read)]
        other = Regressor.from_weights(weights_of(name, seed=1)).eval().score(grid)
    assert torch.equal(*scores) and not torch.equal(scores[0], other)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def _meta(path: Path, change: Callable[[dict[str, Any]], None], *, sealed: bool = False) -> None:
    """Change the metadata; sealed: as somebody would who also makes the seal anew."""
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["ubr"])
    change(about)
    if sealed:
        about["seal"] = artifact._seal(about)
    safetensors.torch.save_file(
        safetensors.torch.load_file(path), path, metadata={"ubr": json.dumps(about)}
    )


def _tensor(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata=metadata)


def _text(path: Path, text: str) -> None:
    safetensors.torch.save_file({"w": torch.zeros(1)}, path, metadata={"ubr": text})


FC7 = "head.fc7.bias"
CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"w": 1})), "not a readable .safetensors file"),
    "empty": (lambda p: p.write_bytes(b""), "not a readable .safetensors file"),
    "truncated": (
        lambda p: p.write_bytes(p.read_bytes()[:-100]),
        "not a readable .safetensors file",
    ),
    "another project's": (
        lambda p: safetensors.torch.save_file({"w": torch.zeros(1)}, p),
        "not of this project",
    ),
    "metadata that is no JSON": (lambda p: _text(p, "{"), "the metadata is not JSON"),
    "metadata that is no table": (lambda p: _text(p, "[]"), "the metadata is not a JSON object"),
    "newer": (
        lambda p: _meta(p, lambda a: a.update(format=2)),
        "format 2, but this version reads 1; upgrade",
    ),
    **{
        f"without {field}": (
            lambda p, field=field: _meta(p, lambda a: a.pop(field)),
            f"the metadata lacks {field}",
        )  # type: ignore[misc]
        for field in ("backbone", "inputs", "provenance", "licence", "reference", "sha256", "seal")
    },
    "another licence": (
        lambda p: _meta(p, lambda a: a.update(licence="MIT")),
        "does not match its seal",
    ),
    "another provenance": (
        lambda p: _meta(p, lambda a: a["provenance"].update(steps=9)),
        "does not match its seal",
    ),
    "another window": (
        lambda p: _meta(p, lambda a: a["inputs"].update(window_hu=[0, 1]), sealed=True),
        "does not match its digest",
    ),
    "another backbone": (
        lambda p: _meta(p, lambda a: a.update(backbone="vgg16"), sealed=True),
        "does not match its digest",
    ),
    **{
        f"forged: {name}": (
            lambda p, change=change: _meta(p, lambda a: a.update(change(a)), sealed=True),
            reason,
        )  # type: ignore[misc]
        for name, change, reason in (
            (
                "a provenance",
                lambda a: {"provenance": 5},
                "the metadata: provenance must be a table",
            ),
            (
                "data",
                lambda a: {"provenance": {"data": 5}},
                "provenance.data must be a table, got 5",
            ),
            (
                "series",
                lambda a: {"provenance": {"data": {"series": "all"}}},
                "data.series must be",
            ),
            ("start", lambda a: {"provenance": {"start": [1]}}, "provenance.start must be a table"),
            (
                "a range",
                lambda a: {"provenance": {"start": {"first_convolution_saw": [1]}}},
                "first_convolution_saw",
            ),
            ("versions", lambda a: {"provenance": {"versions": 3}}, "provenance.versions must be"),
            ("inputs", lambda a: {"inputs": 3}, "the metadata: inputs must be a table, got 3"),
            ("a field", lambda a: {"inputs": {**a["inputs"], "window_hu": 9}}, "window_hu must be"),
            (
                "a text",
                lambda a: {"inputs": {**a["inputs"], "size_px": "9"}},
                "size_px must be a va",
            ),
            (
                "a size",
                lambda a: {"inputs": {**a["inputs"], "size_px": 10**10}},
                "must be in 16..20",
            ),
            (
                "a mean",
                lambda a: {"inputs": {**a["inputs"], "mean": [1, 2, "x"]}},
                "mean.2 must be a",
            ),
            ("a backbone", lambda a: {"backbone": ["vgg16"]}, "backbone must be a valid string"),
            ("a licence", lambda a: {"licence": None}, "licence must be a valid string, got None"),
            ("features", lambda a: {"reference": 1}, "reference must be a valid list, got 1"),
            (
                "few features",
                lambda a: {"reference": [1.0]},
                "reference list should have at least 16",
            ),
        )
    },
    "metadata that are nested too deep": (
        lambda p: _text(p, "[" * 100_000),
        r"the metadata is not JSON \(nested too deep\); the file was altered",
    ),
    "no window": (
        lambda p: _meta(p, lambda a: a["inputs"].pop("window_hu"), sealed=True),
        "an input contract has the fields",
    ),
    "one number altered": (
        lambda p: _tensor(p, lambda t: t[FC7].add_(1e-6)),
        "does not match its digest",
    ),
    "cast": (
        lambda p: _tensor(p, lambda t: t.update({FC7: t[FC7].half()})),
        "does not match its digest",
    ),
    "transposed": (
        lambda p: _tensor(
            p, lambda t: t.update({"head.fc7.weight": t["head.fc7.weight"].T.contiguous()})
        ),
        "does not match",
    ),
    "dropped": (lambda p: _tensor(p, lambda t: t.pop(FC7)), "does not match its digest"),
    "renamed": (
        lambda p: _tensor(p, lambda t: t.update({"head.fc8": t.pop(FC7)})),
        "does not match its digest",
    ),
    "foreign tensor": (
        lambda p: _tensor(p, lambda t: t.update(rpn=torch.zeros(1))),
        "unexpected tensor 'rpn'",
    ),
    "NaN": (lambda p: _tensor(p, lambda t: t[FC7].fill_(float("nan"))), "holds NaN or infinity"),
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
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "w.safetensors")


def test_load__of_a_run_folder(tmp_path: Path) -> None:
    weights = weights_of("timm/test_resnet")
    weights.save(tmp_path / "run" / "weights.safetensors")
    for path in (tmp_path / "run", str(tmp_path / "run"), tmp_path / "run" / "weights.safetensors"):
        assert load(path).sha256() == weights.sha256()
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"new holds no weights\.safetensors; give a weights file"):
        load(tmp_path / "new")


def test_load__of_a_backbone_that_the_installed_timm_does_not_know(tmp_path: Path) -> None:
    weights = dataclasses.replace(weights_of("timm/test_resnet"), backbone="timm/resnet_of_2031")
    with pytest.raises(
        ValueError,
        match=r"unknown backbone 'timm/resnet_of_2031'; nearest: .*of the installed timm \d",
    ):
        weights.build()


def test_build__refuses_where_the_installed_library_computes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a later timm had given this network's norms another epsilon:

    every tensor fits, the features do not.
    """
    weights_of("timm/test_resnet").save(tmp_path / "w.safetensors")
    weights = load(tmp_path / "w.safetensors")
    weights.build()
    made = artifact.build

    def otherwise(name: str) -> Backbone:
        net = made(name)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.1
        return net

    monkeypatch.setattr(artifact, "build", otherwise)
    with pytest.raises(
        TransferError, match="the installed libraries compute different features from these weights"
    ):
        weights.build()


def test_save__a_trunk_that_does_not_fit_its_backbone_leaves_no_file(tmp_path: Path) -> None:
    weights = weights_of("timm/test_resnet")
    some = dict(list(weights.trunk.items())[1:])
    with pytest.raises(TransferError, match="1 missing"):
        dataclasses.replace(weights, trunk=some).save(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_save__of_nan_leaves_no_file(tmp_path: Path) -> None:
    weights = weights_of("timm/test_resnet")
    weights.trunk["conv1.0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(
        ValueError, match=r"tensor 'trunk.conv1.0.weight' holds NaN or infinity; .* was not written"
    ):
        weights.save(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_about__names_every_tensor_and_layout() -> None:
    weights = kept("timm/resnet18")
    about = json.loads(json.dumps(weights.about()))
    assert about["sha256"] == weights.sha256() and about["inputs"]["window_hu"] == [-200.0, 300.0]
    assert about["exports_to"] == ["torchvision", "timm", "detectron2", "onnx"]
    rows = {row["name"]: (row["shape"], row["kind"]) for row in about["tensors"]}
    assert rows["trunk.conv1.weight"] == ([64, 3, 7, 7], "float32") and rows["head.fc7.bias"] == (
        [1],
        "float32",
    )
    assert len(rows) == len(weights.trunk) + 4


@pytest.mark.parametrize("name", ["last.ckpt", "best.pth", "w.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_load__a_checkpoint_is_called_one_and_the_weights_are_named(
    name: str, zipped: bool, tmp_path: Path
) -> None:
    torch.save(
        {"state_dict": {"w": torch.zeros(1)}},
        tmp_path / name,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        ValueError,
        match=rf"{name}: a PyTorch checkpoint, not a weights file; give the weights.safetensors",
    ):
        load(tmp_path / name)
    with pytest.raises(ValueError, match=r"holds no weights.safetensors; give a weights file"):
        load(tmp_path)
    (tmp_path / "w.onnx").write_bytes(b"\x08\x08")
    with pytest.raises(ValueError, match=r"w.onnx: an ONNX export, .*; give the weights that it"):
        load(tmp_path / "w.onnx")


def test_load__compares_the_checksum_that_is_published_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "weights.safetensors"
    weights_of("timm/test_resnet").save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = path.with_name("weights.safetensors.sha256")
    beside.write_text(f"{digest}  weights.safetensors\n")
    assert load(path).backbone == load(path.parent).backbone == "timm/test_resnet"
    # As somebody would forge it: digest and seal are made anew.
    weights_of("timm/test_resnet", seed=3).save(path)
    for given in (path, path.parent):
        with pytest.raises(
            ValueError, match=r"its SHA-256 is .*, but weights\.safetensors\.sha256 s"
        ):
            load(given)
    with pytest.raises(ValueError, match=r"its SHA-256 is"):
        start("timm/test_resnet", str(path))
    beside.unlink()
    load(path)


def test_save__of_a_provenance_that_could_not_be_loaded_leaves_no_file(tmp_path: Path) -> None:
    weights = dataclasses.replace(weights_of("timm/test_resnet"), provenance={"data": "ours"})
    with pytest.raises(
        ValueError, match=r"provenance: data must be a table, got 'ours'; correct it"
    ):
        weights.save(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []
