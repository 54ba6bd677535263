"""detectron2: a checkpoint of arrays with exact names, and beside it the config of its model.

ResNets that detectron2 has are written under its own names, as the bottom-up part of an FPN. Every
other backbone is written under the names of the backbone that `ubr.downstream.d2` registers, with a
single map as in the paper. detectron2 itself is not needed to write either.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import yaml

from ..artifact import Weights
from ..layouts import COUNTER, Layout
from .common import Writer, given, preparation, prove_it_comes_back, record

_RESNET_CONFIGS: dict[str, dict[str, Any]] = {
    "resnet18": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64},
    "resnet34": {"DEPTH": 34, "RES2_OUT_CHANNELS": 64},
    "resnet50": {"DEPTH": 50},
    "resnet101": {"DEPTH": 101},
    "resnet152": {"DEPTH": 152},
    "wide_resnet50_2": {"DEPTH": 50, "WIDTH_PER_GROUP": 128},
    "wide_resnet101_2": {"DEPTH": 101, "WIDTH_PER_GROUP": 128},
    "resnext50_32x4d": {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4},
    "resnext101_32x8d": {"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8},
    "resnext101_64x4d": {"DEPTH": 101, "NUM_GROUPS": 64, "WIDTH_PER_GROUP": 4},
}


def _model(weights: Weights, layout: Layout) -> dict[str, Any]:
    """The config's MODEL: the backbone, the parts that use its maps, and anchors of lesion size."""
    ratios = [[0.5, 1.0, 2.0]]
    if layout.model not in _RESNET_CONFIGS:
        return {
            "BACKBONE": {"NAME": f"ubr/{weights.backbone}"},
            "ANCHOR_GENERATOR": {"SIZES": [[16, 24, 32, 48, 96]], "ASPECT_RATIOS": ratios},
            "RPN": {"IN_FEATURES": ["map"]},
            "ROI_HEADS": {"IN_FEATURES": ["map"]},
        }
    maps = ["res2", "res3", "res4", "res5"]
    return {
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
        # The stride is in the 3x3 convolution, as in torchvision and timm.
        "RESNETS": {**_RESNET_CONFIGS[layout.model], "STRIDE_IN_1X1": False, "OUT_FEATURES": maps},
        "FPN": {"IN_FEATURES": list(maps)},
        "ANCHOR_GENERATOR": {"SIZES": [[16], [24], [32], [48], [96]], "ASPECT_RATIOS": ratios},
        "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"]},
        "ROI_HEADS": {"IN_FEATURES": ["p2", "p3", "p4", "p5"]},
    }


def _fragment(weights: Weights, layout: Layout, path: Path) -> dict[str, Any]:
    model, i = _model(weights, layout), weights.inputs
    model["ROI_HEADS"] |= {
        "NAME": "StandardROIHeads",
        "NUM_CLASSES": 1,
        "SCORE_THRESH_TEST": 0.0,
        "NMS_THRESH_TEST": 0.3,
    }
    model["ROI_BOX_HEAD"] = {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_RESOLUTION": 7}
    model["PIXEL_MEAN"], model["PIXEL_STD"] = (
        [v * i.pixel_scale for v in values] for values in (i.mean, i.std)
    )
    return {
        "VERSION": 2,
        "MODEL": {"META_ARCHITECTURE": "GeneralizedRCNN", "WEIGHTS": path.name, **model},
        "INPUT": {
            "FORMAT": "RGB",
            "MIN_SIZE_TRAIN": [512],
            "MAX_SIZE_TRAIN": 512,
            "MIN_SIZE_TEST": 512,
            "MAX_SIZE_TEST": 512,
        },
        "DATALOADER": {"FILTER_EMPTY_ANNOTATIONS": False},
    }


def _write_detectron2(weights: Weights, layout: Layout, part: Path, path: Path) -> str:
    own = layout.model in _RESNET_CONFIGS
    state = {layout.prefix + name: t for name, t in layout.to_theirs(weights.trunk).items()}
    counters = {}
    if own:  # detectron2's norms are frozen and have no counter
        state = {name: t for name, t in state.items() if not name.endswith(COUNTER)}
        counters = {name: int(t) for name, t in weights.trunk.items() if name.endswith(COUNTER)}
    arrays = {name: t.numpy() for name, t in state.items()}
    about = {**record(weights, state), "counters": counters}
    with part.open("wb") as file:
        # The names are exact, so detectron2 need not guess any. "__author__" marks the file as
        # detectron2's format; without it, it is read as Caffe2's.
        pickle.dump({"model": arrays, "__author__": "ubr-pretrain", "ubr": about}, file, protocol=4)
    prove_it_comes_back(weights, part)
    comment = (
        "# detectron2's settings for these weights, with anchors for lesions: "
        "cfg.merge_from_file(THIS FILE).\n"
        "# WEIGHTS is relative to the working directory. The mapper must give float images, made "
        f"from {given(weights.inputs)}:\n"
        f"#   {preparation(weights.inputs, weights.inputs.pixel_scale)}\n"
    )
    cfg = yaml.safe_dump(_fragment(weights, layout, path), sort_keys=False, default_flow_style=None)
    part.with_suffix(".yaml").write_text(comment + cfg)
    register = "" if own else f"from ubr.downstream import d2\nd2.register({weights.backbone!r})\n"
    return f"""import pickle, torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model
{register}cfg = get_cfg()
cfg.merge_from_file({str(path.with_suffix(".yaml"))!r})
cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
model = build_model(cfg)
DetectionCheckpointer(model).load({str(path)!r})
# detectron2 does not fail if names do not match, so compare.
state = model.state_dict()
arrays = pickle.load(open({str(path)!r}, "rb"))["model"]
assert all(torch.equal(state[n].cpu(), torch.from_numpy(a)) for n, a in arrays.items())"""


WRITER = Writer(_write_detectron2, ".pkl", beside=lambda path: [path.with_suffix(".yaml")])
