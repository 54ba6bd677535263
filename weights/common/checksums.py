"""Checksums: what is compared when it is read, and what is said of files that have none."""

from __future__ import annotations

import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile


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
            damaged = members.testzip() is not None
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


def torch_load(path: Path, remedy: str) -> Any:
    """What `torch.save` wrote, with its checksums compared; opened without executing anything.

    Args:
        path: the file.
        remedy: what its user can do where it is damaged.

    Raises:
        ValueError: it is damaged, or holds more than numbers.
    """
    import torch

    try:
        check_members(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickle raises whatever broken bytes lead to
        raise ValueError(
            f"{path} is damaged, or holds more than numbers and is not opened; {remedy}"
        ) from error


class Note(UserWarning):
    """What a user should know of a file that is read all the same; a line on the command line."""


@cache
def note(text: str) -> None:
    """Warn of something, once in each process."""
    warnings.warn(text, Note, stacklevel=2)


def say_unverified(what: str) -> None:
    """Note that something was read without a checksum. what: a plural, as "the grids"."""
    note(f"{what} are from a version without checksums: they are read, but not verified")
