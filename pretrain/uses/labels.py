"""Labels of slices from a CSV file.

labels.csv has the columns `series` (the key in series.csv, its beginning, or the path of the scan),
`index` (a slice from the superior end,
from 0, or several as `12-57`), and `part`, `landmark` or both:

    series,index,part,landmark
    3f2a...,0-51,chest,
    3f2a...,52-106,abdomen,
    3f2a...,52,,liver_dome

Slices without a row are not used. A landmark has one slice per series.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from ..reading.curve import Curve
from ..reading.labelled import Labelled
from ..reading.parts import check_name
from ..scores.naming import find_key


def read_labels(path: str | Path, curves: Mapping[str, Curve]) -> list[Labelled]:
    """The labelled volumes of labels.csv.

    Raises `ValueError`, with the line, for a label that the curves lack or that contradicts
    another.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = {name.strip() for name in table.fieldnames or ()}
            rows = [
                (
                    table.line_num,
                    {
                        (k or "").strip(): (v or "").strip()
                        for k, v in row.items()
                        if isinstance(v, str)
                    },
                )
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); give a CSV file with the columns "
            "series, index, part"
        ) from None
    if not {"series", "index"} <= columns or not {"part", "landmark"} & columns:
        raise ValueError(
            f"{path} has the columns {sorted(columns)}; it needs series, index, and part, "
            "landmark or both"
        )
    if not rows:
        raise ValueError(f"{path} has no label; give one row per labelled slice or range of slices")
    found: dict[str, Labelled] = {}
    keys: dict[str, str] = {}  # a scan is looked for once, not once per row
    for line, row in rows:
        try:
            if (name := row.get("series", "")) not in keys:
                keys[name] = find_key(name, curves)
            _add(found, curves, keys[name], row)
        except ValueError as error:
            raise ValueError(f"{path} line {line}: {error}") from None
    return list(found.values())


def _add(
    found: dict[str, Labelled], curves: Mapping[str, Curve], key: str, row: Mapping[str, str]
) -> None:
    """Add the labels of one row to its volume."""
    part, name = row.get("part", ""), row.get("landmark", "")
    for called in filter(None, (part, name)):
        check_name(called)
    slices = len(curves[key].scores)
    if slices < 3:
        raise ValueError(f"series {key} has {slices} slices; a labelled one needs at least 3")
    span = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", row.get("index", ""))
    if span is None:
        raise ValueError(
            f"index must be a slice or a range such as 12-57, got {row.get('index', '')!r}"
        )
    first, last = int(span[1]), int(span[2] or span[1])
    if not first <= last < slices:
        raise ValueError(f"series {key} has slices 0 to {slices - 1}, got index {row['index']}")
    if not part and not name:
        raise ValueError("neither a part nor a landmark; name one, or remove the line")
    volume = found.setdefault(key, Labelled(key, curves[key]))
    if name:
        if first != last:
            raise ValueError(f"the landmark {name} needs one slice, got {row['index']}")
        if name in volume.landmarks:
            raise ValueError(
                f"series {key} has {name} twice, at slices {volume.landmarks[name]} and {first}; "
                "keep one"
            )
        volume.landmarks[name] = first
    for index in range(first, last + 1) if part else ():
        if volume.parts.setdefault(index, part) != part:
            raise ValueError(
                f"slice {index} of series {key} is labelled {volume.parts[index]} and {part}; "
                "keep one"
            )
