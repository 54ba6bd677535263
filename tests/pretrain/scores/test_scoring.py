"""Scoring at the scale of an archive:

stopped anywhere it goes on, shared out it is the same, and every series counts once.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.made.networks import weights_of
from tests.made.toys import toy_store
from tests.pretrain.data.test_ingestion import children, write_nifti
from ubr.pretrain.cli import main
from ubr.pretrain.data import workers
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.scans import UnreadScan
from ubr.pretrain.data.store import Store
from ubr.pretrain.data.volume import Series
from ubr.pretrain.reading.classifier import Classifier
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores import scoring, tables, working
from ubr.pretrain.scores.scoring import Scored, score, share
from ubr.weights import Weights

SERIES = 12
TABLES = {"slices.parquet", "series.csv", "findings.csv", "left_out.csv", "settings.json"}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return weights_of("timm/test_resnet")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> Path:
    """Weights, a store, and its scores by a call that nothing disturbed."""
    root = tmp_path_factory.mktemp("world")
    weights.save(root / "w.safetensors")
    toy_store(root / "store", SERIES)
    score(weights, [root / "store"], root / "whole", workers=0, progress=False)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    assert {p.name for p in folder.iterdir()} == TABLES
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(world: Path, out: Path, **options: Any) -> Scored:
    return score(
        world / "w.safetensors",
        [world / "store"],
        out,
        **{"workers": 0, "progress": False, **options},
    )


# ------------------------------------------------------------------------------------------------------------------------
# tables


def test_scored__read_back_is_what_was_written(world: Path) -> None:
    scored = run(world, world / "whole")
    table = pq.read_table(world / "whole" / "slices.parquet")
    assert [s.key for s in scored.series] == sorted(
        row.key for row in Store.open(world / "store").rows()
    )
    np.testing.assert_array_equal(
        np.concatenate([s.scores for s in scored.series]), table["score"].to_numpy()
    )
    assert all(
        s.z_mm[0] == 0 and len(s.z_mm) == 30 and s.summary()["series"] == s.key
        for s in scored.series
    )
    assert [{k: str(v) for k, v in s.summary().items()} for s in scored.series] == rows(
        world / "whole" / "series.csv"
    )


def test_scored__warnings_that_hold_a_semicolon_come_back_whole(tmp_path: Path) -> None:
    notes = (
        "tilt: 12.0 degrees; slices moved in-plane by up to 3.0 mm",
        "rescale: no slope and intercept",
    )
    one = tables.SeriesScores("ab", np.zeros(2, np.float32), np.array([0.0, 1.0]), notes, "")
    tables.write(tmp_path, lambda: iter([one]), [], tables.Asked(), {})
    assert Scored(tmp_path, {"ab": ""}).series[0].warnings == notes


def test_tables__are_the_same_however_few_series_are_in_memory(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SERIES_AT_ONCE", 5)
    run(world, tmp_path / "s")
    assert pq.ParquetFile(tmp_path / "s" / "slices.parquet").num_row_groups == 3
    assert pq.read_table(tmp_path / "s" / "slices.parquet").equals(
        pq.read_table(world / "whole" / "slices.parquet")
    )


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


def test_with_paths__a_store_says_where_its_series_came_from(
    weights: Weights, tmp_path: Path
) -> None:
    write_nifti(tmp_path / "scans" / "a.nii", 1)
    ingest([tmp_path / "scans"], tmp_path / "store", workers=1)
    score(weights, [tmp_path / "store"], tmp_path / "s", workers=0, progress=False, with_paths=True)
    assert [row["path"] for row in rows(tmp_path / "s" / "series.csv")] == [
        str(tmp_path / "scans" / "a.nii")
    ]


# -----------------------------------------------------------------------------------------------------------------
# being stopped


class Stop(BaseException):
    """Not an error that the code under test could take for its own."""


def stopping(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """A function that works so often and then stops everything."""
    left = iter(range(calls))

    def stops(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise Stop
        return function(*args, **options)

    return stops


def test_stopped__goes_on_and_ends_with_the_same_bytes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(scoring, "scores_of", stopping(scoring.scores_of, 5))
        run(world, tmp_path / "s")
    assert (
        len(list((tmp_path / "s" / "working").glob("*.npz"))) == 5
        and not (tmp_path / "s" / "slices.parquet").exists()
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            scoring, "scores_of", stopping(scoring.scores_of, SERIES - 5)
        )  # no series is read or scored twice
        scored = run(world, tmp_path / "s")
    assert scored.already == 5 and "5 of them by an earlier call" in scored.table()
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
            "rename_durably",
            stopping(
                working.rename_durably, 1 + len(rows(tmp_path / "s" / "series.csv")) + renames
            ),
        )
        patch.setattr(working.shutil, "rmtree", stopping(shutil.rmtree, 0))
        run(world, tmp_path / "t", shard="1/4")
    assert (tmp_path / "t" / "working").exists() and (
        tmp_path / "t" / "slices.parquet"
    ).exists() == (renames == 4)
    run(world, tmp_path / "t", shard="1/4")
    assert contents(tmp_path / "t") == expected


def test_stopped__before_anything_was_begun(world: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "settings.json.1234-5.tmp").write_text("{")
    run(world, tmp_path / "s")
    (tmp_path / "s" / "settings.json.1234-5.tmp").unlink()
    assert contents(tmp_path / "s") == contents(world / "whole")


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 cut short"])
def test_stopped__a_damaged_part_is_said_and_can_be_scored_again(
    damage: bytes, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(scoring, "scores_of", stopping(scoring.scores_of, 5))
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
    monkeypatch.setattr(scoring, "scores_of", stopping(scoring.scores_of, 0))
    assert f"{SERIES} of them by an earlier call" in run(world, world / "whole").table()
    assert {p: p.stat().st_mtime_ns for p in (world / "whole").iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_refused__other_weights_options_or_series(
    finished: bool, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if finished:
        run(world, tmp_path / "s")
    else:
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(scoring, "scores_of", stopping(scoring.scores_of, 2))
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
        match="13 series are not the same" if finished else "was begun with other series",
    ):
        score(
            world / "w.safetensors", [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False
        )


def test_refused__a_folder_that_holds_something_else(world: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty, or a file; give a new --out"):
        run(world, tmp_path / "s")


def test_new_series_are_added_to_a_scoring_that_is_not_finished(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write_nifti(tmp_path / "scans" / f"{seed}.nii", seed)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(scoring, "scores_of", stopping(scoring.scores_of, 2))
        score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    write_nifti(tmp_path / "scans" / "3.nii", 3)
    (tmp_path / "scans" / "0.nii").unlink()
    score(weights, [tmp_path / "scans"], tmp_path / "s", workers=0, progress=False)
    score(weights, [tmp_path / "scans"], tmp_path / "whole", workers=0, progress=False)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def start(world: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [
        "score",
        str(world / "w.safetensors"),
        str(world / "store"),
        "--out",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "ubr.pretrain.cli", *words],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def wait_for(process: subprocess.Popen[bytes], out: Path, parts: int) -> None:
    deadline = time.monotonic() + 60
    while len(list((out / "working").glob("*.npz"))) < parts:
        assert time.monotonic() < deadline and process.poll() is None, (
            "it was over before it could be killed"
        )
        time.sleep(0.001)


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_killed__whole_run_and_workers_end_with_the_same_bytes(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    process = start(world, out, "--workers", "2")
    wait_for(process, out, 2)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (out / "slices.parquet").exists()
    done = len(list((out / "working").glob("*.npz")))
    process = start(world, out, "--workers", "2")
    wait_for(process, out, done + 1)
    readers = [
        p for p in children(process) if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()
    ]
    os.kill(readers[0], signal.SIGKILL)
    assert process.wait(120) == 0
    assert contents(out) == contents(world / "whole")


# ------------------------------------------------------------------------------------------------------------------------
# shares


def test_shards__together_are_the_whole_each_series_once(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scoring.Regressor, "score", lambda self, hu: hu.float().mean(dim=(1, 2))
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
    with pytest.raises(ValueError, match=r"shard is K/N with K in 1\.\.N, as 3/16, got"):
        share(text)


# -----------------------------------------------------------------------------------------------------------------------
# cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    before = dict(os.environ)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as local:
        yield local
    # Dask leaves OMP_NUM_THREADS=1 behind: what later tests start would add up in another order
    # than they do themselves.
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.heavy
def test_scheduler__gives_the_same_bytes_though_a_worker_is_killed(
    world: Path, tmp_path: Path, cluster: Any
) -> None:
    process = start(world, tmp_path / "s", "--scheduler", cluster.scheduler_address)
    wait_for(process, tmp_path / "s", 1)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    assert process.wait(120) == 0
    assert contents(tmp_path / "s") == contents(world / "whole")


@pytest.mark.heavy
def test_scheduler__reads_scans_and_ingests(weights: Weights, tmp_path: Path, cluster: Any) -> None:
    for seed in range(3):
        write_nifti(tmp_path / "scans" / f"{seed}.nii", seed)
    (tmp_path / "scans" / "bad.nii").write_bytes(b"bad")
    score(
        weights,
        [tmp_path / "scans"],
        tmp_path / "s",
        scheduler=cluster.scheduler_address,
        progress=False,
    )
    score(weights, [tmp_path / "scans"], tmp_path / "local", workers=0, progress=False)
    assert contents(tmp_path / "s") == contents(tmp_path / "local")
    done = ingest([tmp_path / "scans"], tmp_path / "store", scheduler=cluster.scheduler_address)
    assert len(done.taken) == 3 and [out.reason for out in done.left_out] == [
        "damaged or truncated NIfTI file"
    ]


def test_scheduler__mistakes_are_one_line_and_leave_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "score",
        str(world / "w.safetensors"),
        str(world / "store"),
        "--out",
        str(tmp_path / "s"),
        "--device",
        "cpu",
    ]

    def refused(*more: str) -> str:
        capsys.readouterr()
        assert main([*words, *more]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "give either workers (2) or a scheduler (tcp://127.0.0.1:1)" in refused(
        "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"
    )
    monkeypatch.setattr(workers, "ANSWERS_S", 1)
    began = time.monotonic()
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:1' within 1 s" in refused(
        "--scheduler", "tcp://127.0.0.1:1"
    )
    assert time.monotonic() - began < 4
    monkeypatch.setitem(sys.modules, "distributed", None)  # as where it is not installed
    assert 'pip install "ubr-pretrain[cluster]"' in refused("--scheduler", "tcp://127.0.0.1:1")
    assert not (tmp_path / "s").exists()


def test_work__says_nothing_of_whose_it_is_where_a_cluster_logs_it() -> None:
    series = Series("dicom", ("/scans/DOE^JANE/1",), "1.2.3.4", "DOE^JANE")
    said = repr(UnreadScan("ab12", "DOE^JANE", "/scans/DOE^JANE", series))
    assert "ab12" in said and "dicom" in said and "DOE" not in said and "1.2.3.4" not in said


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
    calibrated = [one["score"] for one in tables.read_slices(told)[0].values()]
    assert np.array_equal(
        np.concatenate(calibrated),
        pq.read_table(world / "whole" / "slices.parquet")["score"].to_numpy(),
    )
    assert {key: len(values) for key, values in tables.read_features(with_features).items()} == {
        row["series"]: int(row["slices"]) for row in rows(told / "series.csv")
    }
