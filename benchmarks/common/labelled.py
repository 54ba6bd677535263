"""CT series whose slices have a known body part: computed ones, or those of a folder.

    --data phantom   computed scans, made in WORK/scans
    --data FOLDER    CT series with a labels.csv, or with a catalog.csv of landmarks

A labels.csv has the columns file, slice and region; file is the file or folder of a series,
relative to the folder. A catalog.csv beside it, with the columns file and patient, says whose the
series are if the files do not. Without a labels.csv, the catalog.csv has the columns file, patient,
and the slice of lung_apex, liver_dome, iliac_crest and femoral_head.

Parts are chest, abdomen and pelvis. The abdomen reaches from the upper border of the liver to that
of the ilium, as in the paper.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cohort import ingest_cohort, series_name
from benchmarks.common.landmarks import PARTS, parts_of
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.phantom.files import phantoms

PHANTOMS = 64


@dataclass(frozen=True)
class Labelled:
    """A store, and the part of each slice of its labelled series."""

    store: Store
    parts: Mapping[str, Mapping[int, str]]

    def split(self, seed: int, tested: float = 0.4) -> tuple[list[SeriesRow], list[SeriesRow]]:
        """Series to learn from and series to test on, all of a patient on one side.

        Series without labels are learned from.

        Args:
            seed: of the split.
            tested: share of the patients with labels that are tested on.
        """
        rows = self.store.usable()
        # In the order of the store's content: patients' keys differ from store to store.
        patients = list(dict.fromkeys(row.patient for row in rows if row.key in self.parts))
        order = np.random.default_rng([seed, 5]).permutation(len(patients))
        aside = {patients[i] for i in order[: max(1, round(tested * len(patients)))]}
        train = [row for row in rows if row.patient not in aside]
        return train, [row for row in rows if row.patient in aside and row.key in self.parts]

    def digest(self, rows: Sequence[SeriesRow]) -> str:
        """Digest of the pixels and labels of series, whatever their order."""
        lines = sorted(
            f"{row.digest} {sorted(self.parts.get(row.key, {}).items())}" for row in rows
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def ranks(self, row: SeriesRow) -> NDArray[np.int64]:
        """The part of each slice as its number in `PARTS`; -1 if it has none."""
        known = self.parts.get(row.key, {})
        return np.array([PARTS.index(known[i]) if i in known else -1 for i in range(row.slices)])


def read_labelled(data: str, work: Path) -> Labelled:
    """Read or make the series, in a folder of their own below `work`.

    Raises:
        ValueError: a folder has no labels.
    """
    work = work / ("phantom" if data == "phantom" else Path(data).resolve().name)
    work.mkdir(parents=True, exist_ok=True)
    if data == "phantom":
        phantoms(work / "scans", n=PHANTOMS, form="dicom", size_px=128)
        return _from_labels(work / "scans", work)
    folder = Path(data)
    if (folder / "labels.csv").is_file():
        return _from_labels(folder, work)
    if (folder / "catalog.csv").is_file():
        cohort = ingest_cohort(folder, work)
        found = {row.key: parts_of(cohort.marks(row), row.z_mm) for row in cohort.store.usable()}
        return Labelled(cohort.store, {key: parts for key, parts in found.items() if parts})
    raise ValueError(
        f"{data} has no labels: give 'phantom', or a folder with a labels.csv (file, slice, "
        "region) or a catalog.csv of landmarks"
    )


def _from_labels(folder: Path, work: Path) -> Labelled:
    patients = folder / "catalog.csv"
    ingest([folder], work / "store", patients=patients if patients.is_file() else None)
    store = Store.open(work / "store")
    with (folder / "labels.csv").open(newline="") as file:
        by_file: dict[str, dict[int, str]] = {}
        for row in csv.DictReader(file):
            if row["region"] in PARTS:
                by_file.setdefault(row["file"], {})[int(row["slice"])] = row["region"]
    parts = {}
    for key, paths in store.sources().items():
        if (name := series_name(paths, folder)) in by_file:
            parts[key] = by_file[name]
    if not parts:
        raise ValueError(
            f"labels.csv in {folder} names none of its series; file must be a series' file or "
            "folder, relative to it"
        )
    return Labelled(store, parts)
