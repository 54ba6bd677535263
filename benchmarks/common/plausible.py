"""Which values a sound file may have, so that nothing tells them from the right one."""

from __future__ import annotations

from typing import Any

LARGE = 1e6
"""No number in any of the files is larger."""


def is_plausible(before: Any, after: Any) -> bool:
    """Whether a sound file may hold a value in the place of another: a number of usual size in the
    place of a number, a word in the place of a word.
    """
    numbers = [_number(value) for value in (before, after)]
    if None not in numbers:
        return bool(abs(numbers[1]) < LARGE)  # type: ignore[arg-type]
    words = [isinstance(v, str) and v.isprintable() for v in (before, after)]
    return numbers == [None, None] and all(words)


def _number(value: Any) -> float | None:
    """A value as a number: NaN and infinity are numbers too."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return None
