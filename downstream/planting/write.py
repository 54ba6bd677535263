"""Known lesions planted in any CT volumes, written in DeepLesion's own layout: detectors can be
trained and tested without its 220 GB.

    OUT/
      DL_info.csv                                     the official 18 columns
      Images_png/<patient>_<study>_<series>/<slice>.png    16-bit grey, value = HU + 32768

What is official: numbers start at one; a row is a lesion in a key slice; a box is the measurement's
extremes and 5 pixels more; slice numbers grow from head to foot; patients, not slices, are split
70/15/15. What differs: the type of a lesion is known in the training part too (-1 there in
DeepLesion); sex and age are empty; where pixels are larger than 1 mm the margin is 5 mm instead of
5 pixels, or it would dwarf the lesion; a lesion that a key slice of another one cuts has a row
there as well, so that no planted lesion is visible in a key slice without its box.

The measurement is a radiologist's: the longest diameter of the lesion in the slice and the longest
across it, from the outer edges of the pixels that change by more than half of the contrast.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ..deeplesion import SPLITS
from ..slices import OFFSET
from .lesions import Lesion, plant_lesions
from .places import KINDS, Spacing, find_places

COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates", "Bounding_boxes",
    "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range", "Spacing_mm_px_",
    "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip
MARGIN = 5.0
"""Pixels, and at most as many mm, between a measurement's extremes and its box."""
RANGE_MM = 15.0
"""Neighbours that ship with a key slice, to either side; at least one."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT volume.

    hu: `[z, y, x]` int16, z superior to inferior, y anterior to posterior, x patient right to left.
    spacing_mm: (z, y, x). patient: any key; scans that share it stay on one side of the split; it
    is never written.

    Raises ValueError for another type or shape, or a spacing that is not positive.
    """

    hu: NDArray[np.int16]
    spacing_mm: Spacing
    patient: str

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16 or not self.hu.size:
            raise ValueError(
                f"hu must be int16 [z, y, x] and not empty, got {self.hu.dtype} "
                f"{list(self.hu.shape)}; convert it"
            )
        if len(self.spacing_mm) != 3 or not all(0.01 < s < 100 for s in self.spacing_mm):
            raise ValueError(
                f"spacing_mm must be three numbers (z, y, x) in 0.01..100, got {self.spacing_mm}"
            )


@dataclass(frozen=True)
class Planted:
    """What `plant` wrote. kinds: lesions of each kind. empty: scans in which no lesion fits.
    left_out: 'file: reason' a line.

    split: "train", "val" or "test" by the key of each patient with lesions. It is not written: keys
    may be names.
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
        text += f"\n{self.empty} scans in which no lesion fits" if self.empty else ""
        text += (
            f"\n{self.patients} patients are too few for training, validation and test; give "
            "scans of at least 3"
            if self.patients < 3
            else ""
        )
        return "\n".join([text, *(f"left out {line}" for line in self.left_out)])


def plant(
    scans: Iterable[Scan],
    out: Path,
    *,
    per_scan: int = 6,
    studies: int = 1,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    progress: bool = True,
) -> Planted:
    """Plant lesions in scans and write them as a data set in DeepLesion's layout.

    A scan's lesions are a function of the seed and the scan, whatever the order; the same call
    gives the same bytes. Patients are numbered in the order of their first scan. The folder appears
    under its name once it is complete.

    Args:
        scans: arrays, or `scans_of_folder(...)`; one is in memory at a time.
        out: the folder to make; it may exist if it is empty.
        per_scan: lesions a scan, as far as they fit.
        studies: how often each scan is planted, each time with other lesions, as another study of
            its patient.
        seed: another seed gives other lesions and another split.
        kinds: some of "nodule", "liver", "kidney", "node" (`ubr.downstream.planting.places`).
        progress: show a bar.

    Raises:
        ValueError: `out` is not empty; per_scan or studies < 1; an unknown kind; no scan, or none
            in which a lesion fits.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not an empty folder; name a new one")
    for name, value in (("per_scan", per_scan), ("studies", studies)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(
            f"kinds must be some of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        summary = _write_all(scans, making, out, (per_scan, studies), seed, kinds, progress)
        making.chmod(0o755)  # mkdtemp's is for its owner only
        making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return summary


def _write_all(
    scans: Iterable[Scan],
    making: Path,
    out: Path,
    counts: tuple[int, int],
    seed: int,
    kinds: Sequence[str],
    progress: bool,
) -> Planted:
    per_scan, times = counts
    rows: list[dict[str, Any]] = []
    lesions_of: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    studies: Counter[int] = Counter()
    ranks: dict[int, str] = {}
    seen: set[str] = set()
    images = empty = repeated = 0
    for scan in tqdm(scans, desc="plant", unit="scan", disable=not progress):
        digest = _digest(scan, seed)
        if digest in seen:  # under two patients it would sit on both sides of the split
            repeated += 1
            continue
        seen.add(digest)
        rng = np.random.default_rng(int(digest, 16))
        places = find_places(scan.hu, scan.spacing_mm)
        for _ in range(times):
            hu, lesions = plant_lesions(
                scan.hu, scan.spacing_mm, places, count=per_scan, rng=rng, kinds=kinds
            )
            if not lesions:
                empty += 1
                break
            patient = numbers.setdefault(scan.patient, len(numbers) + 1)
            ranks[patient] = min(digest, ranks.get(patient, digest))
            studies[patient] += 1
            found, slices = _rows(
                lesions, hu.shape, scan.spacing_mm, (patient, studies[patient], 1)
            )
            rows += found
            lesions_of.update(lesion.kind for lesion in lesions)
            _write_slices(
                making / "Images_png" / f"{patient:06d}_{studies[patient]:02d}_01", hu, slices
            )
            images += len(slices)
    left_out = tuple(scans.left_out) if isinstance(scans, FolderScans) else ()
    left_out += (f"{repeated} scans: the same pixels as another scan",) if repeated else ()
    if not rows:
        why = f"; {len(left_out)} left out, first {left_out[0]}" if left_out else ""
        raise ValueError(
            f"nothing to write: of {len(seen)} scans none takes a lesion of "
            f"{', '.join(kinds)}{why}; give CT of the trunk in HU"
        )
    split = _split(ranks)
    with (making / "DL_info.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({**row, "Train_Val_Test": split[row["Patient_index"]]} for row in rows)
    return Planted(
        path=out,
        patients=len(numbers),
        scans=studies.total(),
        images=images,
        key_slices=len({row["File_name"] for row in rows}),
        lesions=lesions_of.total(),
        boxes=len(rows),
        kinds={kind: lesions_of[kind] for kind in KINDS if kind in kinds},
        empty=empty,
        left_out=left_out,
        split={
            key: {number: name for name, number in SPLITS.items()}[split[patient]]
            for key, patient in numbers.items()
        },
    )


def _digest(scan: Scan, seed: int) -> str:
    """Of pixels, spacing and seed, not of the patient's key:

    the same scan takes the same lesions whatever it is called.
    """
    digest = blake2b(
        f"{seed} {scan.hu.shape} {[round(s, 4) for s in scan.spacing_mm]}".encode(), digest_size=16
    )
    digest.update(np.ascontiguousarray(scan.hu, "<i2").data)
    return digest.hexdigest()


def _split(ranks: dict[int, str]) -> dict[int, int]:
    """70/15/15 of the patients by the rank of their digests; with three or more patients no part is
    empty.
    """
    order = sorted(ranks, key=lambda patient: ranks[patient])
    n = len(order)
    held = max(1, round(0.15 * n)) if n >= 3 else 0
    parts = ["val"] * (held or n - 1) + ["test"] * held
    return {
        patient: SPLITS[part]
        for patient, part in zip(order, parts + ["train"] * (n - len(parts)), strict=True)
    }


# -----------------------------------------------------------------------------------------------------------------
# a scan's rows


def _rows(
    lesions: Sequence[Lesion],
    size: tuple[int, ...],
    spacing_mm: Spacing,
    name: tuple[int, int, int],
) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows of a scan (all but the split), and the slices that they need, in order."""
    reach = max(1, round(RANGE_MM / spacing_mm[0]))
    rows: list[dict[str, Any]] = []
    slices: set[int] = set()
    for z in sorted({lesion.key for lesion in lesions}):
        first, last = max(0, z - reach), min(size[0] - 1, z + reach)
        slices |= set(range(first, last + 1))
        for lesion in lesions:
            mask = lesion.on(z)
            if mask is None:
                continue
            ends = measure(mask) + np.array([lesion.origin[2], lesion.origin[1]]) + 1
            box = measured_box(ends, spacing_mm[1:], size[1:])
            location = (*(box[:2] + box[2:]) / 2 / (size[2], size[1]), z / max(1, size[0] - 1))
            rows.append(
                {
                    "File_name": "{:06d}_{:02d}_{:02d}_{:03d}.png".format(*name, z + 1),
                    "Patient_index": name[0],
                    "Study_index": name[1],
                    "Series_ID": name[2],
                    "Key_slice_index": z + 1,
                    "Measurement_coordinates": _text(ends.ravel()),
                    "Bounding_boxes": _text(box),
                    "Lesion_diameters_Pixel_": _text(
                        np.linalg.norm(ends[0::2] - ends[1::2], axis=1)
                    ),
                    "Normalized_lesion_location": _text(location),
                    "Coarse_lesion_type": lesion.coarse_type,
                    "Possibly_noisy": 0,
                    "Slice_range": f"{first + 1}, {last + 1}",
                    "Spacing_mm_px_": _text((spacing_mm[2], spacing_mm[1], spacing_mm[0])),
                    "Image_size": f"{size[2]}, {size[1]}",
                    "DICOM_windows": "-1500, 500" if lesion.kind == "nodule" else "-175, 275",
                    "Patient_gender": "",
                    "Patient_age": "",
                }
            )
    return rows, sorted(slices)


def measure(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The two diameters of a lesion in a slice: `[4, 2]` (x, y) ends of the longest, then of the
    longest across it.

    Coordinates are those of `ubr.downstream.deeplesion`: edges, column i of the mask `[y, x]`
    reaches from i to i + 1.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    y, x = np.nonzero(mask)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    points = (np.stack([x, y], 1)[:, None] + corners).reshape(-1, 2)
    hull = points[ConvexHull(points).vertices]
    apart = cdist(hull, hull)
    a, b = np.unravel_index(apart.argmax(), apart.shape)
    along = (hull[b] - hull[a]) / apart[a, b]
    across = np.array([-along[1], along[0]])
    middles = np.stack([x, y], 1) + 0.5
    t, s = middles @ along, middles @ across
    # Chords a pixel wide across the long diameter; each reaches half a pixel beyond the middles of
    # its outermost pixels.
    bins = np.rint(t - t.min()).astype(int)
    high, low = np.full(bins.max() + 1, -np.inf), np.full(bins.max() + 1, np.inf)
    np.maximum.at(high, bins, s)
    np.minimum.at(low, bins, s)
    widest = int((high - low).argmax())
    at = along * (t.min() + widest)
    return np.stack(
        [hull[a], hull[b], at + across * (low[widest] - 0.5), at + across * (high[widest] + 0.5)]
    )


def measured_box(
    ends: NDArray[np.float64], pixel_mm: Sequence[float], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """x1, y1, x2, y2 of the official box of a measurement (1-based), within the image.

    pixel_mm and size: (y, x).
    """
    margin = np.minimum(MARGIN, MARGIN / np.array([pixel_mm[1], pixel_mm[0]]))
    low, high = ends.min(0) - margin, ends.max(0) + margin
    return np.concatenate([np.maximum(low, 1), np.minimum(high, [size[1] + 1, size[0] + 1])])


def _text(values: Iterable[float]) -> str:
    """Six digits, as the official table writes them."""
    return ", ".join(f"{float(v):.6g}" for v in values)


def _write_slices(folder: Path, hu: NDArray[np.int16], slices: Sequence[int]) -> None:
    folder.mkdir(parents=True)
    for z in slices:
        stored = (hu[z].astype(np.int32) + OFFSET).astype(np.uint16)
        Image.fromarray(stored).save(folder / f"{z + 1:03d}.png", compress_level=2)


# ---------------------------------------------------------------------------------------------------------------
# scans of a folder


class FolderScans:
    """The scans of a folder, read one at a time; made by `scans_of_folder`.

    left_out: 'file: reason' of those that were not usable.
    """

    def __init__(
        self, files: Sequence[Path], patients: dict[Path, str], rows: Sequence[Path]
    ) -> None:
        self._files, self._patients, self._rows = files, patients, rows
        self.left_out: list[str] = []

    def __len__(self) -> int:
        return len(self._files) + len(self._rows)

    def patients(self) -> dict[Path, str]:
        """The key of each NIfTI file's patient, as its `Scan` has it."""
        return {path: self._patients.get(path.resolve(), f"file {path}") for path in self._files}

    def __iter__(self) -> Iterator[Scan]:
        self.left_out, patients = [], self.patients()
        for path in (*self._files, *self._rows):
            try:
                yield _of_store(path) if path.suffix == ".json" else _of_nifti(path, patients[path])
            except MemoryError:
                raise
            except Exception as error:  # nibabel and blosc2 raise whatever the broken bytes lead to
                reason = (
                    str(error).splitlines()[0]
                    if isinstance(error, ValueError) and str(error)
                    else type(error).__name__
                )
                self.left_out.append(f"{path.name}: {reason}")


def scans_of_folder(folder: Path, patients: Path | None = None) -> FolderScans:
    """NIfTI files (.nii, .nii.gz) below a folder, or the series of a store made by `ubr-pretrain
    ingest`, in the order of their names.

    A NIfTI file is a patient of its own unless a table with the columns `file` and `patient` says
    otherwise: `patients`, or catalog.csv in the folder or its parent. `file` is relative to the
    table's folder or to `folder`.

    Raises ValueError for a folder without either, or a table that cannot be used. Files that cannot
    be read are left out and named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give one with NIfTI files, or a store")
    if (folder / "store.json").is_file():
        rows = sorted(
            p for p in (folder / "series").glob("*.json") if not p.name.endswith(".left.json")
        )
        if not rows:
            raise ValueError(f"{folder} is a store without series; ingest CT into it first")
        return FolderScans([], {}, rows)
    files = sorted(
        p for p in folder.rglob("*") if p.name.lower().endswith((".nii", ".nii.gz")) and p.is_file()
    )
    if not files:
        raise ValueError(
            f"{folder} holds no .nii or .nii.gz file and is no store; convert the scans to "
            "NIfTI, or ingest them"
        )
    table = patients or next(
        (p for p in (folder / "catalog.csv", folder.parent / "catalog.csv") if p.is_file()), None
    )
    return FolderScans(files, _patients(Path(table), folder) if table else {}, [])


def _patients(table: Path, folder: Path) -> dict[Path, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{table} cannot be read ({type(error).__name__}); give a CSV table with the columns "
            "file, patient"
        ) from None
    if not rows or not {"file", "patient"} <= set(rows[0]):
        raise ValueError(
            f"{table} has the columns {', '.join(rows[0]) if rows else '(no rows)'}; it needs "
            "file, patient"
        )
    return {
        (base / row["file"]).resolve(): row["patient"]
        for row in rows
        if row["patient"]
        for base in (table.parent, folder)
    }


def _of_nifti(path: Path, patient: str) -> Scan:
    """Raises ValueError for what is not one 3-D volume of numbers, or does not say how it lies in
    the patient.
    """
    import nibabel as nib

    image: Any = nib.load(path)
    if len(image.shape) < 3 or np.prod(image.shape[3:]) != 1:
        raise ValueError(f"{len(image.shape)}-D {list(image.shape)}, not one 3-D volume")
    if image.header.get_data_dtype().kind not in "iuf":
        raise ValueError("values are colours or complex, not one number a voxel")
    if not int(image.header["sform_code"]) and not int(image.header["qform_code"]):
        raise ValueError(
            "the header does not say how the image lies in the patient (sform and qform codes "
            "are 0)"
        )
    orientation: Any = nib.orientations
    turn = orientation.ornt_transform(
        orientation.io_orientation(image.affine), orientation.axcodes2ornt(("L", "P", "I"))
    )
    values = np.asanyarray(
        image.dataobj.get_scaled(np.float32) if image.dataobj.slope != 1 else image.dataobj
    )
    values = orientation.apply_orientation(values.reshape(values.shape[:3]), turn).T
    if values.dtype != np.int16:
        values = (
            np.rint(np.nan_to_num(values, nan=-1024, posinf=32767, neginf=-1024))
            .clip(-32768, 32767)
            .astype(np.int16)
        )
    mm = np.linalg.norm(image.affine[:3, :3], axis=0)[np.argsort(turn[:, 0])]
    return Scan(np.ascontiguousarray(values), (float(mm[2]), float(mm[1]), float(mm[0])), patient)


def _of_store(row_file: Path) -> Scan:
    import blosc2

    row = json.loads(row_file.read_text("utf-8"))
    if row["status"] != "taken":
        raise ValueError(f"status {row['status']!r}, not 'taken'")
    pixels = blosc2.open(str(row_file.with_suffix(".b2nd")), mode="r")
    z, y, x = (float(row[f"spacing_{axis}_mm"]) for axis in "zyx")
    return Scan(np.asarray(pixels[:], np.int16), (z, y, x), f"store {row['patient']}")
