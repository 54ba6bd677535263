"""Result rows: appended to results/*.csv, each with what is needed to make it again."""

from __future__ import annotations

import csv
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


def provenance(config_sha256: str, seed: int) -> dict[str, object]:
    """Where a row comes from:

    date, commit ("+" where the tree had changes), configuration, seed, machine, versions.
    """
    commit = _git("rev-parse", "--short=10", "HEAD") + (
        "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "config": config_sha256[:12],
        "seed": seed,
        "machine": machine(),
        "versions": f"python {platform.python_version()}, torch {version('torch')}, timm "
        f"{version('timm')}",
    }


def machine() -> str:
    """The GPU's name, or the CPU's and the number of cores this process may use."""
    import torch

    from ubr.weights.common.pool import cores

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {cores()} cores"


def append(name: str, rows: Sequence[Mapping[str, object]]) -> Path:
    """Append rows to results/NAME.csv. Raises `ValueError` where the file's columns are others."""
    path = RESULTS / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    columns = list(rows[0])
    if path.exists():
        with path.open(newline="") as file:
            found = next(csv.reader(file))
        if found != columns:
            raise ValueError(
                f"{path} has the columns {found}, the rows have {columns}; move the old file away"
            )
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(rows)
    return path


def read(name: str) -> list[dict[str, str]]:
    """The rows of results/NAME.csv; none where there is no such file."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def recorded(name: str, row: Mapping[str, object], same: Sequence[str]) -> bool:
    """Whether results/NAME.csv has a row with these values in the columns `same`; if so, it is
    said.
    """
    has = any(all(found[column] == str(row[column]) for column in same) for found in read(name))
    if has:
        print(
            f"skipped, {name}.csv has it: "
            f"{', '.join(f'{column} {row[column]}' for column in same)}",
            flush=True,
        )
    return has


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
