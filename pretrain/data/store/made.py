"""Whether a folder is a store, or can become one; store.json, which says its format, what made it,
and what its secret is checked by.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ....weights.common import disk
from ..volume import shown
from .keys import check_of, read_secret
from .rows import StoreError
from .values import read_values, write_values

FORMAT = 1


def write_made(root: Path) -> None:
    """Write store.json of a new store, which has its secret."""
    secret = read_secret(root / "private" / "secret")
    made = {"format": FORMAT, "made_with": _version(), "keyed_with": check_of(secret)}
    write_values(root / "store.json", made)


def read_made(root: Path) -> dict[str, Any]:
    """What store.json says.

    Raises `StoreError` where it is missing or damaged, or if a newer version made it.
    """
    path = root / "store.json"
    if not path.is_file():
        make = f"ubr-pretrain ingest SOURCE --store {root}"
        raise StoreError(f"{root} is not a store (no store.json); make one with: {make}")
    try:
        made = read_values(path, ("format", "made_with"))
        if type(made.get("format")) is not int or made["format"] < 1:
            raise ValueError("it names no format")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{root} is not a store, or its store.json is damaged ({error}); delete that "
            "file, and the next ingest into the store rewrites it"
        ) from None
    if made["format"] > FORMAT:
        known = re.fullmatch(r"ubr-pretrain( \d[\w.+]{,30})?", str(made.get("made_with")))
        raise StoreError(
            f"{root} has store format {made['format']}, made with "
            f"{known[0] if known else 'a newer version'}; this version reads up to {FORMAT}: "
            "update ubr-pretrain, or ingest into a new store"
        )
    return made


def check_utf_8(root: Path) -> None:
    """Raise `StoreError` for a path that is not UTF-8: blosc2 opens no file there."""
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise StoreError(
            f"{shown(str(root))}: the path of a store must be UTF-8; name another folder, or "
            "rename this one"
        ) from None


def holds_other_things(root: Path) -> bool:
    """Whether a folder holds more than a store that was only begun."""
    names = {path.name for path in root.iterdir() if not disk.is_part(path)}
    return bool(names - {"series", "private", "grids", "catalog.parquet"})


def _version() -> str:
    try:
        return f"ubr-pretrain {version('ubr-pretrain')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "ubr-pretrain"
