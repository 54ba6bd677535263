"""The demo leads from computed CT alone to scores, body parts, a figure, and a trunk that loads
elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

from ubr.pretrain.scores.series import SeriesScores
from ubr.pretrain.uses.demo import PARTS, body_part_accuracy, read_labels, run_demo


@pytest.mark.heavy
def test_demo__reaches_what_it_claims_on_unseen_phantoms(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "run")
    assert result.mean_r >= 0.98, result.text
    assert result.accuracy >= 0.95, result.text
    (scores,) = (tmp_path / "run").glob("scores/slices.parquet")
    assert pq.read_table(scores).num_rows > 1000
    picture = np.asarray(Image.open(tmp_path / "run" / "scores.png").convert("L"))
    assert picture.shape[0] > 600 and picture.std() > 20
    trunk = torch.load(tmp_path / "run" / "resnet18-trunk.pth", weights_only=True)
    left = torchvision.models.resnet18().load_state_dict(trunk, strict=False)
    assert left.unexpected_keys == [] and left.missing_keys == ["fc.weight", "fc.bias"]
    assert b"PHANTOM" not in scores.read_bytes()


def scored(name: str, scores: list[float]) -> SeriesScores:
    return SeriesScores(
        name, np.array(scores, np.float32), np.arange(len(scores)) * 5.0, (), f"/scans/{name}"
    )


def test_accuracy__one_number_for_each_pair_that_shows_all_parts() -> None:
    labels = {
        "a": ["neck", "chest", "abdomen"],
        "b": ["abdomen", "pelvis"],
        "c": ["chest", "abdomen", "pelvis"],
        "d": ["chest", "chest"],
    }
    right = [
        scored("a", [-9, 0, 5]),
        scored("b", [5, 9]),
        scored("c", [1, 5, 10]),
        scored("d", [0, 1]),
    ]
    found = body_part_accuracy(right, labels)
    assert len(found) == 5 and (found == 1).all()  # all but a+d
    wrong = [*right[:3], scored("d", [0, 5])]  # half of d looks like an abdomen
    assert body_part_accuracy(wrong, labels).min() < 0.9
    assert set(PARTS) == {"chest", "abdomen", "pelvis"}


def test_labels__in_the_order_of_slices(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "file,slice,z_mm,region,body_mm\nx,1,5,abdomen,0\nx,0,0,chest,0\ny,0,0,pelvis,0\n"
    )
    assert read_labels(tmp_path / "labels.csv") == {"x": ["chest", "abdomen"], "y": ["pelvis"]}
