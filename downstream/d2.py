"""detectron2: this project's backbones under its registry. Imported only by those who have detectron2; nothing else here needs it.

    from ubr.downstream import d2
    cfg.MODEL.BACKBONE.NAME = d2.register("vgg16")

The trunk's tensors keep their own names, under `backbone.body.`; the map is called "map".
"""

from __future__ import annotations

from torch import Tensor, nn

from ubr.weights import build

try:
    from detectron2.modeling import BACKBONE_REGISTRY, Backbone
except ImportError as error:
    raise ImportError(
        "ubr.downstream.d2 needs detectron2, which is installed from its source: see INSTALL.md of facebookresearch/detectron2"
    ) from error


class UBRBackbone(Backbone):  # type: ignore[misc]
    """A backbone of `ubr.weights.build` as detectron2 wants it: a dictionary of maps, with their channels and strides."""

    def __init__(self, name: str) -> None:
        super().__init__()
        trunk = build(name)
        self.body: nn.Module = trunk.body
        self._map = trunk.features
        self._out_features = ["map"]
        self._out_feature_channels = {"map": trunk.channels}
        self._out_feature_strides = {"map": trunk.stride}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": self._map(self.body, x)}


def register(name: str) -> str:
    """Make a backbone known to detectron2; returns the value for `cfg.MODEL.BACKBONE.NAME`. Registering twice does nothing.

    name: what `ubr.weights.build` takes.
    """
    known = f"ubr/{name}"
    if known not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY._do_register(known, lambda cfg, shape: UBRBackbone(name))
    return known
