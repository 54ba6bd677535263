"""A cohort of real CT: the series of a folder, and what its catalog.csv says of them."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
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
ALSO = {"torso/cmb_crc_01068_sag.nii.gz": "torso/colon_CMB-CRC-MSB-01068_chest.nii.gz"}
"""Another scan of the same patient, under a name that does not tell it."""


@dataclass(frozen=True)
class Cohort:
    """The CT series of a folder, in a store, and what its catalog.csv says of them.

    Attributes:
        name: that of the folder.
        names: the file or folder of each series, by its key.
        catalog: the rows of catalog.csv, by file.
        computed: how many computed scans are trained on beside the real ones.
        only_judging: patients whom no training sees, though they belong to a fold.
    """

    name: str
    store: Store
    names: Mapping[str, str]
    catalog: Mapping[str, Mapping[str, str]]
    computed: int = 0
    only_judging: frozenset[str] = frozenset()

    def is_computed(self, series: SeriesRow) -> bool:
        """Whether this is one of the computed scans, which belong to no fold."""
        return self.names[series.key].startswith(f"{COMPUTED}/")

    def marks(self, series: SeriesRow) -> dict[str, int]:
        """The slice of each landmark that the catalog gives for a series."""
        labels = self.labels(series)
        return {n: int(labels[n]) for n in LANDMARKS if labels.get(n)}

    def labels(self, series: SeriesRow) -> Mapping[str, str]:
        """The catalog's row of a series; empty if it has none."""
        name = self.names[series.key]
        return self.catalog.get(TWINS.get(name, name), {})

    def columns(self) -> dict[str, object]:
        """The columns of rows that name the data and give their digest.

        The digest covers what judges and what folds are made from: pixels, landmarks, the patient
        of each series, and which series show heads. Their order does not matter. Of computed scans
        it covers the number, and it covers who is not trained on.
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
        if self.only_judging:
            digests = [s.digest for s in self.store.usable() if s.patient in self.only_judging]
            lines.append(f"not trained on: {sorted(digests)}")
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
    file = ALSO.get(file, file)
    return next((begin for begin in SEVERAL if file.startswith(begin)), file)


def ingest_cohort(
    data: Path, work: Path, computed: int = 0, *, licensed: bool = False, at_most: str = ""
) -> Cohort:
    """Ingest the series of a folder with a catalog.csv into `work`/store.

    Args:
        data: the folder.
        work: where the store is made.
        computed: computed scans to add (`ubr-pretrain phantom`, seeds from 10,000).
        licensed: train only on rows of the catalog whose terms let weights be given away.
        at_most: COLLECTION=N: train on N patients of a collection only, whose name begins so.
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
    cohort = Cohort(cohort_name(data, computed), store, names, catalog, computed)
    only_judging = {
        series.patient
        for series in store.usable()
        if licensed and (row := cohort.labels(series)) and not may_be_released(row["terms"])
    }
    return dataclasses.replace(
        cohort,
        name=cohort.name + selection_name(licensed, at_most),
        only_judging=frozenset(only_judging | _beyond(cohort, at_most)),
    )


def _beyond(cohort: Cohort, at_most: str) -> set[str]:
    """The patients of a collection beyond the first N, in an order that follows from their pixels.

    Exits if the collection has none.
    """
    if not at_most:
        return set()
    collection, count = limit_of(at_most)
    of_patient: dict[str, str] = {}
    for series in cohort.store.usable():
        if cohort.labels(series).get("collection", "").startswith(collection):
            of_patient[series.patient] = min(
                series.digest, of_patient.get(series.patient, series.digest)
            )
    if not of_patient:
        raise SystemExit(f"no collection of {cohort.name} begins with {collection!r}")
    return set(sorted(of_patient, key=lambda patient: of_patient[patient])[count:])


def limit_of(at_most: str) -> tuple[str, int]:
    """What the name of a collection begins with, and how many of its patients are trained on.

    Exits for what is not COLLECTION=N.
    """
    collection, _, count = at_most.partition("=")
    if not collection or not count.isdecimal():
        raise SystemExit(f"--at-most is COLLECTION=N, got {at_most!r}")
    return collection, int(count)


def cohort_name(data: Path, computed: int) -> str:
    """ct, or ct+48 with computed scans."""
    return data.resolve().name + (f"+{computed}" if computed else "")


def selection_name(licensed: bool, at_most: str) -> str:
    """What the name of a cohort ends in: ", licensed", ", without OpenKBP", ", 32 of OpenKBP"."""
    name = ", licensed" if licensed else ""
    if at_most:
        collection, count = limit_of(at_most)
        name += f", {count or 'without'}{' of' if count else ''} {collection}"
    return name


def may_be_released(terms: str) -> bool:
    """Whether the terms of a catalog's row let weights be given away that are trained on it."""
    return bool(re.search(r"\b(CC BY|CC0|MIT|BSD|Apache)\b", terms))


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
