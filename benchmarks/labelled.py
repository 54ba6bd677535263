"""CT series whose slices have a known body part: computed ones, the folder with landmarks, or a
user's own.

    --data phantom   computed scans, made into WORK/scans
    --data FOLDER    CT series with a labels.csv (columns file, slice, region; file is a series' file or folder, relative to it), and a
                     catalog.csv (columns file, patient) where files do not say whose they are; or with landmarks instead of labels, a
                     catalog.csv with the columns file, patient, and the slice of lung_apex, liver_dome, iliac_crest, femoral_head

Parts are chest, abdomen and pelvis; the abdomen goes from the upper border of the liver to that of
the ilium, as in the paper.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning import PARTS, parts_of, series_name, stored
from ubr.pretrain.data.ingestion import ingest
from ubr.pretrain.data.store import SeriesRow, Store
from ubr.pretrain.phantom.files import phantoms

PHANTOMS = 64


@dataclass(frozen=True)
class Labelled:
    """A store, and of its labelled series the part of each slice."""

    store: Store
    parts: Mapping[str, Mapping[int, str]]

    def split(self, seed: int, tested: float = 0.4) -> tuple[list[SeriesRow], list[SeriesRow]]:
        """Series to learn from and series to test on, a patient's all on one side; unlabelled ones
        are learned from.

        tested: share of the patients with labels that are tested on.
        """
        rows = self.store.usable()
        # In the order of the store's content: patients' keys differ from store to store.
        patients = list(dict.fromkeys(row.patient for row in rows if row.key in self.parts))
        order = np.random.default_rng([seed, 5]).permutation(len(patients))
        aside = {patients[i] for i in order[: max(1, round(tested * len(patients)))]}
        return [r for r in rows if r.patient not in aside], [
            r for r in rows if r.patient in aside and r.key in self.parts
        ]

    def digest(self, rows: Sequence[SeriesRow]) -> str:
        """Of the pixels and labels of series, whatever their order."""
        told = sorted(f"{row.digest} {sorted(self.parts.get(row.key, {}).items())}" for row in rows)
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def ranks(self, row: SeriesRow) -> NDArray[np.int64]:
        """The part of each slice as its number in `PARTS`; -1 where it has none."""
        known = self.parts.get(row.key, {})
        return np.array([PARTS.index(known[i]) if i in known else -1 for i in range(row.slices)])


def labelled(data: str, work: Path) -> Labelled:
    """Read or make the series, in a folder of their own below `work`.

    Raises `ValueError` where a folder has no labels.
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
        cohort = stored(folder, work)
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
