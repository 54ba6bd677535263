"""Complete configurations of a detector's training, as functions:

the paper's, and a short one for small data and CPUs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .augmentation import Augmentation
from .slices import View


@dataclass(frozen=True)
class DetectorRecipe:
    """Everything that shapes a trained detector but its start and its data.

    Args:
        box_head: the paper's two layers of 4096 ("paper"), or one of 256 ("light").
        pyramid: channels of a feature pyramid on a timm trunk (256 is usual); 0 takes its last map.
        norms: BatchNorm layers of the trunk "frozen", or with statistics "measured" on training
            images before the first step, which then stay, and factors that learn. A random start
            needs the latter.
        position: each RoI also gets its slice's body position (beyond the paper).
        view: neighbours, pixel size, largest side.
        augment: random views.
        steps: training steps (the paper's iterations).
        batch: images a step, on all devices together.
        optimiser: "sgd" or "adamw".
        lr: learning rate.
        momentum: of SGD; AdamW has its own.
        weight_decay: on weights; biases and norms have none.
        warmup: steps over which the rate rises from a tenth.
        drops: shares of the steps after which the rate falls by 10, as 0.5; a run of another length
            keeps them.
        clip_norm: largest gradient norm; none does not clip.
        precision: "auto" takes bf16 where the machine computes faster in it, else float32; or "32",
            "bf16".
        seed: of the heads, the proposals and the order of images; the views have `augment.seed`.
    """

    box_head: Literal["light", "paper"] = "light"
    pyramid: int = 0
    norms: Literal["frozen", "measured"] = "frozen"
    position: bool = False
    view: View = field(default_factory=View)
    augment: Augmentation = field(default_factory=Augmentation)
    steps: int = 70_000
    batch: int = 2
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.002
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 0
    drops: tuple[float, ...] = (20 / 70, 40 / 70, 55 / 70)
    clip_norm: float | None = None
    precision: Literal["auto", "32", "bf16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = (
            ("pyramid", 0, 4096), ("steps", 1, 10**8), ("batch", 1, 4096), ("lr", 1e-9, 10), ("momentum", 0, 0.9999),
            ("weight_decay", 0, 1), ("warmup", 0, 10**8), ("seed", 0, 2**31 - 1),
        )  # fmt: skip
        for name, low, high in allowed:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in {low}..{high}, got {getattr(self, name)}")
        choices = {
            "box_head": ("light", "paper"),
            "norms": ("frozen", "measured"),
            "optimiser": ("sgd", "adamw"),
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}"
                )
        if not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"drops must be shares above 0 and below 1, got {self.drops}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0 or none, got {self.clip_norm}")

    def rate(self, step: int) -> float:
        """The learning rate at a step, relative to `lr`."""
        warm = 0.1 + 0.9 * step / self.warmup if step < self.warmup else 1.0
        return float(warm * 0.1 ** sum(step >= round(drop * self.steps) for drop in self.drops))

    def parts(self) -> dict[str, Any]:
        """What the recipe says of the detector itself: options of `detector.faster_rcnn`."""
        return {
            "box_head": self.box_head,
            "pyramid": self.pyramid,
            "norms": self.norms,
            "position": self.position,
        }

    def described(self) -> dict[str, Any]:
        """Plain values."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))

    def sha256(self) -> str:
        """Digest of the configuration."""
        return hashlib.sha256(json.dumps(self.described(), sort_keys=True).encode()).hexdigest()


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
    counted, and by how much, is in DECISIONS.md.
    """
    return DetectorRecipe(
        pyramid=64,
        norms="measured",
        view=View(channels=3, distance_mm=3.0, mm_per_px=1.2, longest_px=288),
        augment=Augmentation(scale=(0.8, 1.25), hu_shift=40.0, hu_scale=0.15),
        steps=4000,
        batch=4,
        optimiser="adamw",
        lr=1e-3,
        weight_decay=0.05,
        warmup=100,
        drops=(0.7, 0.9),
        clip_norm=10.0,
    )


RECIPES: dict[str, Callable[[], DetectorRecipe]] = {"paper": paper, "small": small}


def recipe(name: str) -> DetectorRecipe:
    """A named recipe. Raises `ValueError` for an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; allowed: {', '.join(RECIPES)}")
    return RECIPES[name]()
