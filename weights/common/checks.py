"""Checks of options that Python callers and command lines share: ranges and choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_choice(name: str, value: object, hint: Any) -> None:
    """Check a value against the `Literal` in a type hint, if there is one.

    In a union such as `int | Literal["auto"]`, values of the other types pass as well.

    Raises:
        ValueError: the value is not one of those that the hint allows.
    """
    arms = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [value for arm in arms if get_origin(arm) is Literal for value in get_args(arm)]
    types = tuple(arm for arm in arms if isinstance(arm, type))
    if choices and value not in choices and not isinstance(value, types):
        allowed = [*map(str, choices), *("null" if t is type(None) else t.__name__ for t in types)]
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_choices(options: object, prefix: str = "") -> None:
    """Check every field of a dataclass whose type hint holds a `Literal`.

    Args:
        prefix: what stands before the field's name in the message, such as "augment.".

    Raises:
        ValueError: a value that the hint does not allow.
    """
    for name, hint in get_type_hints(type(options)).items():
        check_choice(prefix + name, getattr(options, name), hint)


def check_ranges(
    options: object, ranges: Mapping[str, tuple[float, float]], prefix: str = ""
) -> None:
    """Check that attributes lie between their lowest and highest allowed value.

    Raises:
        ValueError: a value is out of range.
    """
    for name, (low, high) in ranges.items():
        if not low <= (value := getattr(options, name)) <= high:
            raise ValueError(f"{prefix}{name} must be in {low}..{high}, got {value}")


def check_at_least(least: int, **values: int) -> None:
    """Check that values are not smaller than the least allowed.

    Raises:
        ValueError: a value is too small.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
