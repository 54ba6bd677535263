"""What the command lines of the programs share."""

from __future__ import annotations

import argparse
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    """A parser that says a mistake on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def new_parser(about: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a program's docstring, line by line."""
    return _Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
