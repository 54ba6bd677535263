"""Complete training configurations, as functions: this project's default and its variants, the
paper's (taken literally, and made stable), and one after its authors' code.

A recipe holds everything that shapes the trained numbers. The machine and the intervals of a run do
not shape them, and are arguments of `fit`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ubr.weights import InputSpec
from ubr.weights.common.recipes import (
    Optimizer,
    Precision,
    check_positive,
    check_recipe,
    cosine_rate,
    stepwise_rate,
)
from ubr.weights.common.stored import to_stored, values_sha256
from ubr.weights.released import resolve

from .augment import Augment
from .sampler import Begin, Unit

if TYPE_CHECKING:
    from ubr.weights import Backbone, Weights

_RANGES: dict[str, tuple[float, float]] = {
    "g": (1, 4096),
    "m": (2, 256),
    "order_scale": (1e-3, 100),
    "distance_weight": (0, 1000),
    "position_weight": (0, 1000),
    "stretch": (0, 0.5),
    "bias_lr_factor": (0, 100),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes the trained numbers.

    The defaults of this class are the paper's; those of `fit` are the recipe `default`.

    Args:
        backbone: "vgg16", "vgg16_bn", "alexnet" or "timm/MODEL".
        start: the trunk's initial weights: "random" (the library's initialisation), "random:msra"
            (the authors' initialisation), "imagenet", "imagenet:TAG", "released" (the bundled
            weights), or a file (weights of this project, a state dict of torchvision, timm or
            detectron2).
        new_head: begin with a new head where the start is weights of this project. Otherwise their
            head is kept, and the command line takes 300 steps of 4 volumes at a rate
            of 3e-5 by default.
        start_prefix: what precedes the trunk's tensor names in the file, e.g. "teacher"; for a
            file that holds several trunks, or one in an unusual place.
        assume_scale: assume that a file that does not state its scale was trained on that of
            `inputs`.
        head_std: standard deviation of the head's Gaussian initialisation; null: PyTorch's own.
        inputs: the contract that travels with the weights.
        augment: random augmentation.
        g: volumes per step.
        m: slices per volume.
        unit: step between a group's slices, in slices ("index") or in "mm".
        begin: where groups start: "uniform", or "ends" to see the ends of volumes more often.
        balance: "volumes" draws all equally often; "sizes" draws volumes of every body size
            equally often (`sampler.even_sizes`).
        order_scale: factor on score differences in the order loss; 1 in the paper, 2 in the
            authors' code.
        distance_weight: weight of the distance loss relative to the order loss; 1 in the paper.
        position_weight: weight of this project's position loss (`losses.position_loss`); 0 turns it
            off, as in the paper.
        stretch: by how much a volume may stretch the scale of the position loss, because people
            differ in height; 0.1 is 10 %.
        mean_losses: divide each loss by its number of terms (the authors' code) instead of summing
            (the paper).
        steps: training steps.
        optimizer: "sgd" or "adamw".
        lr: learning rate.
        momentum: of SGD; AdamW has its own.
        weight_decay: on weights; biases and normalisation layers have none.
        bias_lr_factor: learning rate of biases relative to `lr`; 2 in the authors' code.
        schedule: "constant"; "steps" divides by 10 at `drops`; "cosine" warms up over 5 % of the
            steps and falls to 1 %.
        drops: fractions of the run after which the learning rate is divided by 10, e.g. 0.5.
        clip_norm: largest gradient norm; null for no clipping.
        precision: "auto" uses bf16 if the machine computes faster in it, else float32; or "32",
            "bf16".
        seed: seed of the start, the sampling and the augmentation.
    """

    backbone: str = "vgg16"
    start: str = "random"
    new_head: bool = False
    start_prefix: str | None = None
    assume_scale: bool = False
    head_std: float | None = None
    inputs: InputSpec = field(default_factory=InputSpec)
    augment: Augment = field(default_factory=Augment)
    g: int = 12
    m: int = 8
    unit: Unit = "index"
    begin: Begin = "uniform"
    balance: Literal["volumes", "sizes"] = "volumes"
    order_scale: float = 1.0
    distance_weight: float = 1.0
    position_weight: float = 0.0
    stretch: float = 0.0
    mean_losses: bool = False
    steps: int = 1500
    optimizer: Optimizer = "sgd"
    lr: float = 0.002
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_lr_factor: float = 1.0
    schedule: Literal["constant", "steps", "cosine"] = "constant"
    drops: tuple[float, ...] = ()
    clip_norm: float | None = None
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_recipe(self, _RANGES)
        check_positive("head_std", self.head_std)

    def rate(self, step: int) -> float:
        """The learning rate at a step, relative to `lr`."""
        if self.schedule == "steps":
            return stepwise_rate(step, self.steps, self.drops)
        return cosine_rate(step, self.steps) if self.schedule == "cosine" else 1.0

    def sha256(self) -> str:
        """Digest of the configuration: equal digests mean the same recipe."""
        return values_sha256(self.described())

    def described(self) -> dict[str, Any]:
        """Plain values under the keys that files hold.

        A start from a file is named by its content: paths do not travel, and files can change.
        `start_prefix`, `assume_scale` and `stretch` are omitted at their defaults, and `new_head`
        unless a head is kept, so that digests of older recipes, which lacked them, stay valid.
        """
        values = to_stored(self) | {"inputs": self.inputs.to_dict()}
        if not self.keeps_head():
            del values["new_head"]
        for name, unsaid in (("start_prefix", None), ("assume_scale", False), ("stretch", 0.0)):
            if values[name] == unsaid:
                del values[name]
        path = resolve(self.start)
        if path.is_file():
            values["start"] = f"file with sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return values

    def keeps_head(self) -> bool:
        """Whether a training continues with the head of its start."""
        from ubr.weights.artifact import has_head  # here, because torch takes seconds

        return not self.new_head and has_head(resolve(self.start))

    def parent(self) -> Weights | None:
        """The weights whose head is kept; None if the head is new."""
        from ubr.weights import load

        return load(self.start) if self.keeps_head() else None

    def without_effect(self) -> list[str]:
        """Values that another one leaves without effect, each as a line that says which one."""
        found = []
        if self.drops and self.schedule != "steps":
            found.append(f"drops have no effect: the schedule is {self.schedule!r}, not 'steps'")
        if self.stretch and not self.position_weight:
            found.append("stretch has no effect: the position weight is 0")
        return found

    def backbone_at_start(self) -> Backbone:
        """The backbone with its initial weights.

        Errors are those of `ubr.weights.start` and `check_all_trains`.
        """
        from ubr.weights import start  # here, because the networks' libraries take seconds
        from ubr.weights.backbones import check_all_trains

        net = start(
            self.backbone,
            self.start,
            inputs=self.inputs,
            seed=self.seed,
            start_prefix=self.start_prefix,
            assume_scale=self.assume_scale,
        )
        check_all_trains(net, self.inputs.size_px)
        return net


def paper() -> Recipe:
    """Yan, Lu, Summers, ISBI 2018: VGG-16 from ImageNet, g = 12, m = 8, summed losses 1:1, SGD at
    0.002, 1,500 steps.

    What the paper does not state (input, momentum, decay) is the authors' code's. The sums are
    taken literally, so a step is 84 times that of means, and a training can diverge:
    `paper_clipped` is the stable reading.
    """
    return Recipe(backbone="vgg16", start="imagenet", steps=1500)


def paper_clipped() -> Recipe:
    """`paper`, with gradients clipped to a norm of 10: the same losses, steps and rate, and no step
    that makes training diverge.

    Means at 84 times the rate would be the same steps as sums, and as unstable.
    """
    return dataclasses.replace(paper(), clip_norm=10.0)


def reference_code() -> Recipe:
    """After the authors' later Caffe release: g = 20, sigmoid of twice the difference, mean losses,
    random crops, logistic starts of groups, 10,000 steps.

    The release differs from this as follows.

    * Its network begins at random (He's initialisation, `start="random:msra"`); VGG-16's ImageNet
      weights are optional there.
    * Its input is 0..255 minus 50. A mean of 50 / 255 here is the same, up to ImageNet's usual
      divisor, and allows torchvision's weights as the start. With a random start,
      `inputs.std=[1/255, 1/255, 1/255]` gives the release's scale.
    * Its crops are rectangles: height and area are drawn, and the rest, up to 128 px, is padded
      with the value of 0 after the subtraction (about -87 HU). Nothing is enlarged. Here crops are
      squares of the same area, enlarged to the full size. A crop that loses the body is drawn again
      there; here the slice stays whole.
    * It takes volumes in epochs, each once; here every step draws anew.
    * It leaves out slices whose PNG is smaller than 13 KB, that is, nearly empty ones.
    * Its head's biases decay and learn at the plain rate; those of the trunk at twice the rate
      without decay. Here all biases do the latter.
    """
    return Recipe(
        backbone="vgg16",
        start="imagenet",
        head_std=0.001,
        inputs=InputSpec(mean=(50 / 255,) * 3),
        augment=Augment(crop_area=0.5, crop_mass=1 / 3),
        g=20,
        begin="ends",
        order_scale=2.0,
        mean_losses=True,
        steps=10_000,
        bias_lr_factor=2.0,
        schedule="steps",
        drops=(0.5,),
    )


def default() -> Recipe:
    """A small ResNet at 64 pixels from a random start, for a CPU, and for archives of mixed scans.

    Beyond the paper: steps in mm, volumes balanced by body size, scores that follow millimetres,
    random augmentation. DECISIONS.md says what each gained, and what did not help.
    """
    return Recipe(
        backbone="timm/resnet18",
        inputs=InputSpec(window_hu=(-300.0, 400.0), size_px=64, field="body"),
        augment=Augment(
            crop_area=0.5,
            field_of_view=1.5,
            rotation_deg=10.0,
            flip=0.5,
            hu_shift=25.0,
            hu_scale=0.1,
            noise_hu=30.0,
        ),
        g=8,
        m=6,
        unit="mm",
        balance="sizes",
        order_scale=2.0,
        distance_weight=0.0,
        position_weight=1.0,
        steps=9000,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.05,
        schedule="cosine",
        clip_norm=100.0,
    )


def lite() -> Recipe:
    """EfficientNet-Lite0 from ImageNet, otherwise as `default`."""
    chosen = default()
    return dataclasses.replace(
        chosen,
        backbone="timm/tf_efficientnet_lite0",
        start="imagenet",
        inputs=dataclasses.replace(chosen.inputs, mean=(0.5,) * 3, std=(0.5,) * 3),
        steps=4500,
    )


def large() -> Recipe:
    """The default for a GPU: the paper's VGG-16 at 128 pixels.

    A network without normalisation layers needs a lower rate. Its results are in
    benchmarks/results/accelerator.csv.
    """
    chosen = default()
    return dataclasses.replace(
        chosen,
        backbone="vgg16",
        lr=5e-4,
        steps=4500,
        inputs=dataclasses.replace(chosen.inputs, size_px=128),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "lite": lite,
    "large": large,
    "paper": paper,
    "paper_clipped": paper_clipped,
    "reference_code": reference_code,
}


def recipe(name: str) -> Recipe:
    """A named recipe. Raises `ValueError` for an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; allowed: {', '.join(RECIPES)}")
    return RECIPES[name]()
