"""Reading the tables of a folder of scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ubr.weights.common.checksums import file_crc32, note, say_unverified

from ..data.tables import DamagedTable, read_table
from ..reading.curve import Curve
from ..reading.finding import Finding

if TYPE_CHECKING:
    import pyarrow as pa

LAST = "slices.parquet"
"""The table that is put in its place last: where it is, the scoring is finished."""
FEATURES = "features.npy"
CHECKSUMS = "crc32 of the others"
"""Key in the metadata of slices.parquet: the checksum of each other file."""


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one of the CSV tables."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); score again into a new folder"
        ) from None


def read_slices(folder: str | Path) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, Any]]:
    """The columns of slices.parquet by series, from the superior end, and the scores' settings.

    Raises `ValueError` for a folder that `score` did not write.
    """
    try:
        table = _read_last(Path(folder)).sort_by([("series", "ascending"), ("index", "ascending")])
        settings = dict(json.loads(table.schema.metadata[b"ubr"]))
        columns = {name: table[name].to_numpy() for name in table.column_names}
        keys = columns.pop("series")
        starts = (
            np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
            if len(keys)
            else np.array([], int)
        )
    except DamagedTable as error:
        raise ValueError(
            f"{folder} is damaged, or not a folder that score wrote: {LAST}: {error}; score again "
            "into a new folder"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} is not a folder that score wrote: its {LAST} cannot be read "
            f"({type(error).__name__})"
        ) from None
    ends = [*starts[1:], len(keys)]
    return {
        str(keys[a]): {name: column[a:b] for name, column in columns.items()}
        for a, b in zip(starts, ends, strict=True)
    }, settings


def _read_last(folder: Path) -> pa.Table:
    """slices.parquet, verified where it has a checksum.

    Tables that are not as `score` wrote them are noted: spreadsheets save them otherwise.
    """
    table, verified = read_table(folder / LAST)
    if not verified:
        say_unverified("the scores")
    for name in _checksums(table):
        if name != FEATURES and _crc32(folder / name) != _checksums(table)[name]:
            note(f"{name} is not as score wrote it: it was saved anew, or is damaged")
    return table


def _checksums(table: pa.Table) -> dict[str, str]:
    """The checksum of each other file; none where an earlier version wrote them."""
    return dict(json.loads((table.schema.metadata or {}).get(CHECKSUMS.encode(), b"{}")))


def _crc32(path: Path) -> str:
    """The checksum of a file; empty where there is none."""
    return file_crc32(path) if path.is_file() else ""


def read_curves(folder: str | Path) -> tuple[dict[str, Curve], str]:
    """The curves of a folder that `score` wrote, by series, and the digest of the weights that made
    them.

    Raises `ValueError` for another folder.
    """
    slices, settings = read_slices(folder)
    curves = {
        key: Curve(one["score"].astype(np.float64), one["z_mm"].astype(np.float64))
        for key, one in slices.items()
    }
    return curves, str(settings["weights_sha256"])


def read_findings(folder: Path) -> dict[str, tuple[Finding, ...]]:
    """The findings of the series that have any, by series."""
    found: dict[str, list[Finding]] = {}
    for row in read_rows(folder / "findings.csv"):
        finding = Finding(
            row["kind"],
            int(row["first"]),
            int(row["last"]),
            float(row["confidence"]),
            row["reason"],
        )
        found.setdefault(row["series"], []).append(finding)
    return {series: tuple(findings) for series, findings in found.items()}


def read_features(folder: str | Path) -> dict[str, NDArray[np.float32]]:
    """The features `[n, 512]` of a folder that `score` wrote, by series, memory-mapped.

    Raises `ValueError` where they were not asked for.
    """
    path = Path(folder) / FEATURES
    if not path.exists():
        raise ValueError(f"{folder} has no features.npy; score with `features` into a new folder")
    try:
        whole: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); score again into a new folder"
        ) from None
    slices, _ = read_slices(folder)
    expected = _checksums(_read_last(Path(folder))).get(FEATURES)
    if expected is not None and file_crc32(path) != expected:
        raise ValueError(f"{path} is damaged: its checksum is wrong; score again into a new folder")
    ends = np.cumsum([len(one["score"]) for one in slices.values()], dtype=int)
    if len(whole) != (ends[-1] if len(ends) else 0):
        raise ValueError(
            f"{path} has {len(whole)} rows, {LAST} {ends[-1] if len(ends) else 0}; score again "
            "into a new folder"
        )
    return dict(zip(slices, np.split(whole, ends[:-1]), strict=True)) if slices else {}
