"""Digests: what shows that files, or volumes, are the same whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .volume import Volume


def files_digest(paths: Iterable[str]) -> str:
    """blake2b over the bytes of the files, 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with Path(path).open("rb") as file:
            one = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        total.update(one.digest())
    return total.hexdigest()


def volume_digest(volume: Volume) -> str:
    """blake2b over pixels and geometry, 32 hexadecimal digits.

    Positions count to a micrometre: the last bits differ between file formats.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(volume.hu.shape).encode())
    digest.update(np.round(volume.spacing_mm, 3).astype("<f8").tobytes())
    digest.update(np.round(volume.z_mm, 3).astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(volume.hu, "<i2").data)
    return digest.hexdigest()
