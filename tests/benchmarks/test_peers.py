"""The comparison with peers: equal scans, ratios by rounds, and what is not installed left out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.common.peers import pipelines
from benchmarks.common.peers.scans import scans
from ubr.pretrain.data import find


def test_scans__are_the_same_in_each_form_and_have_so_many_slices(tmp_path: Path) -> None:
    held = {}
    for form in ("dicom", "nii.gz", "nii"):
        series, left = find.find_series([scans(tmp_path, 30, form, 3, size_px=32)])
        assert len(series) == 3 and not left
        held[form] = sorted((find.read_volume(one) for one in series), key=lambda v: v.hu.sum())
    for form in ("nii.gz", "nii"):
        for one, other in zip(held["dicom"], held[form], strict=True):
            assert one.hu.shape == (30, 32, 32)
            np.testing.assert_array_equal(one.hu, other.hu)
            np.testing.assert_allclose(one.spacing_mm, other.spacing_mm, rtol=1e-4)


def test_row__takes_ratios_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        backbone = "net"

        def sha256(self) -> str:
            return "0" * 64

    monkeypatch.setattr(peers, "load", lambda path: Loaded())
    base = {"cores_s": 4.0, "import_s": 1.0, "memory_mib": 100.0, "version": "1"}
    runs = {
        "score, torch": [{**base, "seconds": s} for s in (2.0, 20.0, 4.0)],
        "monai": [{**base, "seconds": s} for s in (6.0, 20.0, 8.0)],
    }
    options = argparse.Namespace(weights=Path("w"), size_px=512, rounds=3, series=2)
    row = peers.row("monai", "nii", 60, runs, options)
    assert row["s_a_series"] == 4.0 and row["cores_s_a_series"] == 2.0
    assert [row[f"times_the_first_{k}"] for k in ("min", "median", "max")] == [1.0, 2.0, 3.0]
    assert row["backbone"] == "net"
    own = peers.row("bpreg", "nii", 60, {**runs, "bpreg": runs["monai"]}, options)
    assert own["backbone"] == "torchvision/vgg16, random numbers"


def test_peers__that_are_not_installed_are_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peers.installed("score, torch", "/no/such/python")
    monkeypatch.setattr(peers, "interpreter", lambda name, python: sys.executable)
    monkeypatch.setattr(peers, "PEERS", ("no_such_package",))
    assert not peers.installed("no_such_package", sys.executable)
    assert "left out: no_such_package is not installed" in capsys.readouterr().out


def test_peers__take_the_forms_that_they_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(peers.reads(name, "nii.gz") for name in pipelines.PIPELINES)
    assert [name for name in pipelines.PIPELINES if not peers.reads(name, "dicom")] == ["bpreg"]
    assert capsys.readouterr().out == "bpreg is left out of dicom, which it does not read\n"


def test_bpreg__counts_slices_and_fails_where_a_scan_was_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(folder: str, out: str, model: str, gpu_available: bool) -> None:
        assert Path(model).is_dir() and model.endswith("/") and not gpu_available
        for name in ("one", "two"):
            (Path(out) / f"{name}.json").write_text(json.dumps({"z": [0.0, 5.0]}))

    module = SimpleNamespace(bpreg_inference=infer)
    monkeypatch.setattr(pipelines, "import_module", lambda name: module)
    monkeypatch.setattr(pipelines, "_write_random_model", lambda folder: None)
    run = pipelines.bpreg()
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("one.nii.gz", "two.nii"):
        (scans / name).touch()
    assert run(Path("weights"), scans, tmp_path / "out") == 4
    (scans / "unreadable.nii.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"unreadable\.json"):
        run(Path("weights"), scans, tmp_path / "again")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "no_such"], "no_such does not exist"),
        (["--weights", "no_such", "--python", "/no/python"], "--python /no/python cannot be run"),
    ],
)
def test_parse__refuses_before_scans_are_made(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        peers.main([*words, "--work", str(tmp_path / "work")])
    assert said in capsys.readouterr().err and not (tmp_path / "work").exists()
