"""Values of a header as they were written, not as the standard wants them.

pydicom converts a value when it is asked for, and raises where the text breaks the rules of its
type. Here the text is read instead: one odd value neither costs a series nor is called damage.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

_TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST"}
_TEXT |= {"TM", "UC", "UI", "UR", "UT"}
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) *(?:mm)?", re.IGNORECASE)


def texts(part: Any, name: str) -> list[str]:
    """The values of an attribute as they are written; none where it is absent or empty.

    part: a data set, or an empty mapping for a functional group that is not there.
    """
    from pydicom.dataelem import RawDataElement

    if not part:
        return []
    tag, usual_vr = _named(name)
    if tag not in part:
        return []
    element = part.get_item(tag)
    if isinstance(element, RawDataElement):
        if not element.value:
            return []
        vr = element.VR if element.VR not in (None, "UN") else usual_vr
        if vr in _TEXT:
            written = element.value.decode("latin-1")
            return [text.strip(" \0\r\n\t") for text in written.split("\\")]
        element = part[tag]
    value = element.value
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else value
    return [text.strip(" \0\r\n\t") for v in values for text in str(v).split("\\")]


@cache
def _named(name: str) -> tuple[Any, str]:
    """An attribute's tag, and the type of its values."""
    from pydicom.datadict import dictionary_VR
    from pydicom.tag import Tag

    tag = Tag(name)
    return tag, dictionary_VR(tag)


def numbers(part: Any, name: str) -> list[float] | None:
    """The values of an attribute as numbers, or None where one of them is none.

    A comma is a decimal one, unless the text has points: then it separates. "mm" may follow.
    """
    written = [
        piece
        for text in texts(part, name)
        for piece in (text.split(",") if "." in text else [text])
    ]
    found = [_NUMBER.fullmatch(piece.strip().replace(",", ".")) for piece in written]
    values = [float(match[1]) for match in found if match]
    return values if len(values) == len(found) and all(map(math.isfinite, values)) else None


def whole(part: Any, name: str) -> int:
    """The first value of an attribute as a whole number, 0 where it is none."""
    values = numbers(part, name)
    return int(values[0]) if values else 0


def joined(part: Any, name: str) -> str:
    """All values of an attribute as one text."""
    return "\\".join(texts(part, name)).strip("\\")
