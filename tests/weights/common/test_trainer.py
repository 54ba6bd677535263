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
        (4, False, Machine(), ("cuda", 4)),
        (4, False, Machine(devices=2), ("cuda", 2)),
        (4, False, Machine(device="gpu"), ("cuda", 4)),  # as earlier versions called it
        (4, False, Machine(device="cuda:2"), ("cuda:2", 1)),
        (4, False, Machine(device="cpu"), ("cpu", 1)),
        (0, True, Machine(), ("cpu", 1)),
        (0, True, Machine(device="mps"), ("mps", 1)),
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
    device, count = pick_devices(machine)
    assert (str(device), count) == expected


@pytest.mark.parametrize(
    ("gpus", "machine", "said"),
    [
        (0, Machine(device="cuda"), "device 'cuda' is not available; this machine has cpu$"),
        (2, Machine(device="mps"), "'mps' is not available; .* has cpu, cuda, cuda:0, cuda:1$"),
        (
            2,
            Machine(device="cuda:2"),
            "'cuda:2' is not available; .* has cpu, cuda, cuda:0, cuda:1$",
        ),
        (2, Machine(devices=3), "devices must be at most 2 here, got 3"),
        (2, Machine(device="cuda:1", devices=2), "devices must be at most 1 here, got 2"),
    ],
)
def test_pick_devices__refuses_what_the_machine_does_not_have(
    gpus: int, machine: Machine, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, gpus, mps=False)
    with pytest.raises(ValueError, match=said):
        pick_devices(machine)


def test_to_device__takes_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, 2, mps=True)
    net, asked = torch.nn.Linear(1, 1), []
    monkeypatch.setattr(net, "to", asked.append)
    names = {"auto": "cuda", "cuda": "cuda", "gpu": "cuda", "cuda:1": "cuda:1", "mps": "mps"}
    assert {name: str(to_device(net, name)) for name in names} == names
    assert list(map(str, asked)) == list(names.values())
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, cuda:N, mps, got"):
        to_device(net, "xpu")
