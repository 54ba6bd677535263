"""Tensors are read from files that hold nothing else, and that hold them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.made.cuts import Payload
from ubr.weights.common.tensors import check_numbers, load_safetensors, load_torch


def payloads(executed: Path) -> dict[str, Any]:
    """Values that make the folder `executed` when they are unpickled."""
    array = np.empty(1, object)
    array[0] = Payload(executed)
    return {
        "beside": {"model": {}, "more": Payload(executed)},
        "in a tensor's attributes": torch.nn.Parameter(torch.zeros(1)),
        "an array of objects": {"a": array},
        "as a key": {Payload(executed): 1},
        "in a list": [[(Payload(executed),)]],
        "a module": torch.nn.Linear(1, 1),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("case", sorted(payloads(Path())))
def test_load_torch__executes_nothing(case: str, zipped: bool, tmp_path: Path) -> None:
    values, path = payloads(tmp_path / "executed")[case], tmp_path / "last.ckpt"
    if case == "in a tensor's attributes":
        values.odd = Payload(tmp_path / "executed")
    torch.save(values, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged, or holds more than numbers"):
        load_torch(path, "remove it")
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists() or case == "a module"


def bomb(path: Path) -> None:
    """A file of torch.save with one more member, 1 GiB of zeros."""
    torch.save({"a": torch.zeros(3)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as members:
        name = members.namelist()[0].split("/")[0]
        with members.open(f"{name}/data/1", "w") as member:
            for _ in range(1024):
                member.write(bytes(1 << 20))


TEN_BILLION = 10**10
CASES: dict[str, Callable[[Path], Any]] = {
    "spread over 10^10": lambda p: torch.save({"a": torch.zeros(1).expand(TEN_BILLION)}, p),
    "nested, spread": lambda p: torch.save([{"a": (torch.zeros(1).expand(TEN_BILLION),)}], p),
    "sparse": lambda p: torch.save(torch.sparse_coo_tensor([[3]], [1.0], (TEN_BILLION,)), p),  # type: ignore[arg-type]
    "without numbers": lambda p: torch.save({"a": torch.zeros(TEN_BILLION, device="meta")}, p),
    "zip bomb": bomb,
    "a pickle": lambda p: p.write_bytes(pickle.dumps({"a": 1})[:-3]),
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("epoch 3"),
    "half": lambda p: (torch.save({"a": torch.zeros(999)}, p), p.write_bytes(p.read_bytes()[:900])),
}


@pytest.mark.parametrize("case", CASES)
def test_load_torch__refuses_what_is_no_file_of_tensors(case: str, tmp_path: Path) -> None:
    CASES[case](tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth( is damaged|: holds a tensor that is).*; mend"):
        load_torch(tmp_path / "a.pth", "mend it")


def test_load_torch__takes_views_and_shared_tensors(tmp_path: Path) -> None:
    whole = torch.arange(5000.0)
    stored = {"a": whole, "b": whole[10:20], "c": torch.zeros(1).expand(1000), "n": {"x": [whole]}}
    torch.save(stored, tmp_path / "a.pth")
    found = load_torch(tmp_path / "a.pth", "mend it")
    assert all(torch.equal(found[name], stored[name]) for name in "abc")  # type: ignore[arg-type]


def test_safetensors__of_numbers_that_no_backbone_has(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for tensor, reason in (
        (torch.zeros(3, dtype=torch.float8_e4m3fn), "tensor 'a' holds torch.float8_e4m3fn, which"),
        (torch.zeros(3, dtype=torch.complex64), "tensor 'a' holds torch.complex64, which"),
        (torch.tensor([1.0, float("inf")]), "tensor 'a' holds NaN or infinity"),
    ):
        save_file({"a": tensor}, path)
        with pytest.raises(ValueError, match=reason):
            check_numbers(path, load_safetensors(path, "mend it")[0])
    for content in (
        b"",
        b"\xff" * 100,
        (10**10).to_bytes(8, "little") + b"{}",
        path.read_bytes()[:-1],
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a readable \.safetensors file; mend it"):
            load_safetensors(path, "mend it")
