"""Names of released weights, and the released file itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ubr.pretrain.cli import main
from ubr.pretrain.phantom import make
from ubr.pretrain.reading.regions import Regions
from ubr.weights import Regressor, load, released, start
from ubr.weights.released import CARD, REGIONS, SCORES, WEIGHTS, beside, resolve, versions
from ubr.weights.scorer import score_slices

from ..made.networks import kept
from ..made.released import release

NETWORK = "timm/test_resnet"


def test_names__the_newest_and_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {
        name: release(kept(NETWORK, seed), tmp_path / "own", monkeypatch, name).sha256()
        for seed, name in enumerate(["released-2", "released-10"])
    }
    assert versions() == ("released-2", "released-10")
    assert load("released-2").sha256() == digests["released-2"]
    assert load("released").sha256() == digests["released-10"]
    with pytest.raises(
        ValueError, match=r"no weights called released-3 .*: released-2, released-10"
    ):
        load("released-3")


@pytest.mark.parametrize("name", ["released", "released-1"])
def test_names__a_word_is_never_what_lies_in_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = release(kept(NETWORK), tmp_path / "own", monkeypatch)
    monkeypatch.chdir(tmp_path)
    kept(NETWORK, 1).save(tmp_path / name)
    assert load(name).sha256() == ours.sha256()
    for path in (f"./{name}", Path(name), str(tmp_path / name)):
        assert load(path).sha256() == kept(NETWORK, 1).sha256()


@pytest.mark.parametrize(
    "word", ["released-0", "released-01", "released-", "Released", "released-1x", "released1", ""]
)
def test_names__other_words_are_paths(word: str) -> None:
    assert resolve(word) == Path(word) and beside(word, CARD) is None


def test_names__without_a_file_say_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(released, "FOLDER", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "released").mkdir()
    for words in (
        ["inspect", "released"],
        ["export", "released", "--out", "a.pth"],
        ["score", "released-1", "scans", "--out", "s"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "this installation has no released weights" in said and said.count("\n") == 1


def test_start__from_the_released_trunk_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = release(kept(NETWORK), tmp_path / "own", monkeypatch)
    origin = start(NETWORK, "released").origin
    assert (origin["name"], origin["sha256"]) == ("released-1", ours.sha256())


def test_inspect__shows_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = release(kept(NETWORK), tmp_path / "own", monkeypatch)
    for name in ("released", "released-1"):
        assert main(["inspect", name]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("# The card of released-1\n") and ours.sha256() in shown
    kept(NETWORK).save(tmp_path / "w.safetensors")
    assert main(["inspect", str(tmp_path / "w.safetensors")]) == 0
    assert "# The card" not in capsys.readouterr().out


def test_file__gives_its_scores_of_computed_scans() -> None:
    """Of every version in the checkout."""
    assert versions()
    for name in versions():
        path = resolve(name)
        weights = load(name)
        assert path.stat().st_size <= 15_000_000 and path.name == f"{name}{WEIGHTS}"
        assert weights.made().name == name
        Regions.load(path.with_name(f"{name}{REGIONS}")).check(weights.sha256())
        assert weights.sha256() in path.with_name(f"{name}{CARD}").read_text()
        regressor = Regressor.from_weights(weights).eval()
        with path.with_name(f"{name}{SCORES}").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for seed in {int(row["seed"]) for row in rows}:
            volume = make(seed).volume
            scores = score_slices(regressor, volume.hu, volume.spacing_mm, volume.z_mm)
            of_scan = [row for row in rows if int(row["seed"]) == seed]
            found = scores[[int(row["slice"]) for row in of_scan]]
            expected = np.array([float(row["score"]) for row in of_scan])
            assert np.abs(found - expected).max() < 0.01  # half a millimetre of the body
