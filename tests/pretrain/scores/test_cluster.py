"""Scoring and ingesting with the workers of a Dask cluster."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pretrain.data.test_ingestion import write_nifti
from ubr.pretrain.cli import main
from ubr.pretrain.data import workers
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.scans import UnreadScan
from ubr.pretrain.data.volume import Series
from ubr.pretrain.scores.scoring import score
from ubr.weights import Weights

from .helpers import contents, start_killing


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
    worker = str(next(iter(cluster.workers.values())).pid)
    files = world / "w.safetensors", world / "store", tmp_path / "s"
    process = start_killing(worker, 0, *files, "--scheduler", cluster.scheduler_address)
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
