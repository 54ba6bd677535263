"""A series is named by its key, the beginning of it, or where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from ubr.pretrain.cli import main
from ubr.pretrain.scores.naming import find_key
from ubr.pretrain.uses.calibration import calibrate

from ...made.dicom import Made, write
from ...made.scans import grid, save_nifti
from ...made.scores import scored_by_darkness, weights
from .helpers import rows

KEYS = ("3f2a00", "3f2b11", "a001ff")


@pytest.mark.parametrize(
    ("name", "key"), [("3f2a00", "3f2a00"), ("3f2b", "3f2b11"), ("a", "a001ff")]
)
def test_key__or_its_beginning(name: str, key: str) -> None:
    assert find_key(name, KEYS) == key


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("3f2", "2 series begin with '3f2'; give more digits of the key in series.csv"),
        ("3f2a01", "no series '3f2a01' among the 3 scored ones; nearest: 3f2a00; give a key"),
        ("", "no series '' among the 3 scored ones; give a key of series.csv, its beginning, or"),
    ],
)
def test_key__that_none_or_several_have(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        find_key(name, KEYS)


def test_path__of_files_and_folders_names_the_series_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = tmp_path / "scans"
    write(scans / "dicom", Made().datasets())
    save_nifti(scans / "a.nii.gz", grid())
    save_nifti(scans / "b.nii", grid() + 3)
    weights().save(tmp_path / "run" / "weights.safetensors")
    with scored_by_darkness():
        out = str(tmp_path / "scores")
        argv = ["score", str(tmp_path / "run"), str(scans), "--out", out, "--with-paths"]
        assert main([*argv, "--workers", "0"]) == 0
    keys = {Path(row["path"]).name: row["series"] for row in rows(tmp_path / "scores/series.csv")}
    assert set(keys) == {"dicom", "a.nii.gz", "b.nii"}
    for name, key in keys.items():
        assert find_key(str(scans / name), [*keys.values()]) == key
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["level", "scores", "--series", "scans/b.nii", "--index", "3"]) == 0
    by_path = capsys.readouterr().out
    assert main(["level", "scores", "--series", keys["b.nii"][:10], "--index", "3"]) == 0
    assert capsys.readouterr().out == by_path and keys["b.nii"] not in by_path
    (tmp_path / "labels.csv").write_text(
        "series,index,landmark\n"
        f"scans/dicom,4,dome\nscans/a.nii.gz,4,dome\n{keys['dicom']},14,crest\n"
    )
    found = calibrate("scores", "labels.csv", "regions.json").regions
    assert {name: level.volumes for name, level in found.landmarks.items()} == {
        "dome": 2,
        "crest": 1,
    }


def test_path__of_a_series_that_was_not_scored(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", grid())
    with pytest.raises(ValueError, match="is not among the 3 scored ones"):
        find_key(str(tmp_path / "a.nii"), KEYS)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=r"a\.txt holds no CT series"):
        find_key(str(tmp_path / "a.txt"), KEYS)
