"""Starts: each is what it says it is, and says so in its origin."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from tests.made.networks import weights_of
from ubr.weights import InputSpec, TransferError, build, start
from ubr.weights.backbones import check_all_trains
from ubr.weights.starts import _scales


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


def test_start__random_is_a_function_of_the_seed_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = (
        start("timm/test_resnet", seed=1),
        start("timm/test_resnet", seed=1),
        start("timm/test_resnet", seed=2),
    )
    assert equal(a.body, b.body) and not equal(a.body, c.body)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_start__state_dict_of_torchvision_from_a_file(ending: str, tmp_path: Path) -> None:
    """The road of a machine without internet: torchvision's own file, classifier and all."""
    whole = torchvision.models.alexnet()
    path = tmp_path / f"alexnet{ending}"
    torch.save(whole.state_dict(), path) if ending == ".pth" else save_file(
        whole.state_dict(), path
    )
    assert equal(start("alexnet", str(path)).body, whole)


def test_start__earlier_weights_of_this_project(tmp_path: Path) -> None:
    w = weights_of("timm/test_resnet", seed=7)
    w.save(tmp_path / "w.safetensors")
    net = start("timm/test_resnet", str(tmp_path / "w.safetensors"), inputs=w.inputs)
    assert all(torch.equal(net.body.state_dict()[n], t) for n, t in w.trunk.items())
    with pytest.raises(
        ValueError,
        match=r"weights of timm/test_resnet, but the recipe's backbone is alexnet; use backbone=",
    ):
        start("alexnet", str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match=r"trained with window_hu, channels, mean, std .*-200"):
        start(
            "timm/test_resnet",
            str(tmp_path / "w.safetensors"),
            inputs=InputSpec(window_hu=(-1000, 1000)),
        )


def test_start__an_incomplete_file_raises_rather_than_starting_at_random(tmp_path: Path) -> None:
    state = torchvision.models.alexnet().state_dict()
    del state["features.3.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(TransferError, match=r"1 missing \(features.3.weight\)"):
        start("alexnet", str(tmp_path / "a.pth"))


def test_start__imagenet_without_weights_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError,
        match=r"no ImageNet weights for vgg16 in the cache.*start=FILE.*, or use start='random'",
    ):
        start("vgg16", "imagenet")
    with pytest.raises(
        ValueError,
        match=r"its first convolution was trained on inputs of -2.12..2.64 and would get "
        r"-50.00..-49.00; use inputs",
    ):
        start("vgg16", "imagenet", inputs=InputSpec(mean=(50, 50, 50), std=(1, 1, 1)))


def test_start__a_prefix_is_for_files() -> None:
    for source in ("random", "imagenet"):
        with pytest.raises(ValueError, match=f"`start_prefix` 'x.' is .* '{source}' is none"):
            start("alexnet", source, start_prefix="x.")


def test_check_all_trains__refuses_what_does_not_reach_the_map() -> None:
    net = start("timm/hrnet_w18_small")
    with pytest.raises(
        ValueError, match=r"^\d+% of timm/hrnet_w18_small does not reach its deepest"
    ):
        check_all_trains(net, 64)
    net = start("alexnet")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    check_all_trains(net, 64)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("imagnet", "unknown start 'imagnet'; allowed: random, imagenet, released, or an existing"),
        (__file__, "not a state dict"),
    ],
)
def test_start__refuses(source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        start("alexnet", source)


@pytest.mark.parametrize(
    ("name", "offers"),
    [
        ("vgg19", "vgg16"),
        ("resnet18", "timm/resnet18"),
        ("timm/resnet19", "timm/resnet18|timm/resnet10t"),
        ("timm/xyz", "allowed"),
    ],
)
def test_build__offers_the_nearest_names(name: str, offers: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown backbone '{name}'; nearest: .*({offers})"):
        build(name)


@pytest.mark.parametrize(
    "name",
    [
        "vgg16",
        "alexnet",
        "timm/test_resnet",
        "timm/resnet18",
        "timm/mobilenetv3_small_050",
        "timm/test_convnext",
    ],
)
def test_backbone__map_is_as_announced(name: str) -> None:
    backbone = build(name).eval()
    with torch.no_grad():
        out = backbone(torch.zeros(1, 3, 64, 96))
    assert out.shape[1] == backbone.channels
    # Kernels without padding (AlexNet) lose a border of less than one cell.
    assert all(
        side // backbone.stride - 1 <= n <= side // backbone.stride
        for side, n in zip((64, 96), out.shape[2:], strict=True)
    )


def test_start__the_authors_initialisation_is_hes_over_the_inputs() -> None:
    net = start("vgg16", "random:msra", seed=3)
    for module in net.body.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.in_channels * 9
            assert (
                module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
                and not module.bias.any()
            )
    assert net.origin == {"source": "random", "initialisation": "msra", "seed": 3}
    assert not torch.equal(
        net.body.features[0].weight, start("vgg16", seed=3).body.features[0].weight
    )
    with pytest.raises(
        ValueError, match="unknown start 'random:xavier'; allowed: random, random:msra"
    ):
        start("vgg16", "random:xavier")


@pytest.mark.parametrize(
    ("name", "make"),
    [("alexnet", torchvision.models.alexnet), ("vgg16_bn", torchvision.models.vgg16_bn)],
)
def test_start__random_is_the_librarys_own_initialisation(
    name: str, make: Callable[[], torch.nn.Module]
) -> None:
    net, theirs = start(name, seed=0), make()
    for key, tensor in net.body.state_dict().items():
        if key.endswith("weight") and tensor.ndim == 4:
            assert tensor.std().item() == pytest.approx(
                theirs.state_dict()[key].std().item(), rel=0.1
            )
        elif not key.endswith(("bias", "weight")):
            assert torch.equal(tensor, theirs.state_dict()[key])


def imagenet_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, member: str) -> Path:
    """A file in the place where torchvision keeps its download, under the name and digest that its
    enum gives it.
    """
    torch.manual_seed(0)
    state = torchvision.models.vgg16().features.state_dict(prefix="features.")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "x.pth")
    digest = hashlib.sha256((folder / "x.pth").read_bytes()).hexdigest()
    path = (folder / "x.pth").rename(folder / f"vgg16-{digest[:8]}.pth")
    enum = torchvision.models.VGG16_Weights
    old = enum[member].value
    monkeypatch.setattr(
        enum[member], "_value_", dataclasses.replace(old, url=f"https://none.invalid/{path.name}")
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return path


def test_start__imagenet_from_torchvisions_cache_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = imagenet_file(monkeypatch, tmp_path, "IMAGENET1K_V1")
    net = start("vgg16", "imagenet", inputs=InputSpec())
    state = torch.load(path, weights_only=True)
    assert all(torch.equal(t, state[n]) for n, t in net.body.state_dict().items())
    assert net.origin == {
        "source": "torchvision VGG16_Weights.IMAGENET1K_V1",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "first_convolution_saw": [-2.118, 2.64],
        "first_convolution_gets": [-2.118, 2.64],
        "from_hu": [-175.0, 275.0],
    }


def test_start__imagenet_by_tag_and_by_file_have_their_own_scale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Caffe's features expect 0..255 minus a mean: a contract of ImageNet's usual scale is refused,
    the weights' own is taken.
    """
    path = imagenet_file(monkeypatch, tmp_path, "IMAGENET1K_FEATURES")
    caffe = InputSpec(mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3)
    for source in ("imagenet:IMAGENET1K_FEATURES", str(path)):
        with pytest.raises(
            ValueError,
            match=r"torchvision VGG16_Weights.IMAGENET1K_FEATURES: its first convolution was "
            r"trained on inputs",
        ):
            start("vgg16", source, inputs=InputSpec())
        assert (
            start("vgg16", source, inputs=caffe).origin["source"]
            == "torchvision VGG16_Weights.IMAGENET1K_FEATURES"
        )
    with pytest.raises(
        ValueError,
        match="torchvision has no vgg16 weights 'V9'; allowed: IMAGENET1K_V1, IMAGENET1K_FEATURES",
    ):
        start("vgg16", "imagenet:V9")


def test_start__imagenet_by_timms_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> torch.nn.Module:
        if pretrained and name != "resnet18.a1_in1k":
            raise RuntimeError("no internet")
        return made(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    origin = start("timm/resnet18", "imagenet", inputs=InputSpec()).origin
    assert (
        origin["source"] == "timm resnet18.a1_in1k"
        and origin["mean"] == [0.485, 0.456, 0.406]
        and origin["licence"] == "apache-2.0"
    )
    with pytest.raises(
        ValueError, match=r"timm has no resnet18 weights 'a9_in1k'; allowed: a1_in1k, "
    ):
        start("timm/resnet18", "imagenet:a9_in1k")
    with pytest.raises(ValueError, match=r"timm's resnet50 weights 'bamboo' are not from ImageNet"):
        start("timm/resnet50", "imagenet:bamboo")
    with pytest.raises(
        ValueError,
        match=r"no ImageNet weights for timm/resnet18 in the cache, and none could be downloaded",
    ):
        start("timm/resnet18", "imagenet:a2_in1k")
    with pytest.raises(
        ValueError,
        match=r"its first convolution was trained on inputs of -2.12..2.64 and would get "
        r"-1.00..1.00",
    ):
        start("timm/resnet18", "imagenet", inputs=InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(
        ValueError, match="timm has no test_mambaout weights of ImageNet; allowed: none"
    ):
        start("timm/test_mambaout", "imagenet")


def test_start__the_recipes_contracts_pass_the_scale_of_imagenet() -> None:
    from ubr.pretrain.recipes import RECIPES

    usual = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name, recipe in RECIPES.items():
        scale = ((0.5,) * 3, (0.5,) * 3) if name == "lite" else usual  # as timm states them
        assert _scales(recipe().inputs, scale, "ImageNet")["first_convolution_gets"]


def test_start__a_timm_folder_states_its_scale(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"its first convolution was trained on inputs of -1.00..1.00"
    ):
        start("timm/test_resnet", str(tmp_path / "model.safetensors"), inputs=InputSpec())
    net = start(
        "timm/test_resnet",
        str(tmp_path / "model.safetensors"),
        inputs=InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3),
    )
    assert net.origin["first_convolution_gets"] == [-1.0, 1.0] and equal(net.body, model)


def test_start__a_larger_network_is_not_cut_to_size(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "r34.pth")
    with pytest.raises(
        TransferError,
        match=r"holds a larger network than timm/resnet18, with 96 more tensors \(layer1.2",
    ):
        start("timm/resnet18", str(tmp_path / "r34.pth"))
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(TransferError, match="holds no tensor of timm/resnet18"):
        start("timm/resnet18", str(tmp_path / "w.pth"))


def test_start__a_detectors_checkpoint(tmp_path: Path) -> None:
    """A trunk comes back out of a fine-tuned detector, whose other parts are left out."""
    trunk = weights_of("timm/test_resnet", seed=4).trunk
    state = {f"backbone.body.{n}": t for n, t in trunk.items()} | {
        "rpn.head.weight": torch.zeros(1)
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    net = start("timm/test_resnet", str(tmp_path / "last.ckpt"))
    assert all(torch.equal(t, trunk[n]) for n, t in net.body.state_dict().items())
    assert net.origin["source"] == "a file" and net.origin["scale"] == "not stated by the file"
