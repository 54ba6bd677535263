"""An exported ONNX scores by its contract, and is refused without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ubr.weights import Regressor, export
from ubr.weights.common.execution import Runtime
from ubr.weights.exported import Exported
from ubr.weights.network import score_series
from ubr.weights.scorable import opened
from ubr.weights.sessions import trial

from ..made.exported import SHA256, about_of, onnx_file
from ..made.flips import flipped
from ..made.networks import weights_of
from ..made.scores import INPUTS, darkness

NEIGHBOURS = replace(INPUTS, neighbours_mm=5.0)


def no_more() -> int:
    raise AssertionError("nothing needs to be counted")


def scores_of(exported: Exported, grid: Any, runtime: Runtime = "onnx") -> Any:
    network, notes = exported.prepared("auto", runtime, features=False)(no_more)
    assert (network.runtime, notes) == (runtime, ())
    return next(score_series(network, [("a", grid)]))[1]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_exported__scores_slices_by_any_runtime(runtime: Runtime, tmp_path: Path) -> None:
    pytest.importorskip(f"{runtime}runtime" if runtime == "onnx" else runtime)
    exported = opened(onnx_file(tmp_path / "w.onnx"))
    assert isinstance(exported, Exported) and exported.inputs == INPUTS
    assert exported.sha256() == SHA256 and not exported.made().follows_mm
    grid = np.random.default_rng(0).integers(-1000, 1000, (37, 32, 32)).astype(np.int16)
    np.testing.assert_allclose(scores_of(exported, grid, runtime), darkness(None, grid), atol=1e-4)


def test_exported__of_an_earlier_version_has_neither_provenance_nor_scores(tmp_path: Path) -> None:
    about = about_of()
    del about["provenance"], about["scores"]
    exported = Exported.load(onnx_file(tmp_path / "w.onnx", about))
    grid = np.full((3, 32, 32), 50, np.int16)
    np.testing.assert_allclose(scores_of(exported, grid), [-5] * 3, atol=1e-4)


@pytest.mark.parametrize(
    ("about", "side", "reason"),
    [
        (None, 32, "this ONNX model has no input contract"),
        ({}, 32, "the metadata: backbone is missing"),
        ([], 32, "the metadata: it must"),
        (about_of(inputs={}), 32, "an input contract has the fields"),
        (about_of(weights_sha256=5), 32, "weights_sha256 must be"),
        (about_of(scores=["a"]), 32, "scores"),
        (about_of(scores=[]), 32, "scores"),
        (about_of(), 64, r"its contract says hu, slices of \[32, 32\]"),
        (
            about_of(inputs=NEIGHBOURS.to_dict(), scores=None),
            32,
            r"of \[3, 32, 32\]",
        ),
    ],
)
def test_exported__without_its_contract_is_refused(
    about: object, side: int, reason: str, tmp_path: Path
) -> None:
    path = onnx_file(tmp_path / "w.onnx", about, side)
    with pytest.raises(ValueError, match=reason) as raised:
        Exported.load(path)
    assert "\n" not in str(raised.value) and "w.onnx" in str(raised.value)


def test_exported__that_is_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for content in (b"", b"no model", b"\x08\x09" * 50):
        (tmp_path / "w.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="not a readable ONNX model") as raised:
            Exported.load(tmp_path / "w.onnx")
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="does not exist"):
        Exported.load(tmp_path / "none.onnx")


@pytest.mark.parametrize("place", ["beside.bin", "/beside.bin", "../{}/beside.bin"])
def test_exported__that_names_another_file_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Path(place.format(tmp_path.name))
    if elsewhere.is_absolute():
        elsewhere = tmp_path / elsewhere.name
    path = onnx_file(tmp_path / "w.onnx", elsewhere=elsewhere)
    assert (tmp_path / "beside.bin").exists()
    with pytest.raises(ValueError, match="not a readable ONNX model"):
        Exported.load(path)


def test_exported__a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "w.onnx")
    read = 0
    for content in flipped(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            Exported.load(path)
            read += 1
        except ValueError as error:
            assert "\n" not in str(error) and "w.onnx" in str(error)
    assert read == 0


def test_exported__that_gives_other_scores_than_torch_did_is_refused(tmp_path: Path) -> None:
    about = about_of()
    about["scores"][7] += 0.05
    exported = Exported.load(onnx_file(tmp_path / "w.onnx", about))
    with pytest.raises(ValueError, match="differ from those of the export by"):
        scores_of(exported, np.zeros((1, 32, 32), np.int16))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "cuda"}, "device 'cuda': an ONNX export runs only on the CPU"),
        ({"choice": "torch"}, "runtime 'torch' needs the weights themselves"),
        ({"features": True}, "gives scores but no features"),
    ],
)
def test_exported__is_not_asked_for_what_it_lacks(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    exported = Exported.load(onnx_file(tmp_path / "w.onnx"))
    with pytest.raises(ValueError, match=reason):
        exported.prepared(**{"device": "auto", "choice": "auto", "features": False, **options})


@pytest.mark.heavy
@pytest.mark.parametrize("neighbours", [None, 5.0])
def test_exported__gives_the_scores_of_the_weights(
    neighbours: float | None, tmp_path: Path
) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module)
    made = weights_of("timm/test_resnet")
    provenance = {"name": "mine", "recipe": {"position_weight": 1.0}}
    inputs = replace(made.inputs, neighbours_mm=neighbours)
    weights = replace(made, inputs=inputs, provenance=provenance, reference=None)
    export(weights, tmp_path / "w.onnx", to="onnx")
    exported = Exported.load(tmp_path / "w.onnx")
    assert exported.sha256() == weights.sha256() and exported.inputs == inputs
    assert exported.made().follows_mm and exported.made().name == "mine"
    grid = np.concatenate([trial(inputs), trial(inputs)[::-1] + np.int16(30)])
    with torch.no_grad():
        expected = Regressor.from_weights(weights).eval().score(torch.from_numpy(grid)).numpy()
    np.testing.assert_allclose(scores_of(exported, grid), expected, atol=1e-4)
