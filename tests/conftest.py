"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real CT beside the checkout; tests that need it are skipped, with this reason,
    where it is absent.
    """
    if not (SHARED / "ct" / "catalog.csv").is_file():
        pytest.skip(f"no real CT beside the checkout (looked for {SHARED.name}/ct/catalog.csv)")
    return SHARED


@pytest.fixture(scope="session")
def lesions(shared: Path) -> Path:
    """The piece of the real DeepLesion beside the checkout."""
    if not (shared / "deeplesion" / "DL_info.csv").is_file():
        pytest.skip(
            "no real DeepLesion beside the checkout (looked for shared/deeplesion/DL_info.csv)"
        )
    return shared / "deeplesion"
