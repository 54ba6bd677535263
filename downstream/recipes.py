"""Complete configurations of a detector's training, as functions: the paper's, and two short ones
for small data and CPUs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ubr.weights.common.execution import Intervals, Machine
from ubr.weights.common.recipes import Optimizer, Precision, check_recipe, stepwise_rate
from ubr.weights.common.stored import from_stored, to_stored, values_sha256

from .augmentation import Augmentation
from .slices import View

MACHINE = Machine(workers=1)
"""Where a detector is trained by default."""
INTERVALS = Intervals(validate_every=250, checkpoint_every=250)
"""How often its training validates, saves and reports by default."""
_RANGES: dict[str, tuple[float, float]] = {
    "pyramid": (0, 4096),
    "batch": (1, 4096),
    "proposals": (1, 10_000),
    "rois": (1, 10_000),
    "warmup": (0, 10**8),
}


@dataclass(frozen=True)
class DetectorRecipe:
    """Everything that shapes a trained detector, except its start and its data.

    Args:
        box_head: the paper's two layers of 4096 ("paper"), or one of 256 ("light").
        pyramid: channels of a feature pyramid on a timm trunk (256 is usual); 0 takes its last map.
        norms: "frozen": the trunk's BatchNorm is fixed. "measured": its statistics are computed
            once on training images, then fixed; scale and shift are trained. A random start needs
            the latter.
        anchors_mm: sides of the anchors; if there is a pyramid, one per level from the finest.
            Without any, the sides in pixels of `detector.ANCHORS_PX` or `PYRAMID_ANCHORS_PX`.
        proposals: the most proposals per image that the box head is trained on.
        rois: of these, how many are sampled for its loss.
        position: each RoI also gets its slice's body position (beyond the paper).
        view: neighbours, pixel size, largest side.
        augment: random views.
        steps: training steps (the paper's iterations).
        batch: images per step, summed over all devices.
        optimizer: "sgd" or "adamw".
        lr: learning rate.
        momentum: of SGD; AdamW has its own.
        weight_decay: on weights; biases and norms have none.
        warmup: steps over which the learning rate rises from a tenth to its full value.
        drops: fractions of the run after which the learning rate is divided by 10, e.g. 0.5.
        clip_norm: largest gradient norm; null for no clipping.
        precision: "auto" uses bf16 if the machine computes faster in it, else float32; or "32",
            "bf16".
        seed: seed of heads, proposals and order of images; the random views have `augment.seed`.
    """

    box_head: Literal["light", "paper"] = "light"
    pyramid: int = 0
    norms: Literal["frozen", "measured"] = "frozen"
    anchors_mm: tuple[float, ...] = ()
    proposals: int = 500
    rois: int = 128
    position: bool = False
    view: View = field(default_factory=View)
    augment: Augmentation = field(default_factory=Augmentation)
    steps: int = 70_000
    batch: int = 2
    optimizer: Optimizer = "sgd"
    lr: float = 0.002
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 0
    drops: tuple[float, ...] = (20 / 70, 40 / 70, 55 / 70)
    clip_norm: float | None = None
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_recipe(self, _RANGES)
        if any(not 1 <= side <= 1000 for side in self.anchors_mm):
            raise ValueError(f"anchors_mm must be in 1..1000, got {list(self.anchors_mm)}")

    def rate(self, step: int) -> float:
        """The learning rate at a step, relative to `lr`."""
        warm = 0.1 + 0.9 * step / self.warmup if step < self.warmup else 1.0
        return warm * stepwise_rate(step, self.steps, self.drops)

    def parts(self) -> dict[str, Any]:
        """What the recipe says of the detector itself: options of `detector.faster_rcnn`."""
        return {
            "box_head": self.box_head,
            "pyramid": self.pyramid,
            "norms": self.norms,
            "position": self.position,
            "anchors_px": [side / self.view.mm_per_px for side in self.anchors_mm],
            "proposals": self.proposals,
            "rois": self.rois,
        }

    def described(self) -> dict[str, Any]:
        """Plain values under the keys that files hold.

        `anchors_mm`, `proposals` and `rois` are omitted at their defaults, so that digests of older
        recipes, which lacked them, stay valid.
        """
        values = to_stored(self)
        for name, unsaid in (("anchors_mm", ()), ("proposals", 500), ("rois", 128)):
            if values[name] == unsaid:
                del values[name]
        return dict(json.loads(json.dumps(values)))

    @classmethod
    def from_described(cls, values: Mapping[str, Any]) -> DetectorRecipe:
        """The recipe that `described` gave these values for."""
        augment = values["augment"]
        lists = {
            "view": View(**values["view"]),
            "augment": Augmentation(**{**augment, "scale": tuple(augment["scale"])}),
            "drops": tuple(values["drops"]),
            "anchors_mm": tuple(values.get("anchors_mm", ())),
        }
        return cls(**{**from_stored(values), **lists})

    def sha256(self) -> str:
        """Digest of the configuration."""
        return values_sha256(self.described())


def paper() -> DetectorRecipe:
    """Fig. 3c of Yan, Lu, Summers, ISBI 2018: SGD at 0.002, divided by 10 after 20K, 40K and 55K of
    70K iterations, box head of 4096.

    Batch, momentum and decay are not stated there; 0.9 and 5e-4 are Faster R-CNN's usual ones.
    """
    return DetectorRecipe(box_head="paper")


def small() -> DetectorRecipe:
    """For hundreds of images and a CPU: 4,000 steps of 4 images of three slices, at most 288 px, on
    a narrow feature pyramid.

    A trunk's last map alone (stride 32 of a ResNet) is too coarse for lesions of 20 px. What else
    mattered, and by how much, is in benchmarks/LOG.md.
    """
    return DetectorRecipe(
        pyramid=64,
        norms="measured",
        view=View(channels=3, distance_mm=3.0, mm_per_px=1.2, longest_px=288),
        augment=Augmentation(scale=(0.8, 1.25), hu_shift=40.0, hu_scale=0.15),
        steps=4000,
        batch=4,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        warmup=100,
        drops=(0.7, 0.9),
        clip_norm=10.0,
    )


def coarse() -> DetectorRecipe:
    """`small` at 1.6 mm per pixel and with fewer proposals, for comparisons of many runs on a CPU.

    The anchors are the centres of four clusters of the sides of DeepLesion's 9,799 boxes for
    validation and test, in mm (k-means of the logarithm of the square root of the area). 2 % of
    these boxes overlap with no anchor by an IoU of 0.5; with the anchors of `small` it is 9 %.
    """
    chosen = small()
    return dataclasses.replace(
        chosen,
        anchors_mm=(13.8, 21.2, 32.9, 60.8),
        proposals=300,
        rois=64,
        view=dataclasses.replace(chosen.view, mm_per_px=1.6, longest_px=216),
    )


RECIPES: dict[str, Callable[[], DetectorRecipe]] = {
    "paper": paper,
    "small": small,
    "coarse": coarse,
}


def recipe(name: str) -> DetectorRecipe:
    """A named recipe. Raises `ValueError` for an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; allowed: {', '.join(RECIPES)}")
    return RECIPES[name]()
