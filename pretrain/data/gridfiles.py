"""Files of resampled slices: `.npy`, followed by the CRC-32 of each slice.

NumPy reads the array and passes over what follows it. With a checksum for each slice, those that
a training step takes are verified without reading the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .store import StoreError

_MARK = b"crc32 of each slice:"


@dataclass(frozen=True, eq=False)
class GridFile:
    """The slices of one series on a grid; nothing of them stays in memory.

    path: the file. shape: `(n, *slice)`. crc32: `[n]` checksums; None where an earlier version
    wrote the file.
    """

    path: Path
    shape: tuple[int, ...]
    crc32: NDArray[np.uint32] | None

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise `StoreError` where the slices have another shape."""
        if self.shape != shape:
            raise _damaged(self.path)

    def read(self, slices: NDArray[np.int64] | None = None) -> NDArray[np.int16]:
        """All slices, or those at these indices.

        Raises:
            StoreError: one of them is damaged.
        """
        # Mapped for this read only: pages that stay mapped would count as resident memory and grow
        # with the store.
        mapped = _mapped(self.path)
        self.check(mapped.shape)
        found = np.array(mapped if slices is None else mapped[slices])
        if self.crc32 is not None:
            expected = self.crc32 if slices is None else self.crc32[slices]
            if any(zlib.crc32(one) != crc for one, crc in zip(found, expected, strict=True)):
                raise _damaged(self.path)
        return found


def write_grid(path: Path, slices: NDArray[np.int16]) -> None:
    """Write slices `[n, ...]` with their checksums."""
    with path.open("wb") as file:
        np.save(file, slices)
        checksums = np.array([zlib.crc32(one) for one in slices], "<u4").tobytes()
        file.write(_MARK + checksums + zlib.crc32(checksums).to_bytes(4, "little"))


def open_grid(path: Path) -> GridFile:
    """A file of `write_grid`, or of an earlier version.

    Raises:
        StoreError: it is missing or damaged.
    """
    mapped = _mapped(path)
    try:
        with path.open("rb") as file:
            file.seek(mapped.offset + mapped.nbytes)
            rest = file.read()
    except OSError:
        raise _damaged(path) from None
    if not rest:
        return GridFile(path, mapped.shape, None)
    checksums = rest[len(_MARK) : -4]
    if (
        not rest.startswith(_MARK)
        or len(checksums) != 4 * len(mapped)
        or zlib.crc32(checksums) != int.from_bytes(rest[-4:], "little")
    ):
        raise _damaged(path)
    return GridFile(path, mapped.shape, np.frombuffer(checksums, "<u4"))


def _mapped(path: Path) -> np.memmap[tuple[int, ...], np.dtype[np.int16]]:
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # NumPy raises whatever a broken header leads to
        raise _damaged(path) from None
    if mapped.dtype != np.int16 or mapped.ndim < 3 or not mapped.flags.c_contiguous:
        raise _damaged(path)
    return mapped


def _damaged(path: Path) -> StoreError:
    name = "/".join(path.parts[-3:])
    return StoreError(
        f"{name} in the store is missing or damaged; delete it and repeat the command"
    )
