"""Libraries that read files, kept apart from the files: what fails in one is no file's fault."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LibraryError(ValueError):
    """A library cannot be used as it is installed. It ends the work: no other file would fare
    better.
    """


def library(module: str) -> Any:
    """Import a module that a reader needs, outside of whatever the reader expects of files.

    Raises `LibraryError` whatever the import raises.
    """
    try:
        return import_module(module)
    except Exception as error:
        raise broken_library(module, error) from error


def broken_library(module: str, error: Exception) -> LibraryError:
    """What to raise for a module that cannot be imported, in one line."""
    why = " ".join(str(error).split())
    return LibraryError(
        f"{module} cannot be imported ({type(error).__name__}: {why}), so no file was judged; "
        "repair the installation, for instance: pip install --force-reinstall "
        f"{'python-gdcm' if module == 'gdcm' else module.partition('.')[0]}"
    )
