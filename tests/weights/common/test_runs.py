"""A run folder holds one run, and says which."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ubr.weights.common import disk, runs

CONFIG = {"recipe": {"optimiser": "sgd", "lr": 0.1}, "data": {"sha256": "abc"}}


def test_check__takes_a_new_folder_and_the_same_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runs.check(folder, CONFIG)
    runs.begin(folder, CONFIG)
    assert yaml.safe_load((folder / "config.yaml").read_text()) == CONFIG
    runs.check(folder, CONFIG)


def test_check__refuses_another_run_and_other_files(tmp_path: Path) -> None:
    runs.begin(tmp_path / "run", CONFIG)
    other = {**CONFIG, "data": {"sha256": "def"}}
    with pytest.raises(ValueError, match=r"holds another run \(other data.sha256\); give a new"):
        runs.check(tmp_path / "run", other)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "thesis.doc").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run; give a new `out`"):
        runs.check(tmp_path / "letters", CONFIG)


def test_check__refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "run", tmp_path / "file" / "a" / "run"):
        with pytest.raises(ValueError, match=r"cannot be made below .*file; give another `out`"):
            runs.check(folder, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_check__takes_a_folder_whose_first_file_was_being_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), disk.whole(tmp_path / "config.yaml") as part:
        hidden = part.parent.name
        raise KeyboardInterrupt
    (tmp_path / hidden).mkdir()  # as after a kill
    runs.check(tmp_path, CONFIG)


def test_claim__removes_what_a_killed_process_left(tmp_path: Path) -> None:
    with disk.whole(tmp_path / "checkpoints" / "last.ckpt") as part:
        part.touch()
        name = part.parent.name
    host, _, rest = name.rpartition("-")
    left = tmp_path / "checkpoints" / f"{host}-999999999.{rest.split('.', 1)[1]}"
    left.mkdir()
    runs.begin(tmp_path, CONFIG)
    assert not left.exists() and (tmp_path / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_begin__writes_through_no_link(name: str, tmp_path: Path) -> None:
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    run.mkdir()
    (run / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"{name} is a link, and nothing is written through it"):
        runs.begin(run, CONFIG)
    (run / name).unlink()
    (run / name).mkdir()
    (run / name / "hparams.yaml").symlink_to(elsewhere / "made")
    with pytest.raises(ValueError, match=f"{name} holds a link, hparams.yaml, which is not"):
        runs.begin(run, CONFIG)
    (run / name / "hparams.yaml").unlink()
    (run / "config.yaml").symlink_to(elsewhere / "made")
    runs.begin(run, CONFIG)
    assert list(elsewhere.iterdir()) == [] and not (run / "config.yaml").is_symlink()
