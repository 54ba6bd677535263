"""Name tables: bijections onto the names and shapes that the libraries' own models have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision import models
from torchvision.models import regnet

from tests.made.networks import BACKBONES, kept
from ubr.weights import build
from ubr.weights.layouts import COUNTER, FAMILIES, Layout, layouts_of, locate

SAME_NAME = """
    vgg11 vgg19_bn resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 wide_resnet101_2
    resnext50_32x4d resnext101_32x8d resnext101_64x4d
    convnext_tiny convnext_small convnext_base convnext_large
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
"""
REGNETS = """
    x_004_tv x_400mf, x_008 x_800mf, x_016 x_1_6gf, x_032 x_3_2gf, x_080 x_8gf, x_160 x_16gf,
    x_320 x_32gf,
    y_004 y_400mf, y_008_tv y_800mf, y_016 y_1_6gf, y_032 y_3_2gf, y_080_tv y_8gf, y_160 y_16gf,
    y_320 y_32gf
"""
TORCHVISION_PAIRS = [
    *((name, name) for name in ("vgg16", "vgg16_bn", "alexnet")),
    *((f"timm/{name}", name) for name in SAME_NAME.split()),
    *(
        (f"timm/regnet{ours}", f"regnet_{theirs}")
        for ours, theirs in (pair.split() for pair in REGNETS.split(","))
    ),
]


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in tensors.items()}


@pytest.mark.parametrize("name", BACKBONES)
def test_layouts__are_bijections_bit_for_bit(name: str) -> None:
    trunk = kept(name).trunk
    found = layouts_of(name, trunk)
    assert set(found) >= {"detectron2"} and all(
        set(layout.names) == set(trunk) for layout in found.values()
    )
    for layout in found.values():
        theirs = layout.to_theirs(trunk)
        back = layout.to_ours(theirs)
        assert len(theirs) == len(trunk) and list(back) == list(trunk)
        assert all(back[n].shape == t.shape and torch.equal(back[n], t) for n, t in trunk.items())


def test_layouts__two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="gives two tensors one name"):
        layouts_of("timm/resnet18", ["bn1.weight", "stem.conv1.norm.weight"])


@pytest.mark.parametrize(("backbone", "model"), TORCHVISION_PAIRS)
def test_torchvision__every_pair_has_the_names_and_shapes_of_its_model(
    backbone: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = regnet.BlockParams.from_init_params

    def on_cpu(
        **options: Any,
    ) -> Any:  # it computes with tensors, and on "meta" there is nothing to compute
        with torch.device("cpu"):
            return widths(**options)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", on_cpu)
    with torch.device("meta"):
        theirs = getattr(models, model)()
        own = (
            build(backbone).body
            if "/" not in backbone
            else timm.create_model(backbone.removeprefix("timm/"), num_classes=0)
        )
    if "/" in backbone:
        own.prune_intermediate_layers(indices=1, prune_norm=True, prune_head=True)
    layout = layouts_of(backbone, own.state_dict())["torchvision"]
    assert layout.model == model
    expected = shapes(theirs.state_dict())
    assert shapes(layout.to_theirs(own.state_dict())).items() <= expected.items()
    location = locate({"torchvision": layout}, expected)
    assert location is not None and (location.prefix, location.cut) == ("", "")
    assert not [
        n for n in set(expected) - set(layout.names.values()) if location.holds(n)
    ]  # nothing of the network is left out


def test_torchvision__every_family_has_a_pair_in_the_test_above() -> None:
    import re

    for family in FAMILIES["torchvision"]:
        assert any(re.fullmatch(family.backbones, backbone) for backbone, _ in TORCHVISION_PAIRS), (
            family.backbones
        )


def test_layouts__of_networks_that_only_look_alike_there_are_none() -> None:
    """timm's MobileNetV3 has another epsilon, its RegNetX-400MF other widths, and torchvision's
    DenseNet map lacks the last ReLU.
    """
    for name in (
        "timm/mobilenetv3_large_100",
        "timm/regnetx_004",
        "timm/densenet121",
        "timm/resnet50d",
        "timm/tf_efficientnet_b0",
    ):
        assert "torchvision" not in layouts_of(name, build(name).body.state_dict())


@pytest.mark.parametrize("depth", [18, 50])
def test_detectron2__resnet_names_are_those_stored_of_it(depth: int) -> None:
    """The stored list was read off detectron2 0.6's own model; `test_detectron2.py` compares with
    the installed one, if there is one.
    """
    lines = (Path(__file__).parent / f"detectron2_resnet{depth}.txt").read_text().splitlines()
    stored = {line.split()[0]: tuple(int(v) for v in line.split()[1:]) for line in lines}
    trunk = build(f"timm/resnet{depth}").body.state_dict()
    layout = layouts_of(f"timm/resnet{depth}", trunk)["detectron2"]
    ours = {layout.prefix + name: tuple(t.shape) for name, t in layout.to_theirs(trunk).items()}
    assert {name: shape for name, shape in ours.items() if not name.endswith(COUNTER)} == stored


def located(layout: Layout, names: list[str], prefix: str | None = None) -> tuple[str, str] | None:
    location = locate({"x": layout}, names, prefix)
    return (location.prefix, location.cut) if location else None


def test_locate__known_places_only_and_never_by_the_end_of_a_name() -> None:
    layout = layouts_of("vgg16", build("vgg16").body.state_dict())["torchvision"]
    names = list(layout.names.values())
    assert located(layout, names) == ("", "")
    assert located(layout, [f"backbone.body.{n}" for n in names]) == ("backbone.body.", "")
    assert located(layout, [f"backbone.{n.removeprefix('features.')}" for n in names]) == (
        "backbone.",
        "features.",
    )
    assert located(layout, [f"student.encoder.{n}" for n in names]) is None
    assert located(layout, [f"student.encoder.{n}" for n in names], "student.encoder.") == (
        "student.encoder.",
        "",
    )
