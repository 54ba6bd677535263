"""The scans that lesions are planted in, with the table of patients that lies beside them."""

from __future__ import annotations

from pathlib import Path

from ubr.pretrain.data.scans import Scans, is_store, scans_of
from ubr.weights.common import doors

PATIENTS = "catalog.csv"
"""Table with the columns file, patient that is looked for beside the files."""


def find_scans(source: str | Path, patients: str | Path | None = None) -> Scans:
    """Find the scans of a store, or of a file or folder of any kind that `ingest` takes.

    In files every series without a patient is a patient of its own, unless a table says otherwise.

    Args:
        source: a store, a folder that is searched to any depth, or a file.
        patients: a CSV file with the columns file, patient (`ubr.pretrain.data.patients`). Without
            it, `catalog.csv` in the folder or its parent is taken if there is one.

    Raises:
        ValueError: there is no scan, the store is of a newer format, or the table cannot be used.
    """
    source = Path(source)
    if patients is None and not is_store(source):
        nearby = (source / PATIENTS, source.parent / PATIENTS)
        patients = next((table for table in nearby if table.is_file()), None)
    scans = scans_of([source], patients=patients)
    if patients is None:
        return scans
    table = Path(patients).absolute()
    left_out = [one for one in scans.left_out if Path(one.path) != table]
    return Scans(scans.unread, left_out, unmatched=scans.unmatched)


def read_split(path: str | Path) -> dict[str, str]:
    """The part of each patient, from a CSV file with the columns patient, split.

    Raises:
        ValueError: it cannot be read, or gives a patient two parts.
    """
    remedy = "give a CSV file with the columns patient, split (train, val or test)"
    split: dict[str, str] = {}
    for line, row in doors.read_rows(Path(path), {"patient": str, "split": str}, remedy):
        if split.setdefault(row["patient"], row["split"]) != row["split"]:
            raise ValueError(f"{path} line {line}: this patient has another split above; {remedy}")
    return split
