"""Backbones, data sets, mapper and evaluator for detectron2 and its own trainer.

Nothing else in this package needs detectron2. `trunk.pkl` and the .yaml beside it come from
`ubr-pretrain export --to detectron2`.

    from ubr.downstream import d2
    cfg = d2.lesion_cfg("trunk.pkl", "DeepLesion/", out="run")
    trainer = d2.Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()

The trunk's tensors keep their own names, under `backbone.body.`; the map is called "map".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ubr.weights import InputSpec, build, files
from ubr.weights.norms import hold_norms

from .augmentation import Augmentation
from .dataset import DeepLesion
from .metrics import ImageResult, report
from .module import result
from .slices import View

try:
    from detectron2.config import get_cfg
    from detectron2.data import (
        DatasetCatalog,
        MetadataCatalog,
        build_detection_test_loader,
        build_detection_train_loader,
    )
    from detectron2.engine import DefaultTrainer
    from detectron2.evaluation import DatasetEvaluator
    from detectron2.modeling import BACKBONE_REGISTRY, Backbone
    from detectron2.structures import Boxes, Instances
    from detectron2.utils import comm
except ImportError as error:
    raise ImportError(
        "ubr.downstream.d2 needs detectron2, which is installed from its source: see INSTALL.md "
        "of facebookresearch/detectron2"
    ) from error


class UBRBackbone(Backbone):  # type: ignore[misc]
    """A backbone of `ubr.weights.build` as detectron2 wants it: a dictionary of maps, with their
    channels and strides.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        trunk = build(name, any_size=True)
        self.body: nn.Module = trunk.body
        self._map = trunk.features
        self._out_features = ["map"]
        self._out_feature_channels = {"map": trunk.channels}
        self._out_feature_strides = {"map": trunk.stride}

    def train(self, mode: bool = True) -> UBRBackbone:
        """BatchNorm layers keep their statistics: two images a batch have none worth learning."""
        super().train(mode)
        hold_norms(self)
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": self._map(self.body, x)}


def register(name: str) -> str:
    """Make a backbone known to detectron2; returns the value for `cfg.MODEL.BACKBONE.NAME`.
    Registering twice does nothing.

    name: what `ubr.weights.build` takes.
    """
    known = f"ubr/{name}"
    if known not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY._do_register(known, lambda cfg, shape: UBRBackbone(name))
    return known


_SETS: dict[str, DeepLesion] = {}
"""Registered data sets by detectron2's name.

The mapper reads through them: detectron2's own reader turns every 16-bit pixel into 255.
"""


def register_deeplesion(
    name: str,
    folder: Path | str,
    split: str,
    inputs: InputSpec,
    *,
    view: View | None = None,
    augment: Augmentation | None = None,
) -> str:
    """Make one split of a folder in DeepLesion's layout known to detectron2 under `name`; an
    earlier one of that name is replaced.

    inputs: the contract of the weights. view: pixel size, neighbours. augment: random views, for
    training.
    """
    data = DeepLesion(folder, split, inputs, view=view, augment=augment)
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    _SETS[name] = data
    items = [
        {"dataset": name, "item": i, "image_id": key.name, "file_name": f"{key.name}.png"}
        for i, key in enumerate(data.keys)
    ]
    DatasetCatalog.register(name, lambda: items)
    MetadataCatalog.get(name).thing_classes = ["lesion"]
    return name


class Mapper:
    """A registered item -> what detectron2's models take: image float32 `[3, H, W]` at the
    contract's scale, and its lesions.

    Each time a worker sees an item again, it is in its next random view.
    """

    def __init__(self, *, train: bool) -> None:
        self.train = train
        self._seen: dict[str, int] = {}

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        data = _SETS[item["dataset"]]
        epoch = self._seen[item["image_id"]] = self._seen.get(item["image_id"], -1) + 1
        image, target = data.at(item["item"], epoch)
        height, width = image.shape[1:]
        mapped = {
            **item,
            "image": image * data.inputs.pixel_scale,
            "height": height,
            "width": width,
            "target": target,
        }
        if self.train:
            found = Instances((height, width))
            found.gt_boxes = Boxes(target["boxes"])
            found.gt_classes = torch.zeros(
                len(target["boxes"]), dtype=torch.int64
            )  # classes count from 0 here, background is last
            mapped["instances"] = found
        return mapped


class Evaluator(DatasetEvaluator):  # type: ignore[misc]
    """This project's metrics of what a detectron2 model finds, in pixels of the slices as
    annotated.
    """

    def __init__(self) -> None:
        self.results: list[ImageResult] = []

    def reset(self) -> None:
        self.results = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        for given, found in zip(inputs, outputs, strict=True):
            instances = found["instances"]
            self.results.append(
                result(
                    given["target"],
                    {"boxes": instances.pred_boxes.tensor, "scores": instances.scores},
                )
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        gathered = [one for part in comm.gather(self.results, dst=0) for one in part]
        if not comm.is_main_process():
            return {}
        found = report(gathered, draws=200)
        values = {"recall5": found["recall"]["value"], "AP50": found["ap50"]["value"]}
        values |= {
            f"sensitivity@{point['fp_per_image']:g}": point["value"] for point in found["froc"]
        }
        return {
            "lesions": {
                name: 100 * (np.nan if value is None else value) for name, value in values.items()
            }
        }


class Trainer(DefaultTrainer):  # type: ignore[misc]
    """detectron2's own trainer, with the mapper and the evaluator of this project."""

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_detection_train_loader(cfg, mapper=Mapper(train=True))

    @classmethod
    def build_test_loader(cls, cfg: Any, name: str) -> Any:
        return build_detection_test_loader(cfg, name, mapper=Mapper(train=False))

    @classmethod
    def build_evaluator(cls, cfg: Any, name: str) -> Evaluator:
        return Evaluator()


def lesion_cfg(
    checkpoint: Path | str,
    folder: Path | str,
    *,
    out: Path | str,
    view: View | None = None,
    augment: Augmentation | None = None,
    steps: int = 70_000,
) -> Any:
    """A configuration that is ready to train: the export's fragment, its data sets registered, and
    the paper's schedule scaled to `steps`.

    Args:
        checkpoint: the .pkl of `ubr-pretrain export --to detectron2`; its .yaml lies beside it.
        folder: in DeepLesion's layout.
        out: detectron2's output folder.
        view: pixel size, neighbours.
        augment: random views of training images.
        steps: iterations.

    Raises:
        ValueError: no such export, or one whose contract the images cannot give.
    """
    checkpoint = Path(checkpoint)
    fragment = checkpoint.with_suffix(".yaml")
    if not checkpoint.is_file() or not fragment.is_file():
        raise ValueError(
            f"{checkpoint} and {fragment.name} beside it are what ubr-pretrain export --to "
            "detectron2 writes; one is missing"
        )
    foreign = files.read_foreign(checkpoint)
    inputs = foreign.inputs()
    if inputs is None:
        raise ValueError(
            f"{checkpoint} is not a ubr-pretrain export, so the intensity that it expects is not "
            "known"
        )
    register(foreign.record["backbone"])
    for split, views in (("train", augment or Augmentation()), ("val", None)):
        register_deeplesion(f"lesions_{split}", folder, split, inputs, view=view, augment=views)
    cfg = get_cfg()
    cfg.merge_from_file(str(fragment))
    cfg.MODEL.WEIGHTS = str(checkpoint)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("lesions_train",), ("lesions_val",)
    cfg.DATALOADER.NUM_WORKERS = 2
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False  # sizes are known only once an image is read
    cfg.TEST.DETECTIONS_PER_IMAGE = 20
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.BASE_LR = 0.002
    cfg.SOLVER.WEIGHT_DECAY = 5e-4
    cfg.SOLVER.MOMENTUM = 0.9
    cfg.SOLVER.MAX_ITER = steps
    cfg.SOLVER.STEPS = tuple(round(steps * part / 70) for part in (20, 40, 55))
    cfg.SOLVER.WARMUP_ITERS = min(100, steps // 10)
    cfg.SOLVER.CHECKPOINT_PERIOD = cfg.TEST.EVAL_PERIOD = max(1, steps // 28)
    cfg.OUTPUT_DIR = str(out)
    Path(out).mkdir(parents=True, exist_ok=True)
    return cfg
