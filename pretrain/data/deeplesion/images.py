"""DeepLesion's images: one 16-bit grey PNG per slice, HU = stored value - 32768."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGES = "Images_png"
"""Folder of the images, beside the table."""
OFFSET = 32768
"""Stored value of 0 HU."""
MOST_PX = 8192
"""Rows and columns that a slice has at most."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""First bytes of every PNG file."""


def is_16_bit_grey(start: bytes) -> bool:
    """From the first 26 bytes of a PNG file: bit depth 16, colour type 0."""
    return start[24:26] == b"\x10\x00"


def slice_path(images: Path, folder: str, index: int) -> Path:
    """Path of a slice under `Images_png`."""
    return images / folder / f"{index:03d}.png"


def load_hu(path: Path) -> NDArray[np.int16]:
    """Read a slice `[y, x]` in HU.

    Raises:
        ValueError: the file is absent, damaged or not 16-bit grey. The message names it by folder
            and file only.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        stored = _stored(name, path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{name} is absent: get its archive, or leave its rows out of the table"
        ) from None
    except (OSError, SyntaxError, EOFError):  # what Pillow raises for damaged files
        raise ValueError(f"{name} is damaged, or not a PNG: get it again") from None
    # Flipping the highest bit subtracts 32768 and makes the type signed, in one pass.
    return (stored ^ np.uint16(OFFSET)).view(np.int16)


def _stored(name: str, content: bytes) -> NDArray[np.uint16]:
    """The values of a PNG file; name: as messages call it."""
    from PIL import Image

    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if max(width, height) > MOST_PX:  # before Pillow makes room for it
        raise OSError(f"{width} x {height} pixels")
    stream = io.BytesIO(content)
    # No other format: Pillow hands some of them to programs of the system.
    with Image.open(stream, formats=["PNG"]) as image:
        image.verify()  # the checksums, which reading the pixels passes over
    with Image.open(stream, formats=["PNG"]) as image:
        if image.mode != "I;16":
            raise ValueError(
                f"{name} is {image.mode} and not 16-bit grey, HU are lost: take DeepLesion's "
                "own PNG, not a converted copy"
            )
        return np.asarray(image, np.uint16)


def save_hu(path: Path, hu: NDArray[np.int16], *, compress_level: int = -1) -> None:
    """Write a slice `[y, x]` in HU; the folder must exist.

    compress_level: zlib's, -1 for its default.
    """
    from PIL import Image

    stored = np.ascontiguousarray(hu).view(np.uint16) ^ np.uint16(OFFSET)
    Image.fromarray(stored).save(path, compress_level=compress_level)
