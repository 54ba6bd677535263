"""Runtimes: which one is taken, when one is refused, and that all of them give torch's scores."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from tests.made.networks import weights_of
from ubr.weights import Regressor, runtimes
from ubr.weights.common.execution import Runtime
from ubr.weights.network import Chosen, cpu_streams, score_series
from ubr.weights.runtimes import chosen_runtime, network_of, torch_threads

CPU = torch.device("cpu")


def regressor_of(name: str = "timm/test_resnet") -> Regressor:
    return Regressor.from_weights(weights_of(name)).eval().requires_grad_(False)


def test_auto__is_the_fastest_installed_where_the_slices_repay_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"openvino", "onnx", "onnxruntime", "onnxscript"}
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name in installed)
    found = [chosen_runtime("auto", CPU, slices) for slices in (0, 5_999, 6_000, 1_000_000)]
    assert found == ["torch", "torch", "openvino", "openvino"]
    assert chosen_runtime("auto", torch.device("cuda"), 1_000_000) == "torch"
    installed.remove("openvino")
    assert [chosen_runtime("auto", CPU, n) for n in (9_999, 10_000)] == ["torch", "onnx"]
    installed.remove("onnxscript")  # torch's exporter is written in it
    assert chosen_runtime("auto", CPU, 1_000_000) == "torch"


@pytest.mark.parametrize(
    ("choice", "device", "reason"),
    [
        ("openvino", "cuda", "runtime 'openvino' runs on a CPU, and device is cuda; use"),
        ("onnx", "cuda:1", "runtime 'onnx' runs on a CPU, and device is cuda:1; use"),
        ("openvino", "cpu", r"runtime 'openvino' needs openvino: pip install .*\[fast\]"),
        ("onnx", "cpu", r"runtime 'onnx' needs onnxruntime: pip install .*\[onnx\]"),
    ],
)
def test_chosen__that_cannot_be_used_is_refused(
    choice: Runtime, device: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    for module in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=reason):
        chosen_runtime(choice, torch.device(device), 1)


@pytest.mark.parametrize("off", [2e-4, float("nan")])
def test_network__that_gives_other_scores_is_refused(
    off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    regressor = regressor_of()

    def wrong(*_: Any) -> Any:
        infer = network_of(regressor, "torch").infer
        return lambda grid: (infer(grid)[0] + np.where(np.arange(16) == 7, off, 0), None)

    monkeypatch.setattr(runtimes, "_with_onnx", wrong)
    with pytest.raises(ValueError, match=r"'onnx' differ from torch's by .* \(allowed: 0.0001\)"):
        network_of(regressor, "onnx")


def test_network__that_a_runtime_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> Any:
        raise RuntimeError("no such layer in /a/path\nand more")

    monkeypatch.setattr(runtimes, "_with_openvino", unknown)
    said = r"^runtime 'openvino' cannot run timm/test_resnet \(RuntimeError\); use 'torch'$"
    with pytest.raises(ValueError, match=said):
        network_of(regressor_of(), "openvino")


@pytest.mark.parametrize("runtime", ["openvino", pytest.param("onnx", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("neighbours", [None, 7.0])
def test_runtimes__give_torchs_scores_and_features(
    runtime: Chosen, neighbours: float | None
) -> None:
    for module in runtimes.NEEDS[runtime]:
        pytest.importorskip(module)
    weights = weights_of("timm/test_efficientnet")
    object.__setattr__(weights.inputs, "neighbours_mm", neighbours)
    regressor = Regressor.from_weights(weights).eval().requires_grad_(False)
    shape = (70, 64, 64) if neighbours is None else (70, 3, 64, 64)
    grid = torch.randint(-1000, 1000, shape, dtype=torch.int16)
    with torch.inference_mode():
        pooled = regressor.pool6(grid)
        expected = regressor.head.score(pooled).numpy()
    network = network_of(regressor, runtime, features=True)
    found = dict_of(score_series(network, [("a", grid[:51].numpy()), ("b", grid[51:].numpy())]))
    scores = np.concatenate([found["a"][0], found["b"][0]])
    features = np.concatenate([found["a"][1], found["b"][1]])
    assert np.abs(scores - expected).max() <= 1e-4
    assert np.abs(features - pooled.numpy()).max() <= 1e-4 * max(1, float(pooled.max()))
    alone = dict_of(score_series(network, [("b", grid[51:].numpy())]))
    assert alone["b"][0].tobytes() == found["b"][0].tobytes()


def dict_of(scored: Any) -> dict[str, tuple[Any, Any]]:
    return {key: (scores, features) for key, scores, features in scored}


def test_threads__of_torch_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with torch_threads(3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("threads", "streams"), [(1, (1, 1)), (2, (2, 1)), (8, (8, 1)), (64, (8, 8))]
)
def test_streams__use_all_threads_of_torch(
    threads: int, streams: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert cpu_streams(threads) == streams
    assert network_of(regressor_of(), "torch").streams == streams[0]


def test_openvino__sends_no_statistics_of_use() -> None:
    """In a process of its own: other tests may have imported OpenVINO already."""
    if find_spec("openvino") is None:
        pytest.skip("could not import 'openvino'")
    code = (
        "import sys; from tests.weights.test_runtimes import network_of, regressor_of\n"
        "network_of(regressor_of(), 'openvino')\n"
        "from openvino.tools.ovc import telemetry_stub, telemetry_utils\n"
        "print(sys.modules['openvino_telemetry'], telemetry_utils.tm is telemetry_stub)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "None True"
