"""Known lesions planted in any CT volumes and written in DeepLesion's own layout.

Detectors can be trained and tested on them without DeepLesion's 220 GB.

What is official: numbers start at one; a row is a lesion in a key slice; a box is the measurement's
extremes and 5 pixels more; slice numbers grow from head to foot; patients, not slices, are split
70/15/15. What differs: the type of a lesion is known in the training part too (-1 there in
DeepLesion); sex and age are empty; where pixels are larger than 1 mm the margin is 5 mm instead of
5 pixels, or it would dwarf the lesion; a lesion that a key slice of another one cuts has a row
there as well, so that no planted lesion is visible in a key slice without its box.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ubr.pretrain.data.deeplesion.images import IMAGES, save_hu, slice_path
from ubr.pretrain.data.deeplesion.table import COLUMNS, SPLITS, TABLE
from ubr.pretrain.data.scans import Scan, Scans
from ubr.pretrain.data.volume import Volume
from ubr.weights.common import disk
from ubr.weights.common.claims import claiming
from ubr.weights.common.progress import progress_bar
from ubr.weights.common.stored import values_sha256
from ubr.weights.common.working import Working

from .lesions import Lesion, plant_lesions
from .places import KINDS, find_places
from .rows import LESION_COLUMNS, LESIONS, lesion_rows, table_rows

Planting = tuple[NDArray[np.int16], list[Lesion]]
"""A planted volume with its lesions."""
SHOWN = 20
"""Reasons for leaving something out that are printed."""


@dataclass(frozen=True)
class Planted:
    """What `plant` wrote.

    kinds: lesions of each kind. empty: scans in which no lesion fits. left_out: the reason of each
    file or series that was not used; never its name. split: "train", "val" or "test" by the key of
    each patient with lesions; it is not written, as keys may be names.
    """

    path: Path
    patients: int
    scans: int
    images: int
    key_slices: int
    lesions: int
    boxes: int
    kinds: dict[str, int]
    empty: int
    left_out: tuple[str, ...]
    split: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in self.kinds.items())
        text = (
            f"{self.lesions} lesions ({kinds}), {self.boxes} boxes, {self.key_slices} key "
            f"slices of {self.patients} patients"
        )
        lines = [text]
        if self.empty:
            lines.append(f"{self.empty} scans in which no lesion fits")
        if self.patients < 3:
            lines.append(
                f"{self.patients} patients are too few for training, validation and test; give "
                "scans of at least 3"
            )
        alike = Counter(self.left_out)
        lines += [f"left out {count:6,} {reason}" for reason, count in alike.most_common(SHOWN)]
        if len(alike) > SHOWN:
            lines.append(f"left out for {len(alike) - SHOWN} more reasons")
        return "\n".join(lines)


@claiming("out", fills=True)
def plant(
    scans: Iterable[Scan],
    out: Path,
    *,
    per_scan: int = 6,
    studies: int = 1,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    split: Mapping[str, str] | None = None,
    whole: bool = False,
    progress: bool = True,
) -> Planted:
    """Plant lesions in scans and write them as a data set in DeepLesion's layout.

    A scan's lesions depend on the seed and the scan only, not on the order of scans; the same call
    gives the same bytes. Patients are numbered in the order of their first scan. Repeat an
    interrupted call to resume it; the table appears once all slices are there.

    Args:
        scans: volumes, each with a patient's key, from `planting.scans.find_scans` or
            `ubr.pretrain.data.scans`; one is in memory at a time. Scans of one patient stay in one
            split.
        out: a new folder, or one that the same call began.
        per_scan: lesions per scan, as far as they fit.
        studies: studies made from each scan, each with different lesions; they belong to the scan's
            patient.
        seed: another seed gives other lesions and another split.
        kinds: some of "nodule", "liver", "kidney", "node" (`ubr.downstream.planting.places`).
        split: "train", "val" or "test" by the key of each patient; by default 70/15/15 by the
            scans' content.
        whole: write every slice of each scan, not only those around key slices, and lesions.csv,
            which says where each lesion lies in space.
        progress: show a progress bar.

    Raises:
        ValueError: `out` is finished, or holds something else; per_scan or studies < 1; an unknown
            kind or split, or a patient without a split; no scan, or none in which a lesion
            fits.
    """
    for name, value in (("per_scan", per_scan), ("studies", studies)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(
            f"kinds must be some of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}"
        )
    if unknown := set((split or {}).values()) - set(SPLITS):
        raise ValueError(
            f"split must give {', '.join(SPLITS)} to each patient, got {sorted(unknown)[0]!r}"
        )
    settings = {
        **{"per_scan": per_scan, "studies": studies, "seed": seed, "kinds": list(kinds)},
        **{"split_sha256": split and values_sha256(dict(split)), "whole": whole},
    }
    working = Working(Path(out), settings, TABLE)
    if working.finished:
        working.tidy()
        raise ValueError(f"{out} is finished; give a new `out`")
    data = _DataSet(working, whole, studies)
    for scan in progress_bar(scans, title="plant", unit="scans", show=progress):
        if split is not None and scan.patient not in split:
            raise ValueError("a patient is not in `split`; assign a split to each patient")
        digest = scan_digest(scan.volume, seed)
        if data.is_new(digest):
            rng = np.random.default_rng(int(digest, 16))
            data.add(scan, digest, _planted(scan.volume, studies, per_scan, rng, kinds))
    return data.finish(kinds, _left_out(scans), split)


def _planted(
    volume: Volume, studies: int, count: int, rng: np.random.Generator, kinds: Sequence[str]
) -> Iterator[Planting]:
    """Yield a volume with lesions for each study, none where none fits."""
    places = find_places(volume.hu, volume.spacing_mm)
    for _ in range(studies):
        hu, lesions = plant_lesions(
            volume.hu, volume.spacing_mm, places, count=count, rng=rng, kinds=kinds
        )
        if not lesions:
            return
        yield hu, lesions


def scan_digest(volume: Volume, seed: int) -> str:
    """Digest of pixels, spacing and seed.

    The patient's key is not in it: a scan takes the same lesions whatever it is called.
    """
    digest = blake2b(
        f"{seed} {volume.hu.shape} {[round(s, 4) for s in volume.spacing_mm]}".encode(),
        digest_size=16,
    )
    digest.update(np.ascontiguousarray(volume.hu, "<i2").data)
    return digest.hexdigest()


def _left_out(scans: Iterable[Scan]) -> tuple[str, ...]:
    """The reason of each file or series that gave no scan."""
    if not isinstance(scans, Scans):
        return ()
    return tuple(one.reason for one in scans.left_out)


class _DataSet:
    """A data set while it is written: slices go to disk, rows wait for the split.

    What a scan gave is kept in `working`, so that a scan is planted once.
    """

    def __init__(self, working: Working, whole: bool, studies: int) -> None:
        self._working, self._whole, self._wanted = working, whole, studies
        self._rows: list[dict[str, Any]] = []
        self._lesions: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}
        self._studies: Counter[int] = Counter()
        self._ranks: dict[int, str] = {}
        self._seen: set[str] = set()
        self._images = self._repeated = self._empty = 0

    def is_new(self, digest: str) -> bool:
        """Whether no scan of the same pixels was seen before.

        Under two patients it would be on both sides of the split.
        """
        if digest in self._seen:
            self._repeated += 1
            return False
        self._seen.add(digest)
        return True

    def add(self, scan: Scan, digest: str, planted: Iterable[Planting]) -> None:
        """Write planted volumes as the next studies of a scan's patient, if that is not done."""
        patient = self._numbers.get(scan.patient, len(self._numbers) + 1)
        first = self._studies[patient] + 1
        if digest not in self._working.keys:
            made = self._written(scan.volume, (patient, first), planted)
            if made["studies"]:
                self._working.add(digest, made=np.array(json.dumps(made)))
        else:
            made = json.loads(str(self._working.read(digest, "made")["made"]))
            if made["first"] != [patient, first]:
                raise ValueError(
                    f"{self._working.folder} was begun with other scans; give the scans it was "
                    "begun with, or a new `out`"
                )
        self._empty += made["studies"] < self._wanted
        if not made["studies"]:
            return
        self._numbers[scan.patient] = patient
        self._ranks[patient] = min(digest, self._ranks.get(patient, digest))
        self._studies[patient] += made["studies"]
        self._images += made["images"]
        self._rows += made["rows"]
        self._lesions += made["lesions"]

    def _written(
        self, volume: Volume, first: tuple[int, int], planted: Iterable[Planting]
    ) -> dict[str, Any]:
        """Write the slices, and list the rows, as plain values."""
        made: dict[str, Any] = {"first": first, "studies": 0, "images": 0}
        made |= {"rows": [], "lesions": []}
        for number, (hu, lesions) in enumerate(planted):
            name = (first[0], first[1] + number, 1)
            made["studies"] += 1
            rows, needed = table_rows(lesions, hu.shape, volume.spacing_mm, name)
            made["rows"] += rows
            made["lesions"] += lesion_rows(lesions, hu.shape, volume.spacing_mm, name)
            shown = range(len(hu)) if self._whole else needed
            made["images"] += len(shown)
            self._write_slices("{:06d}_{:02d}_{:02d}".format(*name), hu, shown)
        return made

    def _write_slices(self, folder: str, hu: NDArray[np.int16], shown: Iterable[int]) -> None:
        self._working.begin()
        images = self._working.folder / IMAGES
        disk.make_folder(images)
        disk.sweep(images, claimed="*")
        shutil.rmtree(images / folder, ignore_errors=True)  # a killed process wrote it
        with disk.whole(images / folder) as part:
            part.mkdir()
            for z in shown:
                save_hu(slice_path(part.parent, folder, z + 1), hu[z], compress_level=2)

    def finish(
        self, kinds: Sequence[str], left_out: tuple[str, ...], given: Mapping[str, str] | None
    ) -> Planted:
        """Split the patients, write the tables and sum up.

        Raises:
            ValueError: no lesion was planted.
        """
        if self._repeated:
            left_out += (f"{self._repeated} scans: the same pixels as another scan",)
        if not self._rows:
            why = f"; {len(left_out)} left out, first: {left_out[0]}" if left_out else ""
            raise ValueError(
                f"nothing to write: none of {len(self._seen)} scans has room for a lesion of "
                f"{', '.join(kinds)}{why}; give CT of the torso in HU"
            )
        split = (
            {number: given[key] for key, number in self._numbers.items()}
            if given
            else _split(self._ranks)
        )
        rows = ({**r, "Train_Val_Test": SPLITS[split[r["Patient_index"]]]} for r in self._rows)
        with disk.scratch(self._working.path, "tables") as made:
            _write_csv(made / TABLE, COLUMNS, rows)
            if self._whole:
                _write_csv(made / LESIONS, LESION_COLUMNS, self._lesions)
            self._working.finish(made, [LESIONS, TABLE] if self._whole else [TABLE])
        counts = Counter(lesion["kind"] for lesion in self._lesions)
        return Planted(
            path=self._working.folder,
            patients=len(self._numbers),
            scans=self._studies.total(),
            images=self._images,
            key_slices=len({row["File_name"] for row in self._rows}),
            lesions=counts.total(),
            boxes=len(self._rows),
            kinds={kind: counts[kind] for kind in KINDS if kind in kinds},
            empty=self._empty,
            left_out=left_out,
            split={key: split[patient] for key, patient in self._numbers.items()},
        )


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)


def _split(ranks: dict[int, str]) -> dict[int, str]:
    """Split the patients 70/15/15 by the rank of their digests.

    With three or more patients no part is empty.
    """
    order = sorted(ranks, key=lambda patient: ranks[patient])
    n = len(order)
    held = max(1, round(0.15 * n)) if n >= 3 else 0
    parts = ["val"] * (held or n - 1) + ["test"] * held
    parts += ["train"] * (n - len(parts))
    return dict(zip(order, parts, strict=True))
