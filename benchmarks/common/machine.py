"""Where a row comes from: date, commit, configuration, seed, machine and versions."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from pathlib import Path

from ubr.weights.common.runs import commit

ROOT = Path(__file__).resolve().parents[2]


def provenance(config_sha256: str, seed: int) -> dict[str, object]:
    """The columns that every row begins with.

    The commit has a "+" if files under version control had changed.
    """
    versions = {"python": platform.python_version(), **{n: version(n) for n in ("torch", "timm")}}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit() or "",
        "config": config_sha256[:12],
        "seed": seed,
        "machine": machine_name(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def machine_name() -> str:
    """The name of the GPU, or that of the CPU and the number of cores this process may use."""
    import torch

    from ubr.weights.common.pool import cores

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {cores()} cores"


def resident_mib(pid: int) -> float:
    """Resident memory of a process and those it started, with shared pages in proportion (PSS).

    So forked workers are not counted twice. 0 where the process has ended.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    own = next((int(ln.split()[1]) for ln in text.splitlines() if ln.startswith("Pss:")), 0)
    return own / 1024 + sum(resident_mib(int(child)) for child in children)
