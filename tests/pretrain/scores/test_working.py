"""A scoring that is interrupted anywhere resumes, and ends with the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.made.dicom import Made, write
from tests.pretrain.data.test_ingestion import write_nifti
from ubr.pretrain.scores import adding, scoring
from ubr.pretrain.scores.scoring import score
from ubr.weights import Weights
from ubr.weights.common import working
from ubr.weights.common.claims import Claimed

from .helpers import SERIES, Stop, contents, rows, run, start_killing, stopping


def test_stopped__goes_on_and_ends_with_the_same_bytes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(working.Working, "add", stopping(working.Working.add, 5))
        run(world, tmp_path / "s")
    assert (
        len(list((tmp_path / "s" / "working").glob("*.npz"))) == 5
        and not (tmp_path / "s" / "slices.parquet").exists()
    )
    with monkeypatch.context() as patch:
        # no series is read or kept twice
        patch.setattr(adding, "slices_of", stopping(adding.slices_of, SERIES - 5))
        patch.setattr(working.Working, "add", stopping(working.Working.add, SERIES - 5))
        scored = run(world, tmp_path / "s")
    assert scored.already == 5 and "5 series were scored by an earlier call" in scored.table()
    assert contents(tmp_path / "s") == contents(world / "whole")


@pytest.mark.parametrize("renames", range(5))
def test_stopped__while_the_tables_are_put_in_their_place(
    renames: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, tmp_path / "s", shard="1/4")
    expected = contents(tmp_path / "s")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(
            working,
            "whole",
            stopping(working.whole, len(rows(tmp_path / "s" / "series.csv")) + renames),
        )
        patch.setattr(working.Working, "tidy", stopping(working.Working.tidy, 0))
        run(world, tmp_path / "t", shard="1/4")
    assert (tmp_path / "t" / "working").exists() and (
        tmp_path / "t" / "slices.parquet"
    ).exists() == (renames == 4)
    run(world, tmp_path / "t", shard="1/4")
    assert contents(tmp_path / "t") == expected


def test_stopped__before_anything_was_begun(world: Path, tmp_path: Path) -> None:
    killed = (
        "import os, sys; from ubr.weights.common.disk import whole\n"
        "with whole(sys.argv[1]) as part: part.write_text('{'); os._exit(9)"
    )
    file = str(tmp_path / "s" / "settings.json")
    assert subprocess.run([sys.executable, "-c", killed, file]).returncode == 9
    assert len(list((tmp_path / "s").iterdir())) == 1
    run(world, tmp_path / "s")
    assert contents(tmp_path / "s") == contents(world / "whole")


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 cut short"])
def test_stopped__a_damaged_part_is_said_and_can_be_scored_again(
    damage: bytes, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(working.Working, "add", stopping(working.Working.add, 5))
        run(world, tmp_path / "s")
    part = next((tmp_path / "s" / "working").glob("*.npz"))
    part.write_bytes(damage)
    with pytest.raises(ValueError, match=f"{part.name} is damaged; delete it"):
        run(world, tmp_path / "s")
    part.unlink()
    run(world, tmp_path / "s")
    assert contents(tmp_path / "s") == contents(world / "whole")


def test_finished__is_left_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in (world / "whole").iterdir()}
    monkeypatch.setattr(working.Working, "add", stopping(working.Working.add, 0))
    assert f"{SERIES} series were scored by an earlier call" in run(world, world / "whole").table()
    assert {p: p.stat().st_mtime_ns for p in (world / "whole").iterdir()} == before


def test_new_series_are_added_to_a_scoring_that_is_not_finished(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write_nifti(tmp_path / "scans" / f"{seed}.nii", seed)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(working.Working, "add", stopping(working.Working.add, 2))
        score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    write_nifti(tmp_path / "scans" / "3.nii", 3)
    (tmp_path / "scans" / "0.nii").unlink()
    score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    score(weights, [tmp_path / "scans"], tmp_path / "whole", workers=0, progress=False)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kept", ["grown", "by an earlier version"])
def test_stopped__a_series_is_scored_again_if_it_is_known_to_have_grown(
    kept: str, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows, stays = Made().datasets(), Made().datasets()
    write(tmp_path / "scans", [*grows[:-5], *stays])
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(scoring, "write_tables", stopping(scoring.write_tables, 0))
        score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    if kept == "grown":
        write(tmp_path / "scans", grows[-5:])
    else:
        for path in (tmp_path / "s" / "working").glob("*.npz"):
            with np.load(path) as arrays:
                np.savez(path, **{name: arrays[name] for name in set(arrays) - {"counts"}})
    again = score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    assert again.already == (1 if kept == "grown" else 2)
    score(weights, [tmp_path / "scans"], tmp_path / "whole", workers=0, progress=False)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


@pytest.mark.heavy
def test_killed__while_a_store_is_scored_ends_with_the_same_bytes(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    for kept, more in ((2, 2), (5, 7)):
        process = start_killing(
            "self", kept, world / "w.safetensors", world / "store", out, "--workers", "2"
        )
        assert process.wait(300) == -signal.SIGKILL and not (out / "slices.parquet").exists()
        assert len(list((out / "working").glob("*.npz"))) == more
    assert run(world, out).already == 7
    assert contents(out) == contents(world / "whole")


@pytest.mark.heavy
def test_killed__whole_run_and_readers_end_with_the_same_bytes(world: Path, tmp_path: Path) -> None:
    weights, scans = world / "w.safetensors", tmp_path / "scans"
    for seed in range(24):
        write_nifti(scans / f"{seed}.nii", seed)
    score(weights, [scans], tmp_path / "whole", workers=0, progress=False)
    out = tmp_path / "s"
    process = start_killing("self", 3, weights, scans, out, "--workers", "2")
    assert process.wait(300) == -signal.SIGKILL
    assert len(list((out / "working").glob("*.npz"))) == 3
    process = start_killing("reader", 1, weights, scans, out, "--workers", "2")
    assert process.wait(300) == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["slices.parquet", "series.csv", "left_out.csv", "features.npy"])
def test_links__in_a_folder_that_was_handed_in_are_not_followed(
    name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(working.Working, "add", stopping(working.Working.add, 5))
        run(world, tmp_path / "s", features=True)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "s" / "working" / name).symlink_to(mine)
    (tmp_path / "s" / name).symlink_to(mine)
    if name == "slices.parquet":  # its presence says that all is done
        (tmp_path / "s" / name).unlink()
    run(world, tmp_path / "s", features=True)
    assert mine.read_text() == "mine" and not (tmp_path / "s" / name).is_symlink()
    assert (tmp_path / "s" / name).stat().st_size > 0


def test_links__a_working_folder_elsewhere_is_refused(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(working.Working, "add", stopping(working.Working.add, 2))
        run(world, tmp_path / "s")
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(tmp_path / "s" / "working")
    (tmp_path / "s" / "working").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="working is a link, which is not followed"):
        run(world, tmp_path / "s")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_at_once__one_is_refused_and_the_other_gives_what_one_gives(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, refused = working.Working.add, []

    def and_another(*args: Any, **arrays: Any) -> Any:
        """Score a series, while another call comes for the same folder."""
        with pytest.raises(Claimed) as found:
            run(world, tmp_path / "s")
        refused.append(str(found.value))
        return add(*args, **arrays)

    monkeypatch.setattr(working.Working, "add", and_another)
    run(world, tmp_path / "s")
    assert len(refused) == SERIES and f"written by process {os.getpid()}" in refused[0]
    assert contents(tmp_path / "s") == contents(world / "whole")
