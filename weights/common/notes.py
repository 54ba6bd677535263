"""Notes: what a user should know of a file that is read all the same."""

from __future__ import annotations

import warnings
from functools import cache


class Note(UserWarning):
    """A line on the command line, a warning in Python."""


@cache
def note(text: str) -> None:
    """Warn once per process. text: the warning."""
    warnings.warn(text, Note, stacklevel=2)
