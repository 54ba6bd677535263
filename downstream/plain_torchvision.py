"""A trained detector for people without this package: its tensors, and a Python file that builds
torchvision's Faster R-CNN around timm's trunk and loads them strictly.

The Python file imports torch, torchvision and timm alone. It is run in a process in which this
package cannot be imported, and must find the same, before anything appears.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ubr.weights.backbones import TORCHVISION
from ubr.weights.common.tensors import torch_save
from ubr.weights.receipts import TransferError

if TYPE_CHECKING:
    from ubr.weights import InputSpec

    from .detector import Detector, Trunk
    from .slices import View


def code_beside(path: Path) -> Path:
    """The path of the Python file."""
    return path.with_suffix(".py")


def write(
    detector: Detector, backbone: str, inputs: InputSpec, view: View, digest: str, part: Path
) -> None:
    """Write the tensors, and beside them the Python file. digest: of the tensors."""
    torch_save({n: t.detach().cpu() for n, t in detector.state_dict().items()}, part)
    code_beside(part).write_text(_code(detector, backbone, inputs, view, digest), encoding="utf-8")


def found_without_us(part: Path, images: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Boxes and scores that the Python file finds where this package cannot be imported.

    images: HU `[channels, H, W]`.

    Raises:
        TransferError: it does not run.
    """
    given, found = part.with_name("given.pt"), part.with_name("found.pt")
    torch.save(list(images), given)
    names = [str(path.resolve()) for path in (code_beside(part), given, found)]
    done = subprocess.run([sys.executable, "-c", _ALONE, *names], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TransferError(f"plain torchvision does not run the detector: {last}")
    results: list[tuple[Tensor, Tensor]] = torch.load(found, weights_only=True)
    given.unlink()
    found.unlink()
    return results


_ALONE = """
import runpy, sys
sys.modules["ubr"] = None
import torch
code, given, found = sys.argv[1:]
lesions = runpy.run_path(code)
model, results = lesions["detector"](), []
with torch.no_grad():
    for hu in torch.load(given, weights_only=True):
        (one,) = model([lesions["image"](hu)])
        results.append((one["boxes"], one["scores"]))
torch.save(results, found)
"""


def snippet(path: Path, view: View) -> str:
    """How the files are used."""
    return f"""import runpy, torch
lesions = runpy.run_path({str(code_beside(path))!r})  # it loads {path.name} beside it
model = lesions["detector"]()
hu = torch.full(({view.channels}, 128, 160), -1000.0)  # see its first lines
with torch.no_grad():
    (found,) = model([lesions["image"](hu)])
boxes, scores = found["boxes"], found["scores"]"""


def _about(view: View, digest: str) -> str:
    """The beginning of the Python file: what it is, and what it needs."""
    neighbours = (
        f"{view.channels} slices {view.distance_mm:g} mm apart, from head to foot"
        if view.channels > 1
        else "one slice"
    )
    return f'''"""A lesion detector for axial CT, by torch, torchvision and timm alone.

    model = detector()
    with torch.no_grad():
        (found,) = model([image(hu)])  # boxes, scores, labels

hu: float [{view.channels}, H, W], Hounsfield units of {neighbours}, at
{view.mm_per_px:g} mm per pixel, the longer side at most {view.longest_px} pixels. Rows run from
front to back, columns from the patient's right to the left. It was trained on no other view.
boxes: x1, y1, x2, y2 in pixels; 0 is the left edge of the first one.

Research only; not a medical device. SHA-256 of the tensors: {digest}
"""

from collections import OrderedDict
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

'''


def _code(detector: Detector, backbone: str, inputs: InputSpec, view: View, digest: str) -> str:
    """The Python file. What it says of the detector is read from the detector itself."""
    trunk, rpn, roi = detector.backbone, detector.rpn, detector.roi_heads
    pool = roi.box_roi_pool
    low, high = inputs.window_hu
    return f"""{_about(view, digest)}
class Trunk(nn.Module):
    out_channels = {trunk.out_channels}

    def __init__(self):
        super().__init__()
{_indented(_trunk(trunk, backbone), 8)}

    def forward(self, x):
{_indented(_forward(trunk, backbone), 8)}


def image(hu):
    if hu.ndim != 3 or len(hu) != {view.channels}:
        raise ValueError(f"hu must be [{view.channels}, H, W], got {{list(hu.shape)}}")
{_indented(_image(inputs.channels == "folded", low, high), 4)}


def detector():
    model = FasterRCNN(
        Trunk(),
        rpn_anchor_generator=AnchorGenerator(
            {rpn.anchor_generator.sizes!r},
            {rpn.anchor_generator.aspect_ratios!r},
        ),
        rpn_pre_nms_top_n_test={rpn._pre_nms_top_n["testing"]},
        rpn_post_nms_top_n_test={rpn._post_nms_top_n["testing"]},
        box_roi_pool=MultiScaleRoIAlign(
            {pool.featmap_names!r}, output_size={pool.output_size[0]},
            sampling_ratio={pool.sampling_ratio}
        ),
        box_head={_box_head(roi.box_head)},
        box_predictor=FastRCNNPredictor({roi.box_predictor.cls_score.in_features}, 2),
        box_score_thresh={roi.score_thresh},
        box_nms_thresh={roi.nms_thresh},
        box_detections_per_img={roi.detections_per_img},
        image_mean={list(inputs.mean)},
        image_std={list(inputs.std)},
    )
    model.transform.resize = lambda image, target=None: (image, target)  # sizes stay as given
    pool = model.roi_heads.box_roi_pool  # else its scales are guessed from the first image
    pool.scales = {pool.scales}
    pool.map_levels = LevelMapper({pool.map_levels.k_min}, {pool.map_levels.k_max})
    tensors = torch.load(Path(__file__).with_suffix(".pth"), weights_only=True)
    model.load_state_dict(tensors)
    return model.eval()
"""


def _indented(lines: Sequence[str], columns: int) -> str:
    return "\n".join(" " * columns + line for line in lines)


def _trunk(trunk: Trunk, backbone: str) -> list[str]:
    if backbone in TORCHVISION:
        lines = [
            f"layers = list(models.{backbone}(weights=None).features)[:-1]",
            "self.body = nn.Module()",
            "self.body.features = nn.Sequential(*layers, nn.Identity())",
        ]
    else:
        dynamic = getattr(trunk.body, "dynamic_img_size", False)
        any_size = ", dynamic_img_size=True" if dynamic else ""
        name = backbone.removeprefix("timm/")
        lines = [
            f"self.body = timm.create_model({name!r}, pretrained=False, num_classes=0{any_size})",
            "self.body.prune_intermediate_layers(indices=1, prune_norm=True, prune_head=True)",
        ]
    names = {name.rpartition(".")[2] for name, _ in trunk.body.named_buffers()}
    if "running_mean" in names and "num_batches_tracked" not in names:  # only frozen norms lack it
        lines.append("self.body = timm.layers.freeze_batch_norm_2d(self.body)")
    if trunk.indices:
        widths = [block[0].in_channels for block in trunk.fpn.inner_blocks]
        lines.append(f"self.fpn = FeaturePyramidNetwork({widths}, {trunk.out_channels})")
    return lines


def _forward(trunk: Trunk, backbone: str) -> list[str]:
    if backbone in TORCHVISION:
        return ['return OrderedDict([("0", self.body.features(x))])']
    lines = [
        "maps = self.body.forward_intermediates(",
        f'    x, indices={trunk.indices or 1}, output_fmt="NCHW", intermediates_only=True',
        ")",
    ]
    if not trunk.indices:
        return [*lines, 'return OrderedDict([("0", maps[-1])])']
    return [*lines, "return self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))"]


def _image(folded: bool, low: float, high: float) -> list[str]:
    if folded:
        return [
            f"hu = hu[0].clamp({low!r}, {high!r})",
            "return torch.stack([hu, torch.zeros_like(hu), torch.ones_like(hu)])",
        ]
    above = f"hu {'-' if low >= 0 else '+'} {abs(low)!r}"
    return [f"return (({above}) / {high - low!r}).clamp(0, 1).expand(3, -1, -1)"]


def _box_head(head: Any) -> str:
    if hasattr(head, "fc6"):
        return f"TwoMLPHead({head.fc6.in_features}, {head.fc6.out_features})"
    reduced, linear = head[0], head[3]
    return (
        f"nn.Sequential(nn.Conv2d({reduced.in_channels}, {reduced.out_channels}, 1), nn.ReLU(), "
        f"nn.Flatten(), nn.Linear({linear.in_features}, {linear.out_features}), nn.ReLU())"
    )
