"""Options as files hold them: their digest, and the spelling that files keep.

The first version wrote `optimiser` and `licence`. Digests of recipes, run folders and rows of
results depend on these keys, so files keep them, while the API says `optimizer` and `license`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STORED = {"optimizer": "optimiser", "license": "licence"}
"""Name in the API -> key in files."""
NAMES = {key: name for name, key in STORED.items()}
"""Key in files -> name in the API."""


def to_stored(options: DataclassInstance) -> dict[str, Any]:
    """A dataclass as plain values under the keys that files hold."""
    values = dataclasses.asdict(options)
    return {STORED.get(name, name): value for name, value in values.items()}


def from_stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values under the names of the API; these are understood, too."""
    return {NAMES.get(key, key): value for key, value in values.items()}


def values_sha256(values: Any) -> str:
    """SHA-256 of plain values, in which the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
