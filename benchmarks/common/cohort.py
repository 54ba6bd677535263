"""A cohort of real CT: the series of a folder, and what its catalog.csv says of them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.landmarks import LANDMARKS
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.phantom.files import phantoms
from ubr.weights.common import disk

COMPUTED = "computed"
"""Folder of computed scans, and what their names begin with."""
TWINS = {
    "dicom/lungdx_chest_8mm": "torso/dashvtk_Lung_Dx-A0002_chest_8mm.nii.gz",
    "dicom/totalseg_jpeg2000_20": "torso/totalseg_example_ct_dicom_20.nii.gz",
    "dicom/ge_head_gantry_tilt_uneven": "torso/ge_head_dcm_qa_ct.nii.gz",
}
"""The same scan as DICOM and as NIfTI: one patient, whatever the headers say."""
SEVERAL = (
    "torso/aitest_ACRIN-FLT-Breast_001_",
    "torso/colonstrat_CTC-0518_",
    "torso/elastix_3DCT_lung_",
)
"""What the files of a patient with several scans of the trunk begin with."""


@dataclass(frozen=True)
class Cohort:
    """The CT series of a folder, in a store, and what its catalog.csv says of them.

    Attributes:
        name: that of the folder.
        names: the file or folder of each series, by its key.
        catalog: the rows of catalog.csv, by file.
        computed: how many computed scans are trained on beside the real ones.
    """

    name: str
    store: Store
    names: Mapping[str, str]
    catalog: Mapping[str, Mapping[str, str]]
    computed: int = 0

    def is_computed(self, series: SeriesRow) -> bool:
        """Whether this is one of the computed scans, which belong to no fold."""
        return self.names[series.key].startswith(f"{COMPUTED}/")

    def marks(self, series: SeriesRow) -> dict[str, int]:
        """The slice of each landmark that the catalogue gives for a series."""
        labels = self.labels(series)
        return {n: int(labels[n]) for n in LANDMARKS if labels.get(n)}

    def labels(self, series: SeriesRow) -> Mapping[str, str]:
        """The catalogue's row of a series; empty if it has none."""
        name = self.names[series.key]
        return self.catalog.get(TWINS.get(name, name), {})

    def columns(self) -> dict[str, object]:
        """The columns of rows that name the data and give their digest.

        The digest covers what judges and what folds are made from: pixels, landmarks, the patient
        of each series, and which series show heads. Their order does not matter. Of computed scans
        it covers the number.
        """
        patients: dict[str, list[str]] = {}
        for series in self.store.usable():
            if self.is_computed(series):
                continue
            line = (
                f"{series.digest} {is_head(self.names[series.key])} "
                f"{sorted(self.marks(series).items())}"
            )
            patients.setdefault(series.patient, []).append(line)
        lines = sorted("\n".join(sorted(of_patient)) for of_patient in patients.values())
        if self.computed:
            lines.append(f"{self.computed} computed")
        return {
            "data": self.name,
            "data_sha256": hashlib.sha256("\n\n".join(lines).encode()).hexdigest()[:12],
        }


def is_head(file: str) -> bool:
    """Whether a series of this name shows head and neck: those lie in a folder of their own."""
    return file.startswith("headneck")


def patient_of(file: str) -> str:
    """A name for the patient of a row: the rows themselves name the file of a series only."""
    file = TWINS.get(file, file)
    return next((begin for begin in SEVERAL if file.startswith(begin)), file)


def ingest_cohort(data: Path, work: Path, computed: int = 0) -> Cohort:
    """Ingest the series of a folder with a catalog.csv into `work`/store.

    Args:
        data: the folder.
        work: where the store is made.
        computed: computed scans to add (`ubr-pretrain phantom`, seeds from 10,000).
    """
    catalog = _read_catalog(data)
    owner = {name: row["patient"] for name, row in catalog.items()}
    owner |= {
        twin: owner[name]
        for twin, name in TWINS.items()
        if name in owner and (data / twin).exists()
    }
    lines = "".join(f"{name},{patient}\n" for name, patient in owner.items())
    disk.write_text(work / "patients.csv", "file,patient\n" + lines)
    folders = [data]
    if computed:
        phantoms(work / COMPUTED, n=computed, seed=10_000, form="nifti")
        folders.append(work / COMPUTED)
    ingest(folders, work / "store", patients=work / "patients.csv")
    store = Store.open(work / "store")
    names = {key: _name(paths, data, work) for key, paths in store.sources().items()}
    return Cohort(cohort_name(data, computed), store, names, catalog, computed)


def cohort_name(data: Path, computed: int) -> str:
    """ct, or ct+48 with computed scans."""
    return data.resolve().name + (f"+{computed}" if computed else "")


def _name(paths: Sequence[str], data: Path, work: Path) -> str:
    if Path(min(paths)).is_relative_to(work / COMPUTED):
        return f"{COMPUTED}/{Path(min(paths)).name}"
    return series_name(paths, data)


def series_name(paths: Sequence[str], data: Path) -> str:
    """The name of a series in a folder's tables: its file, or the folder of its files.

    It is relative to the folder.
    """
    first = Path(min(paths))
    # A file may itself be a link to elsewhere.
    path = (first.parent.resolve() / first.name).relative_to(data.resolve())
    return str(path if len(paths) == 1 else path.parent)


def _read_catalog(data: Path) -> dict[str, dict[str, str]]:
    if not (data / "catalog.csv").is_file():
        raise SystemExit(
            f"{data} holds no catalog.csv with the columns file, patient, region and landmarks; "
            "give a folder that does"
        )
    with (data / "catalog.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}
