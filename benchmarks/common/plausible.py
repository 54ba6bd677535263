"""Which values a sound file may have, so that nothing tells them from the right one."""

from __future__ import annotations

from typing import Any

LARGE = 1e6
"""No number in any of the files is larger."""


def is_plausible(before: Any, after: Any) -> bool:
    """Whether a sound file may hold a value in the place of another: a number of usual size in the
    place of a number, any word in the place of a word.
    """
    was, now = _number(before), _number(after)
    if was is None:
        words = isinstance(before, str) and isinstance(after, str)
        return words and str(after).isprintable()
    return now is not None and abs(now) < LARGE


def _number(value: Any) -> float | None:
    """A value as a number: NaN and infinity are numbers too."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return None
