"""What the command lines of the programs share."""

from __future__ import annotations

import argparse


def new_parser(about: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a program's docstring, line by line."""
    return argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
