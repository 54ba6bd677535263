"""A package with released weights, as tests need it: small ones in a folder of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ubr.pretrain.reading.regions import Regions
from ubr.weights import Weights, released
from ubr.weights.released import CARD, REGIONS, WEIGHTS


def release(
    weights: Weights,
    folder: Path,
    patch: pytest.MonkeyPatch,
    name: str = "released-1",
    regions: Regions | None = None,
) -> Weights:
    """Put weights into a folder that is the package's from now on. Returns them as released."""
    patch.setattr(released, "FOLDER", folder)
    folder.mkdir(exist_ok=True)
    named = dataclasses.replace(weights, provenance={**weights.provenance, "name": name})
    named.save(folder / f"{name}{WEIGHTS}")
    (folder / f"{name}{CARD}").write_text(f"# The card of {name}\n")
    if regions is not None:
        regions.save(folder / f"{name}{REGIONS}")
    return named
