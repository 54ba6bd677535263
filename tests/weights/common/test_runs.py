"""A file that is being written never costs the one that is there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ubr.weights.common import runs


def test_save__a_full_disk_leaves_the_last_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "last.ckpt"
    runs.save({"step": 1}, path)

    def full(values: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("unexpected pos 4 vs 2")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OSError,
        match=r"last\.ckpt could not be written, most likely for want of disk space; make room",
    ):
        runs.save({"step": 2}, path)
    assert torch.load(path) == {"step": 1} and list(path.parent.iterdir()) == [path]


def test_trainer__checkpoints_do_not_go_through_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module(runs.Module):
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
    trainer = runs.trainer(
        tmp_path / "run", [], accelerator="cpu", devices=1, nodes=1, strategy="ddp", precision="32-true", steps=2, clip_norm=None,
        validate_every=2, checkpoint_every=1, log_every=1, bar=None,
    )  # fmt: skip
    runs.train(trainer, Module(), last := tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert torch.load(last, weights_only=False)["global_step"] == 2 and list(
        last.parent.iterdir()
    ) == [last]
