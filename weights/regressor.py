"""The regressor: one backbone, one head, one score per slice (the paper, Fig. 1).

    input [N, 3, S, S] -> backbone -> Conv6 (512 filters 1x1) + ReLU
        -> global average pool -> 512-D "pool6" -> Fc7 -> score [N]

The pool makes the score robust to the position of the body in the slice. Larger scores are more
inferior.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .artifact import Weights
from .backbones import Backbone
from .inputs import InputSpec
from .receipts import copy_into


class Head(nn.Module):
    """Conv6 + ReLU + global average pool + Fc7.

    Args:
        channels: of the backbone's map.
        std: standard deviation of the Gaussian that the weights are drawn from, with biases 0
            (0.001 in the authors' code). None: PyTorch's own initialisation.
    """

    def __init__(self, channels: int, std: float | None = None) -> None:
        super().__init__()
        self.conv6 = nn.Conv2d(channels, 512, kernel_size=1)
        self.fc7 = nn.Linear(512, 1)
        if std is not None:
            for layer in (self.conv6, self.fc7):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def pool6(self, features: Tensor) -> Tensor:
        """`[N, channels, h, w]` -> `[N, 512]` float32."""
        return torch.relu(self.conv6(features)).float().mean(dim=(2, 3))

    def score(self, pooled: Tensor) -> Tensor:
        """`[N, 512]` -> `[N]`: Fc7."""
        # Differences of scores are far below the resolution of bf16, so the last product is never
        # computed in it.
        with torch.autocast(pooled.device.type, enabled=False):
            return self.fc7(pooled)[:, 0]  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        return self.score(self.pool6(features))


class Regressor(nn.Module):
    """Backbone and head: `[N, 3, S, S]` -> `[N]` scores, float32."""

    def __init__(self, backbone: Backbone, inputs: InputSpec, head: Head | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head or Head(backbone.channels)
        self.inputs = inputs

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]

    def score(self, grid: Tensor) -> Tensor:
        """HU on the contract's grid, `[N, S, S]` or `[N, 3, S, S]` -> `[N]` scores."""
        return self(self.inputs.to_input(grid))  # type: ignore[no-any-return]

    def pool6(self, grid: Tensor) -> Tensor:
        """The same input -> `[N, 512]`, from which `head.score` computes the scores."""
        return self.head.pool6(self.backbone(self.inputs.to_input(grid)))

    def to_weights(self, provenance: dict[str, object], license: str) -> Weights:
        """The trained weights with their contract."""
        trunk, head = (
            {k: v.detach().cpu().clone() for k, v in m.state_dict().items()}
            for m in (self.backbone.body, self.head)
        )
        return Weights(self.backbone.name, self.inputs, trunk, head, provenance, license)

    @classmethod
    def from_weights(cls, weights: Weights) -> Regressor:
        """The regressor of a weights file.

        Raises `ValueError` if the file holds a trunk only.
        """
        if not weights.head:
            raise ValueError(
                "these weights hold a trunk without the head that scores slices; give the weights "
                "of a finished fit"
            )
        backbone = weights.build()
        regressor = cls(backbone, weights.inputs)
        copy_into(regressor.head, weights.head)
        return regressor
