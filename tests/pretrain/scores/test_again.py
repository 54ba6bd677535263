"""A folder of scores read again: the very tables that scoring with regions writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.made.networks import weights_of
from ubr.pretrain.cli import main
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores.read import read_slices
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.scores.streamed import each_series
from ubr.weights import Weights

from .helpers import run

TABLES = ("slices.parquet", "series.csv", "findings.csv", "landmarks.csv", "left_out.csv")


@pytest.fixture
def regions(world: Path, weights: Weights) -> Regions:
    slices, _ = read_slices(world / "whole")
    low, high = np.percentile(np.concatenate([one["score"] for one in slices.values()]), [30, 70])
    levels = [Level(float(score), None, 1, (), ()) for score in (low, high)]
    return Regions(
        weights.sha256(), ("a", "b", "c"), tuple(levels), {"x": levels[0], "y": levels[1]}, None
    )


@pytest.mark.parametrize("options", [{}, {"features": True}, {"every_mm": 9.0}])
def test_score__a_folder_of_scores_gives_the_tables_of_scans(
    world: Path, regions: Regions, tmp_path: Path, options: dict[str, object]
) -> None:
    run(world, tmp_path / "plain", **options)
    run(world, tmp_path / "whole", regions=regions, **options)
    again = score(
        world / "w.safetensors",
        [tmp_path / "plain"],
        tmp_path / "again",
        regions=regions,
        features="features" in options,
    )
    names = (*TABLES, "features.npy") if options.get("features") else TABLES
    for name in names:
        made = (tmp_path / "again" / name).read_bytes()
        assert made == (tmp_path / "whole" / name).read_bytes(), name
    assert len(again.series) == again.already == 12
    assert (tmp_path / "again" / "settings.json").exists()


def test_score__again_takes_no_scan_and_no_network(
    world: Path, regions: Regions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ubr.weights import runtimes

    monkeypatch.delattr(runtimes, "network_of")
    score(world / "w.safetensors", [world / "whole"], tmp_path / "again", regions=regions)
    with pytest.raises(ValueError, match="was begun with regions"):
        score(world / "w.safetensors", [world / "whole"], tmp_path / "again")


def test_score__again_refuses_what_the_scores_are_not(
    world: Path, regions: Regions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights_of("timm/test_resnet", 1).save(tmp_path / "other.safetensors")
    w, whole, out = world / "w.safetensors", world / "whole", tmp_path / "out"
    for words, why in (
        ([tmp_path / "other.safetensors", whole], "was scored with weights"),
        ([w, whole, "--every-mm", "5"], "was scored with --every-mm none, not 5.0"),
        ([w, whole, "--shard", "1/2"], "was scored with --shard none, not"),
        ([w, whole, "--with-paths"], "holds no paths; leave out --with-paths"),
        ([w, whole, "--features"], "has no features.npy; score with --features"),
        ([w, whole, world / "store"], "a folder of scores is read alone"),
    ):
        assert main(["score", *map(str, words), "--out", str(out)]) == 2
        assert why in capsys.readouterr().err, why
        assert not out.exists()
    regions.save(tmp_path / "regions.json")


def test_each_series__is_what_the_tables_hold(world: Path) -> None:
    slices, _ = read_slices(world / "whole")
    found = list(each_series(world / "whole"))
    assert [one.key for one in found] == [*slices]
    for one in found:
        np.testing.assert_array_equal(one.scores, slices[one.key]["score"])
        np.testing.assert_array_equal(one.z_mm, slices[one.key]["z_mm"])


def test_each_series__tables_that_do_not_belong_together(world: Path, tmp_path: Path) -> None:
    run(world, tmp_path / "a")
    table = tmp_path / "a" / "series.csv"
    lines = table.read_text().splitlines(keepends=True)
    for kept in (lines[:-1], [lines[0], *lines[2:]]):
        table.write_text("".join(kept))
        with pytest.raises(ValueError, match=r"series.csv and slices.parquet differ"):
            list(each_series(tmp_path / "a"))
    table.write_text("".join(lines))
    (tmp_path / "a" / "slices.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"slices.parquet is damaged"):
        list(each_series(tmp_path / "a"))
