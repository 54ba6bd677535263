"""Damage to files that knows nothing of their format: of bytes, and of text.

Every mutation is a function of the file and of a random generator; it returns other bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

DEEP = 100_000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(9))}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def _bit(data: bytes, rng: Random) -> bytes:
    return _bits(data, rng, 1)


def _bits(data: bytes, rng: Random, count: int = 8) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(len(data), size=count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _head_bits(data: bytes, rng: Random) -> bytes:
    """Bits of the first bytes, where headers are."""
    return _bits(data[:512], rng, 3) + data[512:]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: int(rng.integers(1, len(data) + 1)) - 1]


def _inserted(data: bytes, rng: Random) -> bytes:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 65))) + data[place:]


def _doubled(data: bytes, rng: Random) -> bytes:
    """A block that is there twice."""
    place, length = int(rng.integers(len(data))), 2 * int(rng.integers(1, 33))
    return data[: place + length] + data[place:]


def _lost(data: bytes, rng: Random) -> bytes:
    place, length = int(rng.integers(len(data))), int(rng.integers(1, 65))
    return data[:place] + data[place + length :]


def _swapped(data: bytes, rng: Random) -> bytes:
    size = max(1, min(512, len(data) // 4))
    if len(data) < 2:
        return data
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    a, b = (int(one) for one in rng.choice(len(blocks), 2, replace=False))
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def _zeroed(data: bytes, rng: Random) -> bytes:
    size = max(1, min(512, len(data) // 4))
    at = int(rng.integers(len(data)))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def _more(data: bytes, rng: Random) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 2000)))


BLIND: dict[str, Mutation] = {
    "bit": _bit,
    "bits": _bits,
    "bits of the head": _head_bits,
    "cut": _cut,
    "inserted": _inserted,
    "doubled": _doubled,
    "lost": _lost,
    "swapped": _swapped,
    "zeroed": _zeroed,
    "more": _more,
    "empty": lambda data, rng: b"",
}


def _text(change: Callable[[str], str]) -> Mutation:
    return lambda data, rng: change(data.decode("utf-8", "replace")).encode("utf-8", "replace")


AS_TEXT: dict[str, Mutation] = {
    "byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data, rng: data.decode("utf-8", "replace").encode("utf-16"),
    "semicolons": _text(lambda text: text.replace(",", ";")),
    "tabs": _text(lambda text: text.replace(",", "\t")),
    "deep": _text(lambda text: "[" * DEEP),
    "deep objects": _text(lambda text: '{"a":' * DEEP),
    "deep and closed": _text(lambda text: "[" * DEEP + "]" * DEEP),
    "unfolding": _text(lambda text: BOMB),
    "a number": _text(lambda text: "10000000000"),
    "a list": _text(lambda text: "[1, 2]"),
    "null": _text(lambda text: "null"),
    "twice": _text(lambda text: text + text),
}
