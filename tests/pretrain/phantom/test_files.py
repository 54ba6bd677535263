"""Many phantoms in one folder: the truth, being stopped, several processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ubr.pretrain.phantom import files, make
from ubr.pretrain.phantom.files import phantoms


def test_a_run_writes_the_truth_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = phantoms(out, n=3, seed=40, form="nifti", size_px=32, ascites=1, workers=1)
    assert (made.written, made.already) == (3, 0) and str(made).startswith("3 phantoms, ")
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == made.slices
    for seed in (40, 41, 42):
        expected = make(seed, ascites=seed == 40, size_px=32)
        name = f"PHANTOM-{seed:06d}.nii.gz"
        mine = [r for r in rows if r["file"] == name]
        assert [r["region"] for r in mine] == expected.region.tolist()
        assert [int(r["slice"]) for r in mine] == list(range(len(expected.volume.hu)))
        np.testing.assert_allclose(
            [float(r["z_mm"]) for r in mine], expected.volume.z_mm, atol=1e-3
        )
        np.testing.assert_allclose([float(r["body_mm"]) for r in mine], expected.body_mm, atol=1e-2)
        data = np.asanyarray(nib.load(out / name).dataobj)
        np.testing.assert_array_equal(data[::-1, ::-1, ::-1].transpose(2, 1, 0), expected.volume.hu)
        with (out / "landmarks.csv").open(newline="") as file:
            marks = {
                r["landmark"]: float(r["slice"]) for r in csv.DictReader(file) if r["file"] == name
            }
        assert marks == pytest.approx(expected.landmarks, abs=1e-3)
    # Stopped: one is missing, one is half-written.
    lost, kept = out / "PHANTOM-000041.nii.gz", out / "PHANTOM-000042.nii.gz"
    whole, untouched = nib.load(lost).get_fdata(), kept.stat().st_mtime_ns
    lost.rename(out / ".part-PHANTOM-000041.nii.gz")
    (out / ".part-PHANTOM-000041.nii.gz").write_bytes(b"half")
    again = phantoms(out, n=3, seed=40, form="nifti", size_px=32, ascites=1, workers=1)
    assert (again.written, again.already) == (1, 2) and kept.stat().st_mtime_ns == untouched
    np.testing.assert_array_equal(nib.load(lost).get_fdata(), whole)
    assert not list(out.glob("*.part*"))
    with pytest.raises(ValueError, match=r"other options \(size_px was 32, now 48\)"):
        phantoms(out, n=3, seed=40, form="nifti", size_px=48, ascites=1, workers=1)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no phantoms"):
        phantoms(tmp_path, n=1)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 2, "ascites": 3}, {"n": 1, "workers": 0}])
def test_run_options_out_of_range(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be at least 1 and ascites lie in"):
        phantoms(tmp_path / "new", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_processes_write_the_same(tmp_path: Path) -> None:
    one, two = (
        phantoms(tmp_path / str(w), n=2, seed=50, form="dicom", size_px=32, workers=w).folder
        for w in (1, 2)
    )
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert (
        files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
        and len(files) > 100
    )
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)


@pytest.mark.parametrize(
    "leftover", [".part-.phantoms.json", "..phantoms.json.0123abcd-5.x.part/.phantoms.json"]
)
def test_a_run_cut_while_it_claimed_its_folder_resumes(tmp_path: Path, leftover: str) -> None:
    out = tmp_path / "run"
    (out / leftover).parent.mkdir(parents=True)
    (out / leftover).write_text('{"n": 1')
    made = phantoms(out, n=1, seed=40, form="nifti", size_px=32, workers=1)
    assert made.written == 1
    assert json.loads((out / ".phantoms.json").read_text())["n"] == 1
    assert not (out / ".part-.phantoms.json").exists()


def test_a_process_that_dies_each_time_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(task: object, cases: list[object], workers: int, name: str, unit: str) -> object:
        yield from ((case, None) for case in cases)

    monkeypatch.setattr(files, "each", dying)
    with pytest.raises(RuntimeError, match=r"drew phantom 40 died each time.*use fewer workers"):
        phantoms(tmp_path / "run", n=2, seed=40, form="nifti", size_px=32)


def test_rows_of_the_table_keep_their_order(tmp_path: Path) -> None:
    phantoms(tmp_path / "run", n=3, seed=40, form="png", size_px=32, workers=1)
    with (tmp_path / "run" / "DL_info.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Patient_index"] for row in rows] == ["900040", "900041", "900042"]
