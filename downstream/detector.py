"""torchvision's Faster R-CNN around a trunk of this project, for lesions: two classes, background
and lesion.

As in the paper the trunk is cut at its last map (VGG-16: conv5_3, stride 16), or a feature pyramid
stands on the maps of a timm trunk. The starting weights go through `ubr.weights.load_into`, so a
detector is never made without a complete receipt.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import timm.layers
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from ubr.weights import Backbone, InputSpec, Receipt, Weights, build, load_into, start
from ubr.weights.backbones import fixed_size_px
from ubr.weights.norms import batch_norms, hold_norms

ANCHORS_PX = (16, 24, 32, 48, 96)
"""Sides of anchors at 0.8 mm pixels: the middle of DeepLesion's boxes is about 20 px."""
PYRAMID_ANCHORS_PX = (16, 32, 64, 128, 256)
"""Side of the anchors of each level of a pyramid, from the finest."""


class Trunk(nn.Module):
    """A backbone as torchvision's detectors want it: its last map, or a pyramid of its maps of
    stride 4 and more.

    Its BatchNorm layers use their stored statistics in training too. Those of a detector's few
    images say more of which organs happen to be in them than of CT, and a faint lesion drowns in
    that.

    strides: of the maps, from the finest.
    """

    def __init__(self, net: Backbone, *, pyramid: int) -> None:
        super().__init__()
        self.body, self._features = net.body, net.features
        self.indices: list[int] = []
        self.strides: list[int] = [net.stride]
        # so that norms start in the mode that they are to stay in; Lightning calls no train() of
        # its own
        self.train()
        if not pyramid:
            self.out_channels = net.channels
            return
        info = getattr(net.body, "feature_info", None)
        if info is None:
            raise ValueError(
                f"a feature pyramid needs a timm backbone ({net.name} has one map); use pyramid=0"
            )
        stages = info if isinstance(info, list) else info.get_dicts()
        self.indices = [i for i, stage in enumerate(stages) if stage["reduction"] >= 4]
        self.strides = [stages[i]["reduction"] for i in self.indices]
        if len(set(self.strides)) < 2:
            raise ValueError(
                f"a feature pyramid needs maps of several sizes, and {net.name} has one size; use "
                "pyramid=0"
            )
        self.fpn = FeaturePyramidNetwork([stages[i]["num_chs"] for i in self.indices], pyramid)
        self.out_channels = pyramid

    def train(self, mode: bool = True) -> Trunk:
        super().train(mode)
        hold_norms(self)
        return self

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        if not self.indices:
            return OrderedDict([("0", self._features(self.body, x).float())])
        maps = self.body.forward_intermediates(
            x, indices=self.indices, output_fmt="NCHW", intermediates_only=True
        )  # type: ignore[operator]
        pyramid = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))
        # In float32 also under autocast, as anchors take the type of the maps: bf16 has steps of 1
        # px from 128 on, of 2 px from 256 on.
        return OrderedDict((name, level.float()) for name, level in pyramid.items())


class LightHead(nn.Sequential):
    """A box head for small data and CPUs.

    It has 64 channels, then one layer of 256, instead of the paper's two of 4096.
    """

    def __init__(self, channels: int, side: int) -> None:
        reduced = nn.Conv2d(channels, 64, kernel_size=1)
        super().__init__(
            reduced,
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(64 * side**2, 256),
            nn.ReLU(inplace=True),
        )


class PositionedPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoI pooling that remembers, for each RoI, the body position of its slice.

    slices: of the batch's images, set before each forward.
    """

    slices: Tensor
    rois: Tensor

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        self.rois = self.slices.repeat_interleave(
            torch.tensor([len(b) for b in boxes], device=self.slices.device)
        )
        return super().forward(x, boxes, image_shapes)  # type: ignore[no-any-return]


class PositionedHead(nn.Module):
    """A box head whose features are joined by the slice's position, one number widened to 16
    features.
    """

    def __init__(self, head: nn.Module, pool: PositionedPool) -> None:
        super().__init__()
        self.head = head
        self.widen = nn.Sequential(nn.Linear(1, 16), nn.ReLU(inplace=True))
        self._pool = (pool,)  # in a tuple, so that it is not registered a second time

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.head(x), self.widen(self._pool[0].rois[:, None])], dim=1)


class ExactBoxes(BoxCoder):  # type: ignore[misc]
    """Decodes boxes in float32 also under autocast; torchvision's rounds proposals, and with them
    the lesions they train on, to bf16.
    """

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        return super().decode_single(rel_codes.float(), boxes.float())  # type: ignore[no-any-return]


class AsGiven(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Subtracts and divides, and leaves the size alone.

    torchvision's own enlarges to 800 px, and has a switch for training only.
    """

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class Detector(FasterRCNN):  # type: ignore[misc]
    """Faster R-CNN that may take a body position for each image.

    Call it as `detector(images, targets, positions)`.
    """

    def forward(
        self,
        images: list[Tensor],
        targets: list[dict[str, Tensor]] | None = None,
        positions: Tensor | None = None,
    ) -> Any:
        pool = self.roi_heads.box_roi_pool
        if isinstance(pool, PositionedPool):
            if positions is None or positions.shape != (len(images),):
                shape = "none" if positions is None else tuple(positions.shape)
                raise ValueError(
                    f"this detector takes a position for each image, [{len(images)}]; got {shape}"
                )
            pool.slices = positions
        elif positions is not None:
            raise ValueError("this detector takes no positions; make it with position=True")
        return super().forward(images, targets)


@torch.no_grad()
def measure_norms(detector: Detector, batches: Iterable[list[Tensor]]) -> None:
    """Set the statistics of the trunk's BatchNorm layers to the means over batches of images as the
    detector is given them.

    A random start has none, and a pretrained one has those of other images: another field of view,
    another pixel size.
    """
    norms = batch_norms(detector.backbone)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    for batch in batches:
        images, _ = detector.transform(batch)
        detector.backbone(images.tensors)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    hold_norms(detector.backbone)


def starting_weights(
    backbone: str, source: str, inputs: InputSpec, seed: int = 0, **opened: Any
) -> Weights:
    """The trunk of any start as weights in memory.

    `source` and `opened` (start_prefix, assume_scale) are what `ubr.weights.start` takes. Where the
    library makes the network for images of one size, the contract takes that size, and features are
    compared at it. A detector's images keep their own sizes.
    """
    if (size_px := fixed_size_px(backbone)) is not None:
        inputs = dataclasses.replace(inputs, size_px=size_px)
    net = start(backbone, source, inputs=inputs, seed=seed, **opened)
    return Weights(
        backbone,
        inputs,
        net.body.state_dict(),
        provenance={"method": "a start", "start": net.origin},
    )


def bare_detector(
    net: Backbone,
    inputs: InputSpec,
    *,
    box_head: Literal["light", "paper"] = "light",
    pyramid: int = 0,
    anchors_px: Sequence[float] = (),
    proposals: int = 500,
    rois: int = 128,
    norms: Literal["frozen", "measured"] = "frozen",
    position: bool = False,
) -> Detector:
    """The detector around a backbone as it is; the options are those of `faster_rcnn`."""
    trunk = Trunk(net, pyramid=pyramid)
    levels, side = len(trunk.indices) or 1, 7
    sides = tuple(anchors_px or (PYRAMID_ANCHORS_PX[:levels] if pyramid else ANCHORS_PX))
    anchors = tuple((one,) for one in sides) if pyramid else (sides,)
    if len(anchors) != levels:
        raise ValueError(
            f"the pyramid of {net.name} has {levels} levels, got {len(anchors)} anchor sides; "
            "give one for each"
        )
    kind = PositionedPool if position else MultiScaleRoIAlign
    pool = kind([str(i) for i in range(levels)], output_size=side, sampling_ratio=2)
    # torchvision would guess them from the first image, without its padding, for all later ones.
    pool.scales = [1 / stride for stride in trunk.strides]
    pool.map_levels = LevelMapper(
        int(math.log2(trunk.strides[0])), int(math.log2(trunk.strides[-1]))
    )
    channels = trunk.out_channels
    head: nn.Module = (
        TwoMLPHead(channels * side**2, 4096) if box_head == "paper" else LightHead(channels, side)
    )
    width = 4096 if box_head == "paper" else 256
    if position:
        head, width = PositionedHead(head, pool), width + 16
    detector = Detector(
        trunk,
        rpn_anchor_generator=AnchorGenerator(anchors, ((0.5, 1.0, 2.0),) * levels),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=proposals,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=300,
        box_roi_pool=pool,
        box_head=head,
        box_predictor=FastRCNNPredictor(width, 2),
        box_score_thresh=0.0,
        box_nms_thresh=0.3,
        box_detections_per_img=20,
        box_batch_size_per_image=rois,
    )
    for part in (detector.rpn, detector.roi_heads):
        part.box_coder = ExactBoxes(part.box_coder.weights)
    detector.transform = AsGiven(
        min_size=1, max_size=1, image_mean=list(inputs.mean), image_std=list(inputs.std)
    )
    if norms == "frozen":
        trunk.body = timm.layers.freeze_batch_norm_2d(trunk.body)  # type: ignore[attr-defined, no-untyped-call]
    return detector


def faster_rcnn(weights: Weights, *, seed: int = 0, **options: Any) -> tuple[Detector, Receipt]:
    """A lesion detector started from weights, and the receipt of their transfer.

    Images are those of `ubr.downstream.dataset`: windowed, `[3, H, W]`; the detector subtracts the
    contract's mean and std and does not resize.

    Args:
        weights: of this project, or `starting_weights(...)` for a random or ImageNet start.
        seed: of the parts that are not the trunk.
        options: box_head: "light", or the paper's two layers of 4096 ("paper"). pyramid: channels
            of a feature pyramid on a timm trunk (256 is usual); 0 takes its last map. anchors_px:
            sides of anchors, with a pyramid one per level from the finest. proposals, rois: how
            many proposals per image the box head is trained on, and how many its loss samples.
            norms: the trunk's BatchNorm layers are "frozen", or their statistics are "measured"
            by `measure_norms` and scale and shift trained. position: each RoI also gets its
            slice's body position.

    Raises:
        ValueError: a pyramid on a backbone without maps, anchors that do not fit its levels, or a
            backbone that takes one image size only, such as most ViT and Swin.
        TransferError: the trunk was not transferred completely.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = bare_detector(build(weights.backbone, any_size=True), weights.inputs, **options)
    return detector, load_into(detector, weights)
