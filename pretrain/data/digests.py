"""Digests: what shows that files, or volumes, are the same whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .volume import LeftOut, UnusableError, Volume, cannot_be_read


class UnreadableError(UnusableError):
    """A file cannot be read to its end, so there is no digest.

    path: which file.
    """

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(cannot_be_read(error))
        self.path = path

    def of_series(self) -> LeftOut:
        """What is left out where the digest was to tell a series from others."""
        return LeftOut(self.path, f"{self}; without it nothing tells its series from others")


def files_digest(paths: Iterable[str]) -> str:
    """blake2b over the bytes of the files, 32 hexadecimal digits.

    Raises `UnreadableError`.
    """
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                one = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        except OSError as error:
            raise UnreadableError(path, error) from None
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
