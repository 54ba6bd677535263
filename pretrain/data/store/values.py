"""JSON files of the store: plain values, and the CRC-32 of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ....weights.common import disk

_CRC32 = "crc32"


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """Write values with their checksum, whole or not at all."""
    values = {name: value for name, value in values.items() if name != _CRC32}
    disk.write_text(path, json.dumps({**values, _CRC32: _crc32(values)}))


def read_values(path: Path, before: Collection[str]) -> dict[str, Any]:
    """The values of a file, verified where it has a checksum.

    Args:
        path: the file.
        before: the keys that earlier versions wrote, without a checksum. A file with others and
            none is damaged: a bit may have changed the checksum's own key.

    Raises:
        ValueError: it is damaged.
        OSError: there is none, or it cannot be opened.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(values, dict):
        raise ValueError("it is not a table of names and values")
    checksum = values.pop(_CRC32, None)
    if checksum is None and not values.keys() <= set(before):
        raise ValueError("it contains values that no version of ubr-pretrain writes")
    if checksum is not None and checksum != _crc32(values):
        raise ValueError("its checksum is wrong")
    return values


def _crc32(values: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(values).encode()):08x}"
