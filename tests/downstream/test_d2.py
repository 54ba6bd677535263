"""detectron2's own trainer on this project's data, where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.made.lesions import lesion_world
from tests.made.networks import kept
from ubr.downstream.detector import faster_rcnn
from ubr.downstream.slices import View
from ubr.weights import export, verify
from ubr.weights.inputs import reference_slice

pytest.importorskip(
    "detectron2",
    reason="detectron2 is not installed (source only): skipped its trainer on this project's data",
)
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lesion_world(tmp_path_factory.mktemp("lesions"), train=4, val=2, test=0)


@pytest.mark.parametrize("name", ["vgg16", "timm/resnet18"])
def test_trainer__trains_and_judges_from_an_export(name: str, world: Path, tmp_path: Path) -> None:
    from ubr.downstream import d2

    export(kept(name), tmp_path / "x.pkl", to="detectron2")
    cfg = d2.lesion_cfg(
        tmp_path / "x.pkl", world, out=tmp_path / "run", view=View(longest_px=96), steps=8
    )
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.MODEL.DEVICE = 2, 0, "cpu"
    trainer = d2.Trainer(cfg)
    trainer.resume_or_load(resume=False)
    receipt = verify(trainer.model, kept(name))
    assert len(receipt.loaded) >= 26
    hu = reference_slice(kept(name).inputs)
    ours = faster_rcnn(kept(name))[0].eval().backbone.body
    theirs = trainer.model.backbone
    with torch.no_grad():
        x = kept(name).inputs.to_input(hu)
        found = list(getattr(theirs, "bottom_up", theirs).eval()(x).values())[-1]
        expected = ours.features(x) if name == "vgg16" else ours.forward_features(x)
    torch.testing.assert_close(
        found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )  # the two engines
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    moved = [n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])]
    assert any(n.startswith("backbone.") for n in moved) and any(
        n.startswith("roi_heads.") for n in moved
    )
    metrics = d2.Trainer.test(cfg, trainer.model)
    assert 0 <= metrics["lesions"]["recall5"] <= 100 and "sensitivity@4" in metrics["lesions"]


def test_mapper__gives_the_contracts_scale_and_lesions_as_class_0(world: Path) -> None:
    from ubr.downstream import d2

    inputs = kept("vgg16").inputs
    name = d2.register_deeplesion("mapped", world, "val", inputs, view=View(longest_px=96))
    item = d2.DatasetCatalog.get(name)[0]
    mapped = d2.Mapper(train=True)(item)
    assert (
        mapped["image"].shape[0] == 3 and 100 < mapped["image"].max() <= 255
    )  # 16-bit values, not 255 everywhere
    assert mapped["image"].float().std() > 5 and mapped["instances"].gt_classes.tolist() == [0]
    np.testing.assert_allclose(mapped["instances"].gt_boxes.tensor, mapped["target"]["boxes"])


def test_lesion_cfg__refuses(world: Path, tmp_path: Path) -> None:
    from ubr.downstream import d2

    with pytest.raises(
        ValueError, match=r"none.pkl and none.yaml beside it are what ubr-pretrain export"
    ):
        d2.lesion_cfg(tmp_path / "none.pkl", world, out=tmp_path / "run")
