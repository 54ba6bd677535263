"""The message where an optional package is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ubr.weights.common.optional import optional


def test_optional__a_missing_package_says_how_to_install_it() -> None:
    said = 'reading NRRD needs no_such_package: pip install "ubr-pretrain\\[itk\\]"'
    with pytest.raises(ValueError, match=said):
        optional("no_such_package.part", extra="itk", purpose="reading NRRD")


def test_optional__a_fault_inside_a_package_is_not_taken_for_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("import what_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs"):
        optional("broken_package", extra="itk", purpose="reading NRRD")
    assert optional("sys", extra="itk", purpose="x") is sys
