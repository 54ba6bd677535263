"""Reading the tables of a folder of scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.common import doors
from ...weights.common.checksums import file_crc32
from ...weights.released import check_there
from ..data.tables import DamagedTable
from ..reading.context import Axis, on_axis
from ..reading.curve import Curve
from ..reading.finding import Finding, kinds_of
from .slices import (
    AGAIN,
    FEATURES,
    LAST,
    PLAIN,
    checksums_of,
    is_plain,
    read_columns,
    read_last,
    table_name,
)

COLUMNS: Mapping[str, Mapping[str, doors.Cell]] = {
    "series.csv": {
        **{"series": str, "slices": int, "pearson_r": float, "score_per_mm": float},
        **{"paper_rule": str, "findings": str, "warnings": str},
    },
    "findings.csv": {
        **{"series": str, "kind": str, "first": int, "last": int},
        **{"confidence": float, "reason": str},
    },
    "landmarks.csv": {
        **{"series": str, "landmark": str, "outside": str},
        **dict.fromkeys(("z_mm", "low_mm", "high_mm"), doors.number_or_none),
    },
    "left_out.csv": {"series": str, "reason": str},
}
"""What is read of the CSV tables."""
OVERVIEWS = "overviews.parquet"
"""Small coronal pictures of the series, where they were asked for."""


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one of the CSV tables.

    Raises:
        ValueError: it is damaged, or was saved by a spreadsheet in another form.
    """
    for _, row in doors.read_rows(path, COLUMNS[path.name], AGAIN):
        yield row


def read_slices(folder: str | Path) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, Any]]:
    """The columns of the table of slices by series, from the superior end, and the settings.

    Raises `ValueError` for a folder that `score` did not write.
    """
    check_there(Path(folder))
    last = table_name(is_plain(Path(folder)))
    try:
        keys, columns, settings = read_columns(Path(folder))
        starts = (
            np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
            if len(keys)
            else np.array([], int)
        )
    except DamagedTable as error:
        raise ValueError(
            f"{folder} is not a folder that score wrote, or its {last} is damaged ({error}); score "
            "again into a new folder"
        ) from None
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a folder that score wrote: it has no {last}") from None
    except Exception as error:  # of a damaged file pyarrow raises anything
        if last == PLAIN and isinstance(error, ValueError):
            raise
        raise ValueError(
            f"{folder} is not a folder that score wrote: its {last} cannot be read "
            f"({type(error).__name__})"
        ) from None
    doors.check(settings, dict[str, Any], f"{folder}: the settings in {last}", AGAIN)
    _check_slices(f"{folder}: {last}", columns, keys)
    ends = [*starts[1:], len(keys)]
    return {
        str(keys[a]): {name: column[a:b] for name, column in columns.items()}
        for a, b in zip(starts, ends, strict=True)
    }, settings


def _check_slices(where: str, columns: Mapping[str, NDArray[Any]], keys: NDArray[Any]) -> None:
    """Each row needs a series, its place in it, a position and a score."""
    kinds = {"index": "iu", "z_mm": "f", "score": "f"}
    numbers = {"z_mm": "position", "score": "score"}
    if "position_mm" in columns:  # only of weights whose scores follow millimetres
        kinds, numbers = kinds | {"position_mm": "f"}, numbers | {"position_mm": "position"}
    wrong = [
        name
        for name, kind in kinds.items()
        if name not in columns or columns[name].dtype.kind not in kind
    ]
    if wrong or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{where}: column {(wrong or ['series'])[0]} is damaged; {AGAIN}")
    for name, what in numbers.items():
        if not np.isfinite(columns[name]).all():
            raise ValueError(f"{where}: a {what} is not a number; {AGAIN}")


def read_curves(folder: str | Path, axis: Axis = "score") -> tuple[dict[str, Curve], str]:
    """The curves of a folder that `score` wrote, by series, and the digest of the weights that made
    them.

    axis: the numbers of the curves, scores or positions.

    Raises `ValueError` for another folder, and for positions where it has none.
    """
    slices, settings = read_slices(folder)
    curves = {
        key: Curve(
            on_axis(axis, one["score"], one.get("position_mm")).astype(np.float64),
            one["z_mm"].astype(np.float64),
        )
        for key, one in slices.items()
    }
    return curves, weights_of(folder, settings)


def usual_axis(folder: str | Path) -> Axis:
    """The axis where none is asked for: positions where the scores of a folder have them.

    Raises `ValueError` for a folder that `score` did not write.
    """
    slices, _ = read_slices(folder)
    return "position" if any("position_mm" in one for one in slices.values()) else "score"


def read_summaries(
    folder: Path, slices: Mapping[str, Mapping[str, NDArray[Any]]]
) -> dict[str, dict[str, str]]:
    """The rows of series.csv by series. slices: of `read_slices`.

    Raises `ValueError` where the two do not belong together.
    """
    rows = {row["series"]: row for row in read_rows(folder / "series.csv")}
    if rows.keys() != slices.keys():
        last = table_name(is_plain(folder))
        raise ValueError(f"{folder}: series.csv and {last} hold different series; score again")
    return rows


def weights_of(folder: str | Path, settings: Mapping[str, Any]) -> str:
    """The digest of the weights that made the scores. settings: of `read_slices`.

    Raises `ValueError` where they lack it.
    """
    where = f"{folder}: the settings of {table_name(is_plain(Path(folder)))}"
    doors.check(settings.get("weights_sha256"), str, f"{where}: weights_sha256", AGAIN)
    return str(settings["weights_sha256"])


def read_findings(
    folder: Path,
    slices: Mapping[str, Mapping[str, NDArray[Any]]],
    summaries: Mapping[str, Mapping[str, str]],
) -> dict[str, tuple[Finding, ...]]:
    """The findings of the series that have any, by series.

    slices: of `read_slices`. summaries: of `read_summaries`.

    Raises `ValueError` where a finding is of no series that was scored, or of none of its slices,
    or where series.csv names other kinds.
    """
    found: dict[str, list[Finding]] = {}
    for row in read_rows(folder / "findings.csv"):
        series, first, last = row["series"], int(row["first"]), int(row["last"])
        if series not in slices or not 0 <= first <= last < len(slices[series]["score"]):
            raise ValueError(
                f"{folder}: findings.csv has slices {first} to {last} of series {series[:16]!r}, "
                f"which {table_name(is_plain(folder))} lacks; {AGAIN}"
            )
        finding = Finding(
            row["kind"],
            first,
            last,
            float(row["confidence"]),
            row["reason"],
        )
        found.setdefault(series, []).append(finding)
    for series, summary in summaries.items():
        if summary["findings"] != kinds_of(found.get(series, ())):
            raise ValueError(
                f"{folder}: series.csv and findings.csv name different findings of series "
                f"{series[:16]!r}; {AGAIN}"
            )
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
        if whole.ndim != 2 or whole.dtype != np.float32:
            raise ValueError("another array")
    except Exception as error:  # NumPy's header is Python; of a damaged one it raises anything
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); score again into a new folder"
        ) from None
    slices, _ = read_slices(folder)
    expected = checksums_of(read_last(Path(folder))).get(FEATURES)
    if expected is not None and file_crc32(path) != expected:
        raise ValueError(f"{path} is damaged: its checksum is wrong; score again into a new folder")
    ends = np.cumsum([len(one["score"]) for one in slices.values()], dtype=int)
    if len(whole) != (ends[-1] if len(ends) else 0):
        raise ValueError(
            f"{path} has {len(whole)} rows, {LAST} {ends[-1] if len(ends) else 0}; score again "
            "into a new folder"
        )
    return dict(zip(slices, np.split(whole, ends[:-1]), strict=True)) if slices else {}
