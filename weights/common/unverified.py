"""What is read although nothing shows that it is whole: files of versions without checksums."""

from __future__ import annotations

import warnings
from functools import cache


class Unverified(UserWarning):
    """A file without a checksum was read. The command line shows it as a note."""


@cache
def say_unverified(what: str) -> None:
    """Warn that something was read without a checksum; once in each process.

    Args:
        what: a plural, as "the grids".
    """
    warnings.warn(
        f"{what} are from a version without checksums: they are read, but not verified",
        Unverified,
        stacklevel=2,
    )
