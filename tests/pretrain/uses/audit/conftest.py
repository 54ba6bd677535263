"""An archive of the made body, and its audit by a network that is known without training."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid

from tests.made.dicom import Made, write
from tests.made.scans import save_volume
from tests.made.scores import regions, scored_by_darkness, weights
from ubr.pretrain.uses.audit.audit import Audited, audit

STUDIES = {
    "sound": {"BodyPartExamined": "ABDOMEN", "ConvolutionKernel": "B30f"},
    "missing": {"BodyPartExamined": "HEAD"},
    "reversed": {"SeriesDescription": "Thorax Doe Jane"},
    "copy": {"BodyPartExamined": "LIVER"},
    "magnetic": {"Modality": "MR", "SOPClassUID": MRImageStorage},
}


def upside_down(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The pixels in the opposite order under the same headers."""
    turned = [deepcopy(one) for one in datasets]
    for one, other in zip(turned, reversed(datasets), strict=True):
        one.PixelData = other.PixelData
    return turned


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series of one study, one of which lacks slices 8 and 9, and a file that is none."""
    root = tmp_path_factory.mktemp("JANE-DOE")
    study = generate_uid()
    for name, tags in STUDIES.items():
        made = Made(study=study)
        datasets = made.datasets(**tags)
        if name == "missing":
            del datasets[8:10]
        if name == "reversed":
            datasets = upside_down(datasets)
        write(root / name, datasets)
    save_volume(root / "b.nii.gz")
    (root / "notes.txt").write_text("no CT")
    return root


@pytest.fixture(scope="package")
def audited(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    with scored_by_darkness():
        return audit_of(archive, tmp_path_factory.mktemp("audits") / "a")


def audit_of(archive: Path, out: Path, **options: object) -> Audited:
    """The audit of the archive. For use where scores are those of darkness."""
    given = weights()
    usual: dict[str, object] = {"every_mm": 0.5, "workers": 0, "progress": False}
    return audit(
        [archive],
        out,
        weights=given,
        regions=regions(given),
        **{**usual, **options},  # type: ignore[arg-type]
    )
