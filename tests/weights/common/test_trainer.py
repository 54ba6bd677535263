"""Which devices a training gets, and what a machine does not have."""

from __future__ import annotations

import pytest
import torch

from ubr.weights import Machine
from ubr.weights.common.devices import to_device
from ubr.weights.common.trainer import pick_devices


def has(patch: pytest.MonkeyPatch, gpus: int, mps: bool) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    patch.setattr(torch.cuda, "device_count", lambda: gpus)
    patch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "machine", "expected"),
    [
        (0, False, Machine(), ("cpu", 1)),
        (0, False, Machine(devices=3), ("cpu", 3)),
        (4, False, Machine(), ("gpu", 4)),
        (4, False, Machine(devices=2), ("gpu", 2)),
        (4, False, Machine(accelerator="cpu"), ("cpu", 1)),
        (0, True, Machine(), ("mps", 1)),
    ],
)
def test_pick_devices__auto_and_as_asked(
    gpus: int,
    mps: bool,
    machine: Machine,
    expected: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has(monkeypatch, gpus, mps)
    assert pick_devices(machine) == expected


@pytest.mark.parametrize(
    ("gpus", "machine", "said"),
    [
        (0, Machine(accelerator="gpu"), "accelerator 'gpu' needs a CUDA or ROCm GPU, .* 'auto' or"),
        (2, Machine(accelerator="mps"), "accelerator 'mps' needs the GPU of an Apple machine, and"),
        (2, Machine(devices=3), "devices must be at most 2 here, got 3"),
        (1, Machine(accelerator="gpu", devices=8), "devices must be at most 1 here, got 8"),
    ],
)
def test_pick_devices__refuses_what_the_machine_does_not_have(
    gpus: int, machine: Machine, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, gpus, mps=False)
    with pytest.raises(ValueError, match=said):
        pick_devices(machine)


def test_to_device__gpu_is_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    net, asked = torch.nn.Linear(1, 1), []
    monkeypatch.setattr(net, "to", asked.append)
    assert [to_device(net, name).type for name in ("gpu", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    assert asked == [torch.device("cuda"), torch.device("cuda"), torch.device("cpu")]
