"""Damage as disks and transfers make it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flipped(content: bytes, count: int, *, first: int = 0, seed: int = 0) -> Iterator[bytes]:
    """Copies of a file's bytes, each with one bit changed at or beyond `first`."""
    rng = random.Random(seed)
    for _ in range(count):
        at, bit = rng.randrange(first, len(content)), rng.randrange(8)
        yield content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@contextmanager
def kept(path: Path) -> Iterator[bytes]:
    """The bytes of a file, which are there again afterwards."""
    content = path.read_bytes()
    yield content
    path.write_bytes(content)
