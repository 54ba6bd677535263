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
    with pytest.raises(
        ValueError, match=r"holds another run \(different data.sha256\); give a new"
    ):
        runs.check(tmp_path / "run", other)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "thesis.doc").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run; give a new `out`"):
        runs.check(tmp_path / "letters", CONFIG)


def test_check__refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "run", tmp_path / "file" / "a" / "run"):
        with pytest.raises(ValueError, match="file is not a folder that can be written to; give"):
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "it must be a table"),
        ("recipe: 5", "recipe must be a table, got 5"),
        ("recipe: {lr: *a}", "is not plain YAML"),
        ("reci\x00pe: 1", "is not plain YAML"),
        ("a: !!python/object/apply:os.mkdir [executed]", "is not plain YAML"),
        ("", "it must be a table, got None"),
    ],
)
def test_check__a_damaged_config_is_one_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml.*{reason}.*; the run is damaged: restore"):
        runs.check(tmp_path, CONFIG)
    assert not Path("executed").exists()


LINES = '{"step": 2, "val/r": 0.5}\n{"step": 4, "val/r": NaN, "train/loss": 1}\n'


def test_read_metrics__without_a_last_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(LINES + '{"step": 6, "val')
    assert [one["step"] for one in runs.read_metrics(tmp_path, "val/r")] == [2, 4]
    assert [one["step"] for one in runs.read_metrics(tmp_path, "train/loss")] == [4]
    path.unlink()
    with pytest.raises(ValueError, match=r"metrics\.jsonl is missing; the run is damaged"):
        runs.read_metrics(tmp_path, "val/r")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"step": 6, "val', "is not JSON"),
        ("7", "it must be a table"),
        ('{"val/r": 0.5}', "step: it must be a valid integer, got None"),
        ('{"step": "6"}', "step must be a valid .*number, got '6'"),
        ('{"step": 6, "val/r": "good"}', "val/r must be a valid number, got 'good'"),
        ("[" * 100_000, r"is not JSON \(nested too deep\)"),
    ],
)
def test_read_metrics__a_damaged_line_is_named(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{LINES}{line}\n{LINES}")
    with pytest.raises(ValueError, match=rf"metrics\.jsonl line 3.*{reason}.*the run is damaged"):
        runs.read_metrics(tmp_path, "val/r")


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_begin__writes_through_no_link(name: str, tmp_path: Path) -> None:
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    run.mkdir()
    (run / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"{name} is a link, which is not followed"):
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


@pytest.mark.parametrize("at", [0, 1])
def test_begin__cut_between_its_folders_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    class Cut(BaseException):
        pass

    make, made = disk.make_folder, []

    def cutting(path: Path) -> None:
        if len(made) == at:
            raise Cut
        make(path)
        made.append(path)

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(disk, "make_folder", cutting)
        runs.begin(tmp_path / "run", CONFIG)
    runs.check(tmp_path / "run", CONFIG)
    runs.begin(tmp_path / "run", CONFIG)
