"""The detector:

started whole from every kind of weights, with the images' own scale, and nothing resized behind its
user's back.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tests.made.networks import kept
from ubr.downstream.detector import (
    ANCHORS_PX,
    Detector,
    faster_rcnn,
    measure_norms,
    starting_weights,
)
from ubr.downstream.recipes import DetectorRecipe, coarse, paper, small
from ubr.weights import InputSpec, TransferError
from ubr.weights.inputs import reference_slice
from ubr.weights.norms import batch_norms

TARGET = {
    "boxes": torch.tensor([[20.0, 20.0, 50.0, 45.0]]),
    "labels": torch.ones(1, dtype=torch.int64),
}


def seen_by(detector: Detector, image: torch.Tensor) -> torch.Tensor:
    """The trunk's last map of an image that is given as a user gives it."""
    seen: list[torch.Tensor] = []
    body = detector.backbone.body
    last = body.features if hasattr(body, "features") else body.layer4
    hook = last.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        detector.eval()([image])
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("name", "options"), [("vgg16", {}), ("timm/resnet18", {}), ("timm/resnet18", {"pyramid": 64})]
)
def test_faster_rcnn__trunk_features_are_the_pretrainings(
    name: str, options: dict[str, Any]
) -> None:
    weights = kept(name)
    detector, receipt = faster_rcnn(weights, **options)
    assert (
        not receipt.faults()
        and receipt.feature_difference is not None
        and receipt.feature_difference < 1e-5
    )
    hu = reference_slice(weights.inputs)
    with torch.no_grad():
        expected = weights.build()(weights.inputs.to_input(hu))
    found = seen_by(detector, weights.inputs.to_image(hu)[0])[
        ..., : expected.shape[2], : expected.shape[3]
    ]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_starting_weights__four_starts_say_what_they_are() -> None:
    inputs = InputSpec(size_px=64)
    random = starting_weights("timm/test_resnet", "random", inputs, seed=3)
    assert random.provenance["start"]["source"] == "random"
    one, other = (
        faster_rcnn(w, seed=5)[0].state_dict()
        for w in (random, starting_weights("timm/test_resnet", "random:msra", inputs))
    )
    heads = [n for n in one if not n.startswith("backbone.body.")]
    assert heads and all(torch.equal(one[n], other[n]) for n in heads)  # only the trunk differs
    assert not torch.equal(
        one["backbone.body.conv1.0.weight"], other["backbone.body.conv1.0.weight"]
    )
    with pytest.raises(ValueError, match="timm has no resnet18 weights 'no_such_tag'"):
        starting_weights("timm/resnet18", "imagenet:no_such_tag", inputs)


def test_faster_rcnn__images_are_not_resized() -> None:
    detector, _ = faster_rcnn(kept("timm/resnet18"))
    for mode in (True, False):
        images, _ = detector.train(mode).transform([torch.zeros(3, 100, 173)])
        assert images.image_sizes == [(100, 173)] and images.tensors.shape[-2:] == (128, 192)


@pytest.mark.parametrize(
    "options",
    [{}, {"box_head": "paper"}, {"pyramid": 64}, {"norms": "measured"}, {"position": True}],
)
def test_faster_rcnn__every_part_that_should_learn_gets_a_gradient(options: dict[str, Any]) -> None:
    detector, _ = faster_rcnn(kept("timm/resnet18"), **options)
    detector.train()
    positions = torch.tensor([1.0, -2.0]) if options.get("position") else None
    losses = detector([torch.rand(3, 96, 96), torch.rand(3, 90, 80)], [TARGET, TARGET], positions)
    sum(losses.values()).backward()
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert not [n for n, p in detector.named_parameters() if p.grad is None and p.requires_grad]


def test_faster_rcnn__norms_keep_their_statistics_and_learn_their_factors_where_measured() -> None:
    for norms, learns in (("frozen", False), ("measured", True)):
        detector, _ = faster_rcnn(kept("timm/resnet18"), norms=norms)
        before = detector.backbone.body.bn1.running_mean.clone()
        for _ in range(2):  # as it is built, which is how Lightning trains it, and after train()
            detector([torch.rand(3, 64, 64)] * 2, [TARGET] * 2)
            detector.train()
        assert torch.equal(before, detector.backbone.body.bn1.running_mean)
        assert (
            bool(batch_norms(detector))
            == learns
            == any("bn1.weight" in name for name, _ in detector.named_parameters())
        )


def test_faster_rcnn__boxes_are_not_rounded_under_autocast() -> None:
    detector, _ = faster_rcnn(kept("timm/resnet18"), pyramid=64)
    seen: list[torch.Tensor] = []
    detector.rpn.register_forward_hook(lambda module, args, output: seen.append(output[0][0]))
    detector.rpn.anchor_generator.register_forward_hook(
        lambda module, args, output: seen.append(output[0])
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        detector.eval()([torch.rand(3, 256, 320)])
    anchors, proposals = seen
    assert anchors.dtype == proposals.dtype == torch.float32
    assert (proposals != proposals.bfloat16().float()).float().mean() > 0.5


def test_measure_norms__statistics_are_those_of_the_images() -> None:
    detector, _ = faster_rcnn(
        starting_weights("timm/resnet18", "random", InputSpec()), norms="measured"
    )
    images = [torch.rand(3, 64, 64) * (1 + i) for i in range(4)]
    measure_norms(detector, [images[:2], images[2:]])
    first = detector.backbone.body.conv1
    with torch.no_grad():
        maps = [first(detector.transform(images[i : i + 2])[0].tensors) for i in (0, 2)]
    norm = detector.backbone.body.bn1
    torch.testing.assert_close(
        norm.running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    )
    torch.testing.assert_close(
        norm.running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    )
    assert norm.momentum == 0.1 and not norm.training


def test_faster_rcnn__paper_has_its_heads_and_lesion_anchors() -> None:
    detector, _ = faster_rcnn(kept("vgg16"), box_head="paper")
    assert (
        detector.roi_heads.box_head.fc6.out_features
        == detector.roi_heads.box_head.fc7.out_features
        == 4096
    )
    assert detector.roi_heads.box_predictor.cls_score.out_features == 2
    assert (
        detector.rpn.anchor_generator.sizes == (ANCHORS_PX,)
        and detector.backbone.out_channels == 512
    )


def test_coarse__has_its_anchors_at_its_pixel_size() -> None:
    recipe = coarse()
    detector, _ = faster_rcnn(kept("timm/resnet18"), **recipe.parts())
    sides = [side for (side,) in detector.rpn.anchor_generator.sizes]
    np.testing.assert_allclose(np.array(sides) * 1.6, recipe.anchors_mm)
    assert detector.roi_heads.fg_bg_sampler.batch_size_per_image == 64
    assert detector.rpn._post_nms_top_n == {"training": 300, "testing": 300}
    assert DetectorRecipe.from_described(recipe.described()) == recipe
    with pytest.raises(ValueError, match=r"anchors_mm must be in 1\.\.1000, got \[0\.5\]"):
        dataclasses.replace(recipe, anchors_mm=(0.5,))


def test_recipes__keep_the_digests_of_runs_from_before_anchors_could_be_given() -> None:
    assert small().sha256().startswith("6cdda87fbbb4")
    assert paper().sha256().startswith("72e0a6e68d1a")


def test_position__changes_what_is_found_and_is_asked_for() -> None:
    detector, _ = faster_rcnn(kept("timm/resnet18"), position=True)
    detector.eval()
    image = torch.rand(3, 96, 96)
    with torch.no_grad():
        near, far = (detector([image], None, torch.tensor([p]))[0]["scores"] for p in (0.0, 50.0))
    assert near.shape != far.shape or not torch.equal(near, far)
    with pytest.raises(ValueError, match=r"takes a position for each image, \[1\]; got none"):
        detector([image])
    with pytest.raises(ValueError, match="takes no positions; make it with position=True"):
        faster_rcnn(kept("timm/resnet18"))[0].eval()([image], None, torch.zeros(1))


@pytest.mark.parametrize("options", [{}, {"pyramid": 64}, {"position": True}])
def test_faster_rcnn__the_first_image_decides_nothing_for_others(options: dict[str, Any]) -> None:
    """torchvision would take the stride from it; padding to 96 px makes that of 66 px half."""
    (scan,) = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    at = (None, torch.zeros(1)) if options.get("position") else ()
    found = []
    for first in (128, 66):
        detector = faster_rcnn(kept("timm/resnet18"), **options)[0].eval()
        with torch.no_grad():
            detector([scan[:, :first]], *at)
            found.append(detector([scan], *at)[0])
    assert len(found[0]["boxes"]) > 0
    assert all(torch.equal(found[0][name], found[1][name]) for name in ("boxes", "scores"))


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/pvt_v2_b0", "timm/test_convnext", "vgg16"])
def test_faster_rcnn__takes_trunks_of_any_size(name: str) -> None:
    detector, _ = faster_rcnn(starting_weights(name, "random", InputSpec(size_px=224)))
    target = {"boxes": torch.tensor([[9.0, 9, 30, 30]]), "labels": torch.ones(1, dtype=torch.int64)}
    for size in ((160, 192), (64, 288)):
        losses = detector.train()([torch.rand(3, *size)], [target])
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_faster_rcnn__refuses() -> None:
    with pytest.raises(
        ValueError, match=r"a feature pyramid needs a timm backbone \(vgg16 has one map\)"
    ):
        faster_rcnn(kept("vgg16"), pyramid=64)
    with pytest.raises(ValueError, match="has 4 levels, got 2 anchor sides"):
        faster_rcnn(kept("timm/resnet18"), pyramid=64, anchors_px=(16, 32))
    some = dict(list(kept("timm/resnet18").trunk.items())[1:])
    with pytest.raises(TransferError, match="1 missing"):
        faster_rcnn(dataclasses.replace(kept("timm/resnet18"), trunk=some))


@pytest.mark.parametrize(
    ("name", "size"), [("timm/swinv2_tiny_window8_256", 256), ("timm/vit_tiny_patch16_224", 224)]
)
def test_faster_rcnn__a_network_of_one_size_takes_a_detectors_images(name: str, size: int) -> None:
    """timm's Swin and ViT are made for one size; features of that size stay the pretraining's."""
    weights = starting_weights(name, "random", InputSpec(size_px=size))
    detector, receipt = faster_rcnn(weights)
    assert receipt.feature_difference is not None and receipt.feature_difference < 1e-5
    losses = detector.train()([torch.rand(3, 96, 160)], [TARGET])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_faster_rcnn__a_network_that_takes_one_size_only_is_refused() -> None:
    weights = starting_weights("timm/mixer_s32_224", "random", InputSpec(size_px=224))
    with pytest.raises(
        ValueError, match=r"timm/mixer_s32_224 takes images of one size only, .*such as timm/resnet"
    ):
        faster_rcnn(weights)
