"""Which series of a folder of scores a user means: by its key, the beginning of one, or a path."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path

from ..data.find import find_one
from ..data.scans import unread_scan


def find_key(name: str, keys: Collection[str]) -> str:
    """The key of the series that a user means.

    Args:
        name: a key, a beginning that only one key has, or the file or folder of the series.
        keys: of the series that were scored.

    Raises:
        ValueError: no series is meant, or several; a path whose series was not scored.
    """
    if name in keys:
        return name
    meant = [key for key in keys if name and key.startswith(name)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ValueError(
            f"{len(meant)} series begin with {name!r}; give more digits of the key in series.csv"
        )
    if name and Path(name).expanduser().exists():
        key = unread_scan(find_one(name)).key
        if key not in keys:
            raise ValueError(f"the series in {name} is not among the {len(keys)} scored ones")
        return key
    near = difflib.get_close_matches(name, keys, n=1)
    hint = f"; nearest: {near[0]}" if near else ""
    raise ValueError(
        f"no series {name!r} among the {len(keys)} scored ones{hint}; give a key of series.csv, "
        "its beginning, or the path of the scan"
    )
