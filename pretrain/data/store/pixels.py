"""The pixels of one series: blosc2, int16 `[z, y, x]`, one slice per chunk."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....weights.common import disk
from .rows import StoreError

_DAMAGED = (RuntimeError, ValueError, TypeError, SyntaxError, MemoryError, AttributeError)
"""What blosc2 makes of a damaged header."""


def write_pixels(path: Path, hu: NDArray[np.int16]) -> None:
    """Write a series' pixels, whole or not at all.

    Raises:
        StoreError: blosc2 cannot write.
        OSError: as `disk.whole`.
    """
    import blosc2

    with disk.whole(path) as part:
        try:
            blosc2.asarray(
                np.ascontiguousarray(hu),
                urlpath=str(part),
                mode="w",
                chunks=(1, *hu.shape[1:]),
                cparams={
                    "codec": blosc2.Codec.LZ4,
                    "clevel": 5,
                    "filters": [blosc2.Filter.BITSHUFFLE],
                    "nthreads": 1,
                },
            )
        except RuntimeError as error:  # blosc2's for a disk that is full
            raise StoreError(f"{path.parent.parent} cannot be written to ({error})") from error


def read_pixels(
    path: Path, row: Mapping[str, Any], slices: Sequence[int] | slice | None = None
) -> NDArray[np.int16]:
    """All slices, a range, or those named, in the order given. Only these are decompressed.

    row: what is known of the series; its checksums, where it has any, are compared.

    Raises:
        StoreError: the file is missing or damaged.
        IndexError: a slice outside the series.
    """
    import blosc2

    key = path.stem
    if not path.exists():
        raise StoreError(
            f"the pixels of series {key} are missing from the store; ingest its source again"
        )
    try:
        # safe: what would run Python, such as a lazy array, is refused.
        array = blosc2.open(str(path), mode="r", deserialize="safe", dparams={"nthreads": 1})
        shape = (row["slices"], row["rows"], row["columns"])
        if (array.shape, array.dtype) != (shape, np.int16):
            raise ValueError
        if slices is None or isinstance(slices, slice):
            out = np.asarray(array[slices or slice(None)], np.int16)
        else:
            out = np.empty((len(slices), *shape[1:]), np.int16)
            for i, z in enumerate(slices):
                out[i] = array[int(z)]
    except _DAMAGED as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from error
    if "slices_crc32" in row:
        indices = range(len(array))[slices] if isinstance(slices, slice) else slices
        indices = range(len(array)) if indices is None else indices
        for one, z in zip(out, indices, strict=True):
            if zlib.crc32(one) != row["slices_crc32"][int(z)]:
                raise _damaged(path, "are damaged (their checksum is wrong)")
    return out


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the pixels of series {path.stem} {what}; delete series/{path.name} and ingest its source "
        "again"
    )
