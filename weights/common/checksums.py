"""Checksums: what is compared when it is read, and what is said of files that have none."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import ZipFile, is_zipfile

from .notes import note


def check_members(path: Path) -> None:
    """Compare the CRC-32 of each member of a zip file, which files of `torch.save` are.

    PyTorch writes them and does not compare them. Its files before 2020 are no zip files and have
    none.

    Raises:
        ValueError: one differs, or the file is damaged elsewhere.
    """
    if not is_zipfile(path):
        return
    try:
        with ZipFile(path) as members:
            # PyTorch compresses nothing, so the members fill the file, and no more than that.
            unpacked = sum(one.file_size for one in members.infolist())
            damaged = unpacked > path.stat().st_size or members.testzip() is not None
    except Exception:  # zipfile raises whatever broken bytes lead to
        damaged = True
    if damaged:
        raise ValueError("a checksum is wrong")


def file_crc32(path: Path) -> str:
    """CRC-32 of a file's bytes, eight hexadecimal digits."""
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            checksum = zlib.crc32(part, checksum)
    return f"{checksum:08x}"


def say_unverified(what: str) -> None:
    """Note that something was read without a checksum. what: a plural, as "the grids"."""
    note(f"{what} are from a version without checksums: they are read, but not verified")
