"""The check before training: every row and every key slice of a folder in DeepLesion's layout, and
what is wrong with them.

A fault is what would stop a training or make its result wrong: a row that cannot be read, an absent
or damaged image, a patient in two splits. A note is what one should know: a smaller set than the
official one, missing neighbours, boxes that reach beyond their slice (the official table has such).
The report names slices as the table does, and holds no path, no age and no sex.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ubr.pretrain.data.deeplesion.images import IMAGES, load_hu, slice_path
from ubr.pretrain.data.deeplesion.table import (
    SPLITS,
    TABLE,
    KeySlice,
    merge_rows,
    parse_row,
    table_rows,
    without_noisy,
)
from ubr.weights.common.progress import progress_bar

from .coco import write_coco
from .diagnostics import OFFICIAL, Diagnostics, Report
from .slices import View, plan

NEIGHBOURS = View(channels=3)
"""The neighbours that are looked for: one at 2 mm on either side."""


@dataclass(frozen=True)
class KeyImage:
    """What reading a key slice's file gave.

    size_px: (width, height). digest: of its pixels. absent: there is no file. error: why it could
    not be read. filled: how many channels lack a neighbour.
    """

    size_px: tuple[int, int] = (0, 0)
    digest: str = ""
    absent: bool = False
    error: str = ""
    filled: int = 0

    @property
    def ok(self) -> bool:
        return not self.absent and not self.error


def check(
    folder: Path | str,
    *,
    splits: Collection[str] | None = None,
    coco: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Read all rows and key slices of a folder and report what is wrong with them.

    Args:
        folder: in DeepLesion's layout.
        splits: read the images of these splits; None for all that the table has. Rows of all splits
            are checked.
        coco: folder into which `<split>.json` are written for COCO's tools: the readable images
            without noisy boxes.
        workers: threads that read images; None for one per core, at most 16.
        progress: show a progress bar.

    Raises:
        ValueError: there is no table, it is not DeepLesion's, or a split is unknown.
    """
    folder = Path(folder)
    if unknown := sorted(set(splits or ()) - set(SPLITS)):
        raise ValueError(f"splits must be of {', '.join(SPLITS)}, got {unknown[0]!r}")
    diagnostics = Diagnostics()
    keys = _check_rows(folder, diagnostics)
    _check_patients(keys, diagnostics)
    chosen = [k for k in keys if splits is None or k.split in splits]
    if not chosen:
        diagnostics.add(
            "fault",
            "no images in the chosen splits",
            [", ".join(splits or SPLITS)],
            f"look at Train_Val_Test in {TABLE}",
        )
    images = _read_images(folder / IMAGES, chosen, workers, progress)
    _check_images(chosen, images, diagnostics)
    _check_twins(chosen, images, diagnostics)
    counts = _count(chosen)
    _check_counts(counts, diagnostics)
    if coco is not None:
        write_coco(coco, chosen, {name: i.size_px for name, i in images.items() if i.ok})
    digest = hashlib.sha256((folder / TABLE).read_bytes())
    for name in sorted(images):
        digest.update(f"{name} {images[name].digest}".encode())
    return Report(counts, diagnostics.of("fault"), diagnostics.of("note"), digest.hexdigest())


def _check_rows(folder: Path, diagnostics: Diagnostics) -> list[KeySlice]:
    """Merge all rows that can be read by image."""
    found = []
    for line, row in table_rows(folder):
        try:
            found.append((line, parse_row(row)))
        except ValueError as error:
            diagnostics.add(
                "fault",
                "rows that cannot be read",
                [f"line {line}: {error}"],
                "correct or remove them",
            )
    keys, contradictions = merge_rows(found)
    diagnostics.add("fault", "rows that contradict their image's first row", contradictions)
    repeated = [
        f"{k.name} {edges}"
        for k in keys
        for edges, n in Counter(b.edges for b in k.boxes).items()
        if n > 1
    ]
    diagnostics.add("note", "boxes that stand in two rows", repeated, "each counts twice in recall")
    diagnostics.add(
        "note",
        "boxes marked as noisy",
        [k.name for k in keys for b in k.boxes if b.noisy],
        "left out unless asked for",
    )
    return keys


def _check_patients(keys: list[KeySlice], diagnostics: Diagnostics) -> None:
    """A patient belongs to one split, and a folder to the patient whose number it bears."""
    where: dict[int, set[str]] = defaultdict(set)
    for key in keys:
        where[int(key.folder.split("_")[0])].add(key.split)
        where[key.patient].add(key.split)
    leaks = [
        f"{patient:06d} in {' and '.join(s for s in SPLITS if s in found)}"
        for patient, found in where.items()
        if len(found) > 1
    ]
    diagnostics.add(
        "fault", "patients in more than one split", leaks, "a test on them says nothing"
    )
    mixed = [
        f"{k.name} is said to be of patient {k.patient}"
        for k in keys
        if int(k.folder.split("_")[0]) != k.patient
    ]
    diagnostics.add(
        "fault", "images in another patient's folder", mixed, "correct File_name or Patient_index"
    )


def _read_images(
    images: Path, keys: list[KeySlice], workers: int | None, progress: bool
) -> dict[str, KeyImage]:
    """Read the files of all key slices; the result is by `KeySlice.name`."""
    listed = {
        f: frozenset(p.name for p in (images / f).glob("*.png")) for f in {k.folder for k in keys}
    }

    def read_image(key: KeySlice) -> KeyImage:
        filled = sum(
            c.filled for c in plan(key, NEIGHBOURS, lambda i: f"{i:03d}.png" in listed[key.folder])
        )
        path = slice_path(images, key.folder, key.index)
        if path.name not in listed[key.folder]:
            return KeyImage(absent=True, filled=filled)
        try:
            hu = load_hu(path)
        except ValueError as error:
            return KeyImage(error=str(error), filled=filled)
        return KeyImage(
            (hu.shape[1], hu.shape[0]), hashlib.sha256(hu.tobytes()).hexdigest(), filled=filled
        )

    # Pillow and hashlib let other threads run while they work.
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        read = progress_bar(
            pool.map(read_image, keys),
            total=len(keys),
            title="check",
            unit="images",
            show=progress,
        )
        return {key.name: image for key, image in zip(keys, read, strict=True)}


def _check_images(
    keys: list[KeySlice], images: dict[str, KeyImage], diagnostics: Diagnostics
) -> None:
    """Compare the files with the table."""
    for key in keys:
        got = images[key.name]
        if got.absent:
            diagnostics.add(
                "fault",
                "absent images",
                [key.name],
                "get their archives, or train without them: unreadable='skip'",
            )
        if got.error:
            diagnostics.add("fault", "images that cannot be read", [got.error])
        if not got.ok:
            continue
        if got.size_px != key.size_px:
            places = [
                f"{key.name} is {got.size_px[0]} x {got.size_px[1]}, Image_size {key.size_px[0]} "
                f"x {key.size_px[1]}"
            ]
            diagnostics.add(
                "fault",
                "images of another size than in the table",
                places,
                "boxes are in pixels of the table's size",
            )
        for box in key.boxes:
            if box.x2 <= 0 or box.y2 <= 0 or box.x1 >= got.size_px[0] or box.y1 >= got.size_px[1]:
                diagnostics.add(
                    "fault",
                    "boxes outside their image",
                    [f"{key.name} {box.edges}"],
                    "correct or remove them",
                )
            elif min(box.x1, box.y1) < 0 or box.x2 > got.size_px[0] or box.y2 > got.size_px[1]:
                diagnostics.add(
                    "note",
                    "boxes that reach beyond their image",
                    [key.name],
                    "cut at its edge in training",
                )
        if got.filled:
            diagnostics.add(
                "note",
                "images without a neighbour at 2 mm",
                [key.name],
                "with three slices the nearest one stands in",
            )


def _check_twins(
    keys: list[KeySlice], images: dict[str, KeyImage], diagnostics: Diagnostics
) -> None:
    """Look for images that are equal pixel by pixel."""
    same: dict[str, list[KeySlice]] = defaultdict(list)
    for key in keys:
        if images[key.name].ok:
            same[images[key.name].digest].append(key)
    for twins in same.values():
        if len(twins) > 1:
            names = [" = ".join(k.name for k in twins)]
            if len({k.split for k in twins}) > 1:
                diagnostics.add(
                    "fault", "equal images in two splits", names, "a test on them says nothing"
                )
            else:
                diagnostics.add("note", "equal images under two names", names)


def _count(keys: list[KeySlice]) -> dict[str, dict[str, int]]:
    counts = {}
    for split in SPLITS:
        own = [k for k in keys if k.split == split]
        clean = without_noisy(own)
        if own:
            counts[split] = {
                "images": len(own),
                "boxes": sum(len(k.boxes) for k in own),
                "images_clean": len(clean),
                "boxes_clean": sum(len(k.boxes) for k in clean),
            }
    return counts


def _check_counts(counts: dict[str, dict[str, int]], diagnostics: Diagnostics) -> None:
    """Compare the numbers of images and boxes with the official ones."""
    for split, n in counts.items():
        images, boxes = OFFICIAL[split]
        if (n["images"], n["boxes"]) != (images, boxes):
            diagnostics.add(
                "note",
                f"split {split} is not the official one",
                [f"{n['images']} of {images} images, {n['boxes']} of {boxes} boxes"],
                "numbers do not compare with published ones",
            )
