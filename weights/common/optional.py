"""Optional packages: one way to import them, one message where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .distribution import DISTRIBUTION


def optional(module: str, *, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its dotted name, as "SimpleITK".
        extra: the extra of this project that installs it, as "itk".
        purpose: what needs it, as the subject of a sentence: "reading MetaImage".

    Raises:
        ValueError: the package is not installed; the text says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there, and something that it needs is not
        raise ValueError(
            f'{purpose} needs {error.name}: pip install "{DISTRIBUTION}[{extra}]"'
        ) from None
