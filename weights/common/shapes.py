"""Shapes of plain values: which names a table has, and what their values are."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError


class Shape(BaseModel):
    """A table whose named values have these types; it may hold others besides.

    Nothing is converted: a number in quotes is no number.
    """

    model_config = ConfigDict(strict=True, extra="allow")


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    own = isinstance(shape, type) and issubclass(shape, BaseModel)
    return TypeAdapter(shape, config=None if own else ConfigDict(strict=True))


def difference(values: Any, shape: Any) -> str:
    """The first difference between values and their shape, in a few words; empty without one."""
    try:
        _adapter(shape).validate_python(values)
        return ""
    except (RecursionError, OverflowError):
        return "it holds a value that cannot be read"
    except ValidationError as invalid:
        error = invalid
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"])) or "it"
    if first["type"] == "missing":
        return f"{name} is missing"
    must = first["msg"].replace("Input should", "must").replace("valid dictionary", "table")
    must = re.sub(r" or instance of \w+$", "", must)
    value = repr(first["input"])
    return f"{name} {must[0].lower()}{must[1:]}, got {value[:60]}{'...' * (len(value) > 60)}"
