"""Where in the body findings lie: what scoring says of the same slice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.made import scores as known
from tests.made.detectors import use_bright
from tests.made.dicom import Made, write
from tests.made.networks import weights_of
from ubr.downstream.cli import main
from ubr.downstream.prediction.predicting import predict
from ubr.downstream.slices import View
from ubr.pretrain.reading.regions import Level, Regions
from ubr.pretrain.scores.read import read_slices
from ubr.pretrain.scores.scoring import score
from ubr.weights import Weights
from ubr.weights.common.working import Working

from .test_predicting import QUIET, Stop, contents, rows, stopping, world


@pytest.fixture(scope="module")
def weights() -> dict[bool, Weights]:
    """Weights whose scores follow millimetres, and others."""
    made = weights_of("timm/test_resnet")
    recipe = {"recipe": {"position_weight": 1.0}}
    return {
        True: dataclasses.replace(made, provenance={**made.provenance, **recipe}),
        False: made,
    }


def regions_of(of: Weights, scores: NDArray[Any]) -> Regions:
    """Two parts whose border lies among the scores, and a scale."""
    low, middle, high = (
        Level(float(np.quantile(scores, q)), None, 1, (), ()) for q in (0.1, 0.5, 0.9)
    )
    levels = {"upper": low, "lower": high}
    return Regions(of.sha256(), ("chest", "abdomen"), (middle,), levels, ("upper", "lower"))


@pytest.mark.parametrize("follows", [True, False])
def test_findings__lie_where_scoring_says(
    follows: bool,
    weights: dict[bool, Weights],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_bright(monkeypatch, View(mm_per_px=0.8))
    world(tmp_path, 2)
    file = tmp_path / "w.safetensors"
    weights[follows].save(file)
    options = {"workers": 0, "progress": False, "device": "cpu", "runtime": "torch"}
    score(file, [tmp_path / "scans"], tmp_path / "plain", **options)
    plain, _ = read_slices(tmp_path / "plain")
    scores = np.concatenate([one["score"] for one in plain.values()])
    regions = regions_of(weights[follows], scores).save(tmp_path / "regions.json")
    score(file, [tmp_path / "scans"], tmp_path / "scores", regions=regions, **options)
    told = pq.read_table(tmp_path / "scores" / "slices.parquet").to_pylist()
    slices = {(row["series"], row["index"]): row for row in told}
    body = {"body": str(file), "regions": str(regions)}
    predict(run, [tmp_path / "scans"], tmp_path / "found", **QUIET, **body)
    found = rows(tmp_path / "found" / "findings.csv")
    assert len(found) == 4
    for row in found:
        expected = slices[row["series"], int(row["best_slice"])]
        assert float(row["slice_score"]) == pytest.approx(expected["score"], rel=1e-3)
        assert row["part"] == expected["part"]
        assert float(row["position"]) == pytest.approx(expected["position"], rel=1e-2, abs=0.1)
        assert ("position_mm" in row) == follows
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Working, "add", stopping(Working.add, 1))
        predict(run, [tmp_path / "scans"], tmp_path / "cut", **QUIET, **body)
    predict(run, [tmp_path / "scans"], tmp_path / "cut", **QUIET, **body)
    assert contents(tmp_path / "cut") == contents(tmp_path / "found")


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (("dome", None), range(5, 20)),
        (("dome", "crest"), range(5, 15)),
        (("abdomen", "abdomen"), range(5, 15)),
        ((None, "crest"), range(15)),
        (("crest", "hell"), range(15, 20)),
        (("hell", None), range(0)),
        ((None, "sky"), range(0)),
    ],
)
def test_from_and_to__bound_what_is_looked_at(
    ends: tuple[str | None, str | None],
    shown: range,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_bright(monkeypatch, View(mm_per_px=4.0))
    write(tmp_path / "series", Made().datasets())
    of = known.weights()
    of.save(tmp_path / "w.safetensors")
    regions = known.regions(of).save(tmp_path / "regions.json")
    body = {"body": str(tmp_path / "w.safetensors"), "regions": str(regions)}
    with known.scored_by_darkness():
        predict(
            run,
            [tmp_path / "series"],
            tmp_path / "found",
            start=ends[0],
            end=ends[1],
            coco=True,
            **body,
            **QUIET,
        )
    read = json.loads((tmp_path / "found" / "boxes.json").read_text())
    assert [image["index"] for image in read["images"]] == list(shown)
    (row,) = rows(tmp_path / "found" / "series.csv")
    assert int(row["looked_at"]) == len(shown)


def test_body__refuses(
    weights: dict[bool, Weights], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world(tmp_path, 1)
    file = tmp_path / "w.safetensors"
    weights[False].save(file)
    levels = np.arange(9.0)
    other = regions_of(weights_of("timm/test_resnet", 1), levels).save(tmp_path / "other.json")
    by_position = dataclasses.replace(regions_of(weights[False], levels), axis="position")
    argv = ["predict", str(run), str(tmp_path / "scans"), "--out", str(tmp_path / "out")]
    for words, reason in (
        (
            ["--regions", str(other)],
            "other.json needs weights that locate slices in the body; give",
        ),
        (["--body", str(file), "--regions", str(other)], "the regions were made with weights"),
        (["--body", str(tmp_path / "none")], "does not exist"),
        (
            ["--from", "chest"],
            "chest needs weights that locate slices in the body; give them as --body",
        ),
        (["--body", str(file), "--from", "chest"], "'chest' is not a score; give --regions"),
        (["--body", str(file), "--from", "3", "--to", "2"], "3 (score 3) must lie above 2"),
        (
            ["--body", str(file), "--regions", str(by_position.save(tmp_path / "p.json"))],
            "the regions read positions, and these weights were trained without",
        ),
    ):
        assert main([*argv, *words]) == 2
        assert reason in capsys.readouterr().err and not (tmp_path / "out").exists()
