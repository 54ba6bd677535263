"""The public names of the package: loaded when used, listed, and seen by type checkers."""

from __future__ import annotations

import ast
from pathlib import Path

from ubr import pretrain


def test_names__are_all_that_dir_lists() -> None:
    assert dir(pretrain) == sorted(pretrain.__all__) and set(pretrain._HOMES) == set(dir(pretrain))


def test_names__type_checkers_find_them_where_they_are_loaded_from() -> None:
    assert pretrain.__file__
    (block,) = (
        n for n in ast.parse(Path(pretrain.__file__).read_text()).body if isinstance(n, ast.If)
    )
    seen = {
        alias.name: line.module
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == pretrain._HOMES
