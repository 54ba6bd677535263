"""Scoring: what is left out, what is refused, shards that add up to the whole, and features."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.made.dicom import Made, write
from tests.made.networks import weights_of
from tests.made.odd import brighter, latin_folder, odd_entries
from tests.made.scores import in_mm
from tests.pretrain.data.test_ingestion import write_nifti
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.scans import scans_of
from ubr.pretrain.data.store.values import write_values
from ubr.pretrain.reading.classifier import Classifier
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores.read import read_features, read_slices, usual_axis
from ubr.pretrain.scores.scoring import score, share
from ubr.weights import Regressor, Weights, runtimes
from ubr.weights.common import pool
from ubr.weights.common.stored import values_sha256
from ubr.weights.common.working import Working

from .helpers import SERIES, Stop, contents, rows, run, stopping


def test_left_out__says_which_and_why_and_where_only_if_asked(
    weights: Weights, tmp_path: Path
) -> None:
    for seed in range(2):
        write_nifti(tmp_path / "DOE^JANE" / f"{seed}.nii", seed)
    whole = (tmp_path / "DOE^JANE" / "0.nii").read_bytes()
    (tmp_path / "DOE^JANE" / "cut.nii").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "DOE^JANE" / "letter.txt").write_text("Dear Jane")
    scored = score(weights, [tmp_path], tmp_path / "s", workers=0, progress=False)
    left = rows(tmp_path / "s" / "left_out.csv")
    assert [(bool(row["series"]), row["reason"]) for row in left] == [
        (False, "not DICOM, NIfTI, NRRD, MetaImage or PNG"),
        (True, "damaged or truncated NIfTI file"),
    ]
    assert len(scored.series) == 2 and not any(
        b"JANE" in data for data in contents(tmp_path / "s").values()
    )
    assert "JANE" not in scored.table() and "1 damaged or truncated NIfTI file" in scored.table()
    named = score(
        weights,
        [tmp_path / "DOE^JANE"],
        tmp_path / "named",
        workers=0,
        progress=False,
        with_paths=True,
    )
    assert {Path(row["path"]).name for row in rows(tmp_path / "named" / "left_out.csv")} == {
        "letter.txt",
        "cut.nii",
    }
    assert {Path(row["path"]).name for row in rows(tmp_path / "named" / "series.csv")} == {
        "0.nii",
        "1.nii",
    }
    assert "cut.nii" in named.table()


def test_processes__start_once_for_search_and_reading(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(tmp_path / "scans" / "0.nii", 0)
    started = []
    start = pool._Process.__init__

    def counting(process: pool._Process) -> None:
        started.append(1)
        start(process)

    monkeypatch.setattr(pool._Process, "__init__", counting)
    scored = score(weights, [tmp_path / "scans"], tmp_path / "s", workers=1, progress=False)
    assert len(scored.series) == 1 and len(started) == 1


def test_odd_entries__all_at_once_cost_a_line_each(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path / "scans" / "good", Made().datasets())
    write(latin_folder(tmp_path / "scans"), brighter(Made().datasets()))
    with odd_entries(tmp_path / "scans" / "odd") as reasons:
        for with_paths in (False, True):
            scored = score(
                weights,
                [tmp_path / "scans"],
                tmp_path / f"s{with_paths}",
                workers=0,
                progress=False,
                with_paths=with_paths,
            )
            assert len(scored.series) == 2
            left = rows(scored.folder / "left_out.csv")
            assert sorted(row["reason"] for row in left) == sorted(reasons.values())
            scored.table().encode()
    texts = b"".join(contents(tmp_path / "sFalse").values())
    assert b"nster" not in texts and os.fsencode(tmp_path) not in texts
    assert {Path(row["path"]).name for row in rows(tmp_path / "sTrue" / "series.csv")} == {
        "good",
        "M\ufffdnster",
    }


def test_with_paths__a_store_says_where_its_series_came_from(
    weights: Weights, tmp_path: Path
) -> None:
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    ingest([tmp_path / "scans"], tmp_path / "store", workers=1)
    score(weights, [tmp_path / "store"], tmp_path / "s", workers=0, progress=False, with_paths=True)
    assert [row["path"] for row in rows(tmp_path / "s" / "series.csv")] == [
        str(tmp_path / "scans" / "a.nii")
    ]


@pytest.mark.parametrize("finished", [True, False])
def test_refused__other_weights_options_or_series(
    finished: bool, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if finished:
        run(world, tmp_path / "s")
    else:
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(Working, "add", stopping(Working.add, 2))
            run(world, tmp_path / "s")
    before = sorted(tmp_path.rglob("*"))
    for sources, chosen, options, reason in (
        (
            "store",
            weights_of("timm/test_resnet", seed=1),
            {},
            r"was begun with weights \w{12}\.\.\., not \w{12}\.\.\.;",
        ),
        (
            "store",
            world / "w.safetensors",
            {"shard": "1/2"},
            'was begun with shard none, not "1/2"',
        ),
        (
            "store",
            world / "w.safetensors",
            {"with_paths": True},
            "was begun with with_paths false, not true",
        ),
    ):
        with pytest.raises(ValueError, match=reason):
            score(chosen, [world / sources], tmp_path / "s", workers=0, progress=False, **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    with pytest.raises(
        ValueError,
        match="already holds the results of other series"
        if finished
        else "was begun with other series",
    ):
        score(
            world / "w.safetensors", [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False
        )


def test_refused__a_folder_that_holds_something_else(world: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty, or is a file; give a new `out`"):
        run(world, tmp_path / "s")


def test_shards__together_are_the_whole_each_series_once(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Regressor, "score", lambda self, hu: hu.float().mean(dim=(1, 2))
    )  # what is scored does not matter here
    run(world, tmp_path / "whole")
    for number in range(1, 21):  # more shares than series: some are empty
        run(world, tmp_path / f"{number:02}", shard=f"{number}/20")
    tables = [pq.read_table(tmp_path / f"{n:02}" / "slices.parquet") for n in range(1, 21)]
    assert (
        0 in {t.num_rows for t in tables} and len({t.schema.remove_metadata() for t in tables}) == 1
    )
    joined = pyarrow.dataset.dataset(
        sorted(map(str, tmp_path.glob("[0-9]*/slices.parquet")))
    ).to_table()
    order = [("series", "ascending"), ("index", "ascending")]
    assert joined.sort_by(order).equals(pq.read_table(tmp_path / "whole" / "slices.parquet"))
    shares = [rows(p) for p in tmp_path.glob("[0-9]*/series.csv")]
    assert sorted((row for some in shares for row in some), key=lambda row: row["series"]) == rows(
        tmp_path / "whole" / "series.csv"
    )


def test_shards__what_is_left_out_is_listed_by_one_of_them(
    weights: Weights, tmp_path: Path
) -> None:
    for number in range(6):
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / f"{number}.txt").write_text("text")
        write_nifti(tmp_path / "scans" / f"{number}.nii", number)
    (tmp_path / "scans" / "bad.nii").write_bytes(b"bad")
    for number in (1, 2, 3):
        score(
            weights,
            [tmp_path / "scans"],
            tmp_path / str(number),
            workers=0,
            progress=False,
            shard=f"{number}/3",
        )
    assert sum(len(rows(tmp_path / n / "left_out.csv")) for n in "123") == 7
    assert sum(len(rows(tmp_path / n / "series.csv")) for n in "123") == 6


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/0", "-1/4", "a/b", "1/4/2", ""])
def test_shards__other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard must be K/N with K in 1\.\.N, such as 3/16, got"):
        share(text)


def test_score__tells_parts_by_features_where_the_regions_hold_a_classifier(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows_of_parts = tuple(map(tuple, rng.normal(0, 1, (2, 512)).tolist()))
    border = Level(0.0, None, 1, (), ())
    regions = Regions(
        weights.sha256(),
        ("chest", "abdomen"),
        (border,),
        {},
        classifier=Classifier(rows_of_parts, (0.0, 0.0)),
    )
    with_features = score(
        weights, [world / "store"], tmp_path / "features", features=True, workers=0, progress=False
    ).folder
    told = score(
        weights, [world / "store"], tmp_path / "told", regions=regions, workers=0, progress=False
    ).folder
    assert not (told / "features.npy").exists()
    features, parts = (
        np.load(with_features / "features.npy"),
        pq.read_table(told / "slices.parquet")["part"].to_pylist(),
    )
    assert (
        parts == np.array(regions.parts)[(features @ np.array(rows_of_parts).T).argmax(1)].tolist()
    )
    calibrated = [one["score"] for one in read_slices(told)[0].values()]
    assert np.array_equal(
        np.concatenate(calibrated),
        pq.read_table(world / "whole" / "slices.parquet")["score"].to_numpy(),
    )
    assert {key: len(values) for key, values in read_features(with_features).items()} == {
        row["series"]: int(row["slices"]) for row in rows(told / "series.csv")
    }


@pytest.mark.parametrize("value", [math.nan, None])
def test_score__a_damaged_row_of_a_store_leaves_out_its_series_only(
    value: float | None, world: Path, tmp_path: Path
) -> None:
    shutil.copytree(world / "store", tmp_path / "store")
    path = sorted((tmp_path / "store" / "series").glob("*.json"))[3]
    row = json.loads(path.read_text())
    row["z_mm"][5] = value
    path.write_text(json.dumps(row))
    (tmp_path / "store" / "catalog.parquet").unlink()
    for already in (0, SERIES - 1):  # when it is repeated as well
        done = score(
            world / "w.safetensors", [tmp_path / "store"], tmp_path / "s", workers=0, progress=False
        )
        assert done.already == already
        (out,) = done.left_out
        assert (out.key, out.path) == (
            row["key"],
            "",
        ) and "row in the store is damaged" in out.reason
        assert "row in the store is damaged" in done.table()
    whole = {row["series"]: row for row in rows(world / "whole" / "series.csv")}
    found = {row["series"]: row for row in rows(tmp_path / "s" / "series.csv")}
    assert found.keys() == whole.keys() - {row["key"]} and len(found) == SERIES - 1
    assert all(found[key]["pearson_r"] == whole[key]["pearson_r"] for key in found)
    scans = scans_of([tmp_path / "store"])
    assert len(list(scans)) == SERIES - 1
    assert [out.key for out in scans.left_out] == [row["key"]]


def test_score__warnings_are_told_on_every_run(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "store", tmp_path / "store")
    for path in sorted((tmp_path / "store" / "series").glob("*.json"))[:2]:
        row = json.loads(path.read_text())
        write_values(path, {**row, "warnings": ["gap: 1 step; of 9 mm", "tilt: 3 degrees"]})
    (tmp_path / "store" / "catalog.parquet").unlink()
    tables = [
        score(
            world / "w.safetensors", [tmp_path / "store"], tmp_path / "s", workers=0, progress=False
        ).table()
        for _ in range(2)
    ]
    for table in tables:
        assert "warning        2 series: gap" in table and "warning        2 series: tilt" in table


def test_every_mm__scores_few_slices_and_interpolates_between(world: Path, tmp_path: Path) -> None:
    few = run(world, tmp_path / "s", every_mm=10.0, features=True)
    all_of_them = run(world, tmp_path / "all", features=True)
    some, _ = read_slices(few.folder)
    whole, _ = read_slices(all_of_them.folder)
    features = read_features(few.folder), read_features(all_of_them.folder)
    assert some.keys() == whole.keys() and len(some) == SERIES
    for key, one in some.items():
        z_mm, marked = one["z_mm"], one["interpolated"]
        scored = ~marked
        assert z_mm.tolist() == whole[key]["z_mm"].tolist()
        assert scored[[0, -1]].all() and 0.2 < scored.mean() < 0.6
        assert np.diff(z_mm[scored]).max() <= 10.001
        # The same bytes for what was scored, and a straight line between.
        assert np.array_equal(one["score"][scored], whole[key]["score"][scored])
        line = np.interp(z_mm, z_mm[scored], one["score"][scored])
        np.testing.assert_allclose(one["score"], line, rtol=1e-5, atol=1e-6)
        between = [np.interp(z_mm, z_mm[scored], f[scored]) for f in features[1][key].T]
        np.testing.assert_allclose(features[0][key], np.stack(between, 1), rtol=1e-4, atol=1e-5)
        assert not whole[key]["interpolated"].any()
    settings = json.loads((few.folder / "settings.json").read_text())
    assert settings["every_mm"] == 10.0
    with pytest.raises(ValueError, match=r"was begun with every_mm 10\.0, not 5\.0"):
        run(world, tmp_path / "s", every_mm=5.0, features=True)


def test_every_mm__stopped_goes_on_and_ends_with_the_same_bytes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 5))
        run(world, tmp_path / "s", every_mm=7.0)
    assert run(world, tmp_path / "s", every_mm=7.0).already == 5
    run(world, tmp_path / "whole", every_mm=7.0)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


@pytest.mark.parametrize("every_mm", [0.0, -5.0, math.nan, math.inf])
def test_every_mm__out_of_range_is_refused(every_mm: float, world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every_mm must be above 0, got"):
        run(world, tmp_path / "s", every_mm=every_mm)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("workers", [1, 3])
def test_score__threads_that_read_a_store_change_no_byte(
    workers: int, world: Path, tmp_path: Path
) -> None:
    run(world, tmp_path / "s", workers=workers)
    assert contents(tmp_path / "s") == contents(world / "whole")


def test_runtime__that_is_not_equal_is_left_and_said(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, asked = runtimes.network_of, []

    def unequal(regressor: Any, runtime: str, **options: Any) -> Any:
        asked.append(runtime)
        if runtime == "openvino":
            raise ValueError("scores under runtime 'openvino' differ by 3; use 'torch'")
        return ready(regressor, runtime, **options)

    monkeypatch.setattr(runtimes, "network_of", unequal)
    monkeypatch.setattr(runtimes, "chosen_runtime", lambda *_: "openvino")
    scored = run(world, tmp_path / "s")
    assert asked == ["openvino", "torch"] and scored.runtime == "torch"
    assert "differ by 3; torch was used" in scored.table() and "by torch" in scored.table()
    assert contents(tmp_path / "s") == contents(world / "whole")
    with pytest.raises(ValueError, match="differ by 3; use 'torch'"):
        run(world, tmp_path / "chosen", runtime="openvino")


def test_runtime__of_a_folder_stays_when_it_is_resumed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 2))
        run(world, tmp_path / "s")
    settings = json.loads((tmp_path / "s" / "settings.json").read_text())
    assert settings.pop("runtime") == "torch" and settings.pop("every_mm") is None
    with pytest.raises(ValueError, match="was begun with runtime torch, not onnx; give the same"):
        run(world, tmp_path / "s", runtime="onnx")
    # As an earlier version began it.
    (tmp_path / "s" / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setattr(runtimes, "chosen_runtime", lambda choice, *_: choice)  # "auto" would fail
    scored = run(world, tmp_path / "s")
    assert scored.already == 2 and scored.runtime == "torch"
    assert run(world, tmp_path / "s").runtime == "torch"


def test_summary__says_what_was_scored_and_how(weights: Weights, tmp_path: Path) -> None:
    write_nifti(tmp_path / "DOE^JANE" / "a.nii", 1)
    (tmp_path / "DOE^JANE" / "letter.txt").write_text("Dear Jane")
    scored = score(weights, [tmp_path / "DOE^JANE"], tmp_path / "s", workers=0, progress=False)
    said = scored.summary()
    assert json.loads(json.dumps(said)) == said and "JANE" not in json.dumps(said)
    assert said["series"] == 1 and said["runtime"] == "torch" and said["already"] == 0
    assert said["slices"] == len(scored.series[0].scores)
    assert said["left_out"] == [
        {"series": "", "reason": "not DICOM, NIfTI, NRRD, MetaImage or PNG"}
    ]


@pytest.mark.parametrize("every_mm", [None, 10.0])
def test_positions__are_written_for_weights_whose_scores_follow_mm(
    every_mm: float | None, world: Path, weights: Weights, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"workers": 0, "progress": False, "every_mm": every_mm}
    done = score(in_mm(weights), [world / "store"], tmp_path / "s", **options)
    plain = score(weights, [world / "store"], tmp_path / "plain", **options)
    assert usual_axis(done.folder) == "position" and usual_axis(plain.folder) == "score"
    for one, other in zip(done.series, plain.series, strict=True):
        assert np.array_equal(one.scores, other.scores) and other.position_mm is None
        assert one.position_mm is not None and one.context in ("series", "slices")
        if one.context == "series":
            offset = np.median(50.0 * one.scores.astype(np.float64) - one.z_mm)
            assert one.position_mm == pytest.approx(one.z_mm + offset)
        else:
            assert one.position_mm == pytest.approx(50.0 * one.scores)
    assert any(one.context == "series" for one in done.series)


def test_positions__regions_that_read_them_are_refused_for_other_weights(
    world: Path, weights: Weights, tmp_path: Path
) -> None:
    level = Level(0.0, None, 1, (), ())
    regions = Regions(weights.sha256(), (), (), {"dome": level}, axis="position")
    with pytest.raises(ValueError, match="trained without the position loss"):
        score(weights, [world / "store"], tmp_path / "s", regions=regions)
    assert not (tmp_path / "s").exists()
    given = {"regions": regions, "workers": 0, "progress": False}
    score(in_mm(weights), [world / "store"], tmp_path / "s", **given)
    settings = json.loads((tmp_path / "s" / "settings.json").read_text())
    assert settings["regions_sha256"] == values_sha256(regions.described())
    by_score = replace(regions, axis="score")
    with pytest.raises(ValueError, match="was begun with regions"):
        score(in_mm(weights), [world / "store"], tmp_path / "s", **{**given, "regions": by_score})
    without_axis = {name: v for name, v in asdict(by_score).items() if name != "axis"}
    assert values_sha256(by_score.described()) == values_sha256(without_axis), "as ever"
