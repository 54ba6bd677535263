"""A package whose released weights score by darkness, and scans that show parts of the made body.

Its levels have the names of the documentation, whose pipelines are run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ubr.pretrain.uses.transforms import body

from ....made.released import release
from ....made.scans import grid, save_nifti
from ....made.scores import in_mm, regions, scored_by_darkness, weights

WEIGHTS = in_mm(weights())
OF = regions(WEIGHTS)
NAMES = {"dome": "liver_dome", "crest": "iliac_crest"}
REGIONS = replace(
    OF, landmarks={NAMES.get(name, name): level for name, level in OF.landmarks.items()}
)

LEVELS = ("liver_dome", "iliac_crest")
TURNS = [  # orders of the axes, and which are flipped before
    ((0, 1, 2), (False, False, False)),
    ((2, 0, 1), (False, False, True)),
    ((1, 2, 0), (True, True, False)),
    ((0, 2, 1), (True, False, True)),
]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Released weights, two whole scans, one that ends above the crest, and one of noise."""
    release(WEIGHTS, tmp_path / "own", monkeypatch, regions=REGIONS)
    WEIGHTS.save(tmp_path / "mine.safetensors")
    weights().save(tmp_path / "without_mm.safetensors")
    monkeypatch.chdir(tmp_path)
    (scans := tmp_path / "scans").mkdir()
    save_nifti(scans / "a.nii.gz", grid())
    save_nifti(scans / "b.nii.gz", grid() + 1)
    save_nifti(scans / "short.nii.gz", grid()[:, :, :9])
    save_nifti(scans / "flat.nii.gz", grid() * 0)
    body._scorer.cache_clear()
    with scored_by_darkness():
        yield
    body._scorer.cache_clear()


def of_page(heading: str) -> dict[str, Any]:
    """Run a pipeline of the documentation. Returns its names."""
    page = Path(__file__).parents[4] / "docs" / "how-to" / "transforms.md"
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, page.name, "exec"), names)
    return names
