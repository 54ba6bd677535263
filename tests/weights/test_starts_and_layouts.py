"""Starts say what they are; exports load in plain torchvision and timm, in an interpreter without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.weights.test_artifact import weights_of
from ubr.weights import InputSpec, TransferError, build, export, load, start


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


def test_start__random_is_a_function_of_the_seed_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = start("timm/test_resnet", seed=1), start("timm/test_resnet", seed=1), start("timm/test_resnet", seed=2)
    assert equal(a.body, b.body) and not equal(a.body, c.body)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_start__state_dict_of_torchvision_from_a_file(ending: str, tmp_path: Path) -> None:
    """The road of a machine without internet: torchvision's own file, classifier and all."""
    whole = torchvision.models.alexnet()
    path = tmp_path / f"alexnet{ending}"
    torch.save(whole.state_dict(), path) if ending == ".pth" else save_file(whole.state_dict(), path)
    assert equal(start("alexnet", str(path)).body, whole)


def test_start__earlier_weights_of_this_project(tmp_path: Path) -> None:
    w = weights_of("timm/test_resnet", seed=7)
    w.save(tmp_path / "w.safetensors")
    net = start("timm/test_resnet", str(tmp_path / "w.safetensors"), inputs=w.inputs)
    assert all(torch.equal(net.body.state_dict()[n], t) for n, t in w.trunk.items())
    with pytest.raises(ValueError, match=r"weights of timm/test_resnet, the recipe's backbone is alexnet; give --backbone"):
        start("alexnet", str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match=r"trained with window_hu, mean, std .*-200"):
        start("timm/test_resnet", str(tmp_path / "w.safetensors"), inputs=InputSpec(window_hu=(-1000, 1000)))


def test_start__an_incomplete_file_raises_rather_than_starting_at_random(tmp_path: Path) -> None:
    state = torchvision.models.alexnet().state_dict()
    del state["features.3.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(TransferError, match=r"1 missing \(features.3.weight\)"):
        start("alexnet", str(tmp_path / "a.pth"))


def test_start__imagenet_without_weights_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"no ImageNet weights for vgg16 in the cache.*--start FILE, or use --start random"):
        start("vgg16", "imagenet")
    with pytest.raises(ValueError, match=r"ImageNet weights expect a 0..1 window"):
        start("vgg16", "imagenet", inputs=InputSpec(mean=(50, 50, 50), std=(1, 1, 1)))


@pytest.mark.parametrize(
    ("source", "reason"),
    [("imagnet", "unknown start 'imagnet': not 'random', 'imagenet' or an existing file"), (__file__, "not a state dict")],
)
def test_start__refuses(source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        start("alexnet", source)


@pytest.mark.parametrize(
    ("name", "offers"),
    [("vgg19", "vgg16"), ("resnet18", "timm/resnet18"), ("timm/resnet19", "timm/resnet18|timm/resnet10t"), ("timm/xyz", "allowed")],
)
def test_build__offers_the_nearest_names(name: str, offers: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown backbone '{name}'; nearest: .*({offers})"):
        build(name)


@pytest.mark.parametrize(
    "name", ["vgg16", "alexnet", "timm/test_resnet", "timm/resnet18", "timm/mobilenetv3_small_050", "timm/test_convnext"]
)
def test_backbone__map_is_as_announced(name: str) -> None:
    backbone = build(name).eval()
    with torch.no_grad():
        out = backbone(torch.zeros(1, 3, 64, 96))
    assert out.shape[1] == backbone.channels
    # Kernels without padding (AlexNet) lose a border of less than one cell.
    assert all(side // backbone.stride - 1 <= n <= side // backbone.stride for side, n in zip((64, 96), out.shape[2:], strict=True))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("vgg16", "torchvision"),
        ("alexnet", "torchvision"),
        ("timm/resnet18", "torchvision"),
        ("timm/test_resnet", "timm"),
        ("timm/test_convnext", "timm"),
    ],
)
def test_export__snippet_works_in_a_fresh_interpreter_without_this_package(name: str, to: str, tmp_path: Path) -> None:
    w = weights_of(name, seed=5)
    snippet = export(w, tmp_path / "trunk.pth", to=to)  # type: ignore[arg-type]
    check = "\nimport sys; assert not any(m.startswith('ubr') for m in sys.modules)"
    done = subprocess.run([sys.executable, "-c", snippet + check], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = torch.load(tmp_path / "trunk.pth", weights_only=True)
    assert set(loaded) == set(w.trunk) and all(torch.equal(t, w.trunk[n]) for n, t in loaded.items())
    assert (tmp_path / "trunk.pth.inputs.json").is_file()


def test_export__refuses_to_replace_and_layouts_that_do_not_exist(tmp_path: Path) -> None:
    w = weights_of("timm/test_resnet")
    (tmp_path / "there.pth").write_text("mine")
    with pytest.raises(ValueError, match="exists; give another path or --overwrite"):
        export(w, tmp_path / "there.pth", to="timm")
    assert (tmp_path / "there.pth").read_text() == "mine"
    with pytest.raises(ValueError, match="backbone timm/test_resnet has no layout 'torchvision'; it has: timm"):
        export(w, tmp_path / "new.pth", to="torchvision")
    export(w, tmp_path / "there.pth", to="timm", overwrite=True)
    assert set(torch.load(tmp_path / "there.pth", weights_only=True)) == set(w.trunk)


def test_export__a_trunk_that_lacks_a_tensor_leaves_no_file(tmp_path: Path) -> None:
    w = weights_of("timm/test_resnet")
    del w.trunk[next(iter(w.trunk))]  # type: ignore[attr-defined]
    with pytest.raises(TransferError):
        export(w, tmp_path / "trunk.pth", to="timm")
    assert list(tmp_path.iterdir()) == []


def test_inspect__says_what_the_file_is(tmp_path: Path) -> None:
    w = weights_of("timm/test_resnet")
    w.save(tmp_path / "w.safetensors")
    text = load(tmp_path / "w.safetensors").describe()
    assert "timm/test_resnet" in text and "-200" in text and w.sha256() in text
