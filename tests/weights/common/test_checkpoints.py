"""A file that is being written never costs the one that is there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made.toys import toy_recipe
from ubr.weights import Intervals, Machine
from ubr.weights.common.tensors import torch_save
from ubr.weights.common.trainer import TrainingModule, build_trainer, train_from_last


def test_torch_save__a_full_disk_leaves_the_last_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "last.ckpt"
    torch_save({"step": 1}, path)

    def full(values: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("unexpected pos 4 vs 2")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OSError,
        match=r"last\.ckpt could not be written, most likely because the disk is full; make room",
    ):
        torch_save({"step": 2}, path)
    assert torch.load(path) == {"step": 1} and list(path.parent.iterdir()) == [path]


def test_trainer__checkpoints_do_not_go_through_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module(TrainingModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            return self.layer(batch).sum()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    folder = tmp_path / "run"
    trainer = build_trainer(
        folder,
        toy_recipe(steps=2),
        "timm/test_resnet",
        machine=Machine(device="cpu", devices=1),
        intervals=Intervals(2, 1, log_every=1, progress=False),
    )
    train_from_last(trainer, Module(), last := folder / "checkpoints" / "last.ckpt")
    assert torch.load(last, weights_only=False)["global_step"] == 2 and list(
        last.parent.iterdir()
    ) == [last]
