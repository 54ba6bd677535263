"""Right after the installation: score, report, crop and annotate by released weights alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ubr.pretrain.cli import main
from ubr.pretrain.uses.cropping import crop

from ...made.dicom import Made, write
from ...made.released import release
from ...made.scores import regions, scored_by_darkness, weights

WEIGHTS = weights()


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package has released weights, and so has nobody else."""
    release(WEIGHTS, tmp_path / "own", monkeypatch, regions=regions(WEIGHTS))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scan", Made().datasets())
    with scored_by_darkness():
        yield


def test_score__has_parts_and_landmarks_without_regions_being_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", "s", "--workers", "0", "--device", "cpu"]
    assert main(["score", "released", "scan", *words]) == 0
    assert "\nthe regions are those of released-1; give --regions for others\n" in (
        capsys.readouterr().out
    )
    settings = json.loads((tmp_path / "s" / "settings.json").read_text())
    assert settings["weights"] == "released-1"
    assert settings["weights_sha256"] == WEIGHTS.sha256()
    with (tmp_path / "s" / "landmarks.csv").open(newline="") as file:
        found = {row["landmark"]: row["index"] for row in csv.DictReader(file)}
    assert (found["dome"], found["crest"]) == ("5", "15")
    assert main(["report", "s", "--out", "page.html"]) == 0
    assert "chest" in Path("page.html").read_text()
    write(tmp_path / "both" / "other", Made(series="1.2.3.4").datasets())
    write(tmp_path / "both" / "scan", Made().datasets())
    assert main(["score", "released", "both", "--out", "b", *words[2:]]) == 0
    with (tmp_path / "b" / "series.csv").open(newline="") as file:
        key = next(csv.DictReader(file))["series"]
    capsys.readouterr()
    level = ["level", "b", "--series", key, "--index", "8"]
    assert main(level) == 0
    by_own = capsys.readouterr().out
    assert main([*level, "--regions", "own/released-1.regions.json"]) == 0
    assert capsys.readouterr().out == by_own
    WEIGHTS.save("w.safetensors")
    assert main(["score", "w.safetensors", "scan", *words[:1], "t", *words[2:]]) == 0
    said = capsys.readouterr().out
    assert "no body parts and landmarks: give --regions that calibrate wrote\n" in said
    assert not Path("t/landmarks.csv").exists()
    assert json.loads(Path("t/settings.json").read_text())["weights"] is None


def test_crop__between_landmarks_of_the_released_regions() -> None:
    words = ["--from", "dome", "--to", "crest", "--out", "part.nii.gz"]
    assert main(["crop", "scan", *words]) == 0
    given = crop("scan", WEIGHTS, regions(WEIGHTS), "given.nii.gz", start="dome", end="crest")
    assert Path("part.nii.gz").stat().st_size == given.path.stat().st_size


def test_annotate__needs_no_regions_with_released_weights_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("highdicom")
    assert main(["annotate", "scan", "--weights", "released", "--out", "a"]) == 0
    assert "landmarks dome, crest" in capsys.readouterr().out
    WEIGHTS.save("w.safetensors")
    assert main(["annotate", "scan", "--weights", "w.safetensors", "--out", "b"]) == 2
    assert "a report needs --regions" in capsys.readouterr().err
