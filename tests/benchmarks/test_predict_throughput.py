"""The rate of `predict` beside its detector's: on real files, with a row of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import predict_throughput
from benchmarks.common import rows
from tests.downstream.prediction.conftest import run  # noqa: F401
from tests.made.dicom import Made, write


def test_row__counts_the_slices_of_all_scans(
    run: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    scans = [tmp_path / name for name in ("a", "b")]
    slices = sum(len(write(scan, Made().datasets())) for scan in scans)
    words = [str(run), *map(str, scans), "--work", str(tmp_path / "work")]
    predict_throughput.main([*words, "--pairs", "1", "--passes", "1"])
    (row,) = rows.read("predict_throughput")
    assert (row["scans"], int(row["slices"])) == ("2", slices)
    assert float(row["bare_images_per_s"]) > 0 and float(row["images_per_s"]) > 0
