"""The check before training: every row of a folder in DeepLesion's layout and every slice that the
view reads, and what is wrong with them.

`check` reports it, and `refuse_faults` applies it to a training before its folder is made. A
fault is what would stop a training or make its result wrong: a row that cannot be read, an absent
or damaged image, pixels that are not HU, a patient in two splits. A note is worth knowing: a
smaller set than the official one, missing neighbours, boxes that reach beyond their slice (the
official table has such). The report names slices as the table does, and holds no path, no age and
no sex.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ubr.pretrain.data.deeplesion.images import IMAGES
from ubr.pretrain.data.deeplesion.table import (
    SPLITS,
    TABLE,
    Box,
    KeySlice,
    merge_rows,
    parse_row,
    table_rows,
    without_noisy,
)
from ubr.weights.common.claims import claiming

from .coco import write_coco
from .diagnostics import OFFICIAL, Diagnostics, Report
from .pixels import KeyImage, read_images
from .recipes import small
from .slices import View

if TYPE_CHECKING:
    from .dataset import DeepLesion

TRAINED = ("train", "val")
"""The splits that a training needs."""
SKIPPED = ("absent images", "images that cannot be read", "neighbours that cannot be read")
"""Faults of single images, which a training with `unreadable` 'skip' leaves out."""
THINNEST_PX = 1.0
"""What a box must measure inside its image; a sliver has no area in float32."""


@claiming("coco", fills=True)
def check(
    folder: Path | str,
    *,
    splits: Collection[str] | None = None,
    view: View | None = None,
    coco: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Read all rows of a folder, and all slices that a view takes, and report what is wrong.

    Args:
        folder: in DeepLesion's layout.
        splits: read the images of these splits; None for all that the table has, of which training
            needs train and val. Rows of all splits are checked.
        view: that of the training, which says which neighbours are read; None for the recipe
            `small`'s.
        coco: a folder for a `<split>.json` per split, for COCO's tools: the readable images
            without noisy boxes.
        workers: threads that read images; by default one per core, at most 16.
        progress: show a progress bar.

    Raises:
        ValueError: there is no table, it is not DeepLesion's, or a split is unknown.
    """
    folder, view = Path(folder), view or small().view
    if unknown := sorted(set(splits or ()) - set(SPLITS)):
        raise ValueError(f"splits must be among {', '.join(SPLITS)}, got {unknown[0]!r}")
    diagnostics = Diagnostics()
    keys = _check_rows(folder, diagnostics)
    chosen = [k for k in keys if splits is None or k.split in splits]
    needed = [s for s in SPLITS if s in (TRAINED if splits is None else splits)]
    images = _check_slices(folder, chosen, needed, view, diagnostics, workers, progress)
    counts = _count(chosen)
    _check_counts(counts, diagnostics)
    if coco is not None:
        write_coco(coco, chosen, {name: i.size_px for name, i in images.items() if i.ok})
    digest = hashlib.sha256((folder / TABLE).read_bytes())
    for name in sorted(images):
        digest.update(f"{name} {images[name].digest}".encode())
    return Report(counts, diagnostics.of("fault"), diagnostics.of("note"), digest.hexdigest())


def refuse_faults(*sides: DeepLesion, workers: int | None = None, progress: bool = True) -> None:
    """Refuse to train on what `check` calls a fault.

    All rows of the sides' tables are checked, and the images that the sides hold. It takes as long
    as reading each of their slices once: about 5 ms of one core for 512 x 512 pixels.

    Raises:
        ValueError: there is a fault, except for images that a side with `unreadable` 'skip' leaves
            out.
    """
    for folder in {side.folder: None for side in sides}:
        own = [side for side in sides if side.folder == folder]
        diagnostics = Diagnostics()
        names = {key.name for side in own for key in side.keys}
        chosen = [key for key in _check_rows(folder, diagnostics) if key.name in names]
        needed = [side.split for side in own]
        _check_slices(folder, chosen, needed, own[0].view, diagnostics, workers, progress)
        skipped = SKIPPED if all(side.unreadable == "skip" for side in own) else ()
        faults = [fault for fault in diagnostics.of("fault") if fault.what not in skipped]
        if faults:
            raise ValueError(
                f"the data have {len(faults)} kinds of faults, the first: {faults[0].line()}; "
                "`ubr-detect check` lists them all"
            )


def _check_slices(
    folder: Path,
    chosen: Sequence[KeySlice],
    needed: Sequence[str],
    view: View,
    diagnostics: Diagnostics,
    workers: int | None,
    progress: bool,
) -> dict[str, KeyImage]:
    """Read the files of key slices and look for all faults that are not a single row's."""
    images = read_images(folder / IMAGES, chosen, view, workers, progress)
    for key in chosen:
        _check_image(key, images[key.name], view, diagnostics)
    _check_twins(chosen, images, diagnostics)
    _check_emptiness(chosen, images, needed, diagnostics)
    return images


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
    diagnostics.add("note", "boxes listed in two rows", repeated, "each counts twice in recall")
    diagnostics.add(
        "note",
        "boxes marked as noisy",
        [k.name for k in keys for b in k.boxes if b.noisy],
        "left out unless asked for",
    )
    _check_patients(keys, diagnostics)
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
        "fault", "patients in more than one split", leaks, "testing on them is meaningless"
    )
    mixed = [
        f"{k.name} is attributed to patient {k.patient}"
        for k in keys
        if int(k.folder.split("_")[0]) != k.patient
    ]
    diagnostics.add(
        "fault", "images in another patient's folder", mixed, "correct File_name or Patient_index"
    )


def _check_image(key: KeySlice, got: KeyImage, view: View, diagnostics: Diagnostics) -> None:
    """Compare the files of a key slice with the table and with what a view needs."""
    skip = "or train without them: unreadable='skip'"
    if got.absent:
        advice = f"get their archives, {skip}"
        diagnostics.add("fault", "absent images", [key.name], advice)
    if got.error:
        diagnostics.add("fault", "images that cannot be read", [got.error])
    if got.neighbour_error:
        advice = f"get them again, {skip}"
        diagnostics.add("fault", "neighbours that cannot be read", [got.neighbour_error], advice)
    if not got.ok:
        return
    if got.strange:
        diagnostics.add(
            "fault",
            "slices whose pixels are not HU + 32768",
            [got.strange],
            "write HU + 32768 as 16-bit grey without a window, or take DeepLesion's own PNG",
        )
    if got.size_px != key.size_px:
        places = [
            f"{key.name} is {got.size_px[0]} x {got.size_px[1]}, Image_size {key.size_px[0]} "
            f"x {key.size_px[1]}"
        ]
        diagnostics.add(
            "fault",
            "images whose size differs from the table's",
            places,
            "boxes are in pixels of the table's size",
        )
    for box in key.boxes:
        _check_box(key, box, got.size_px, diagnostics)
    if got.filled:
        diagnostics.add(
            "note",
            f"images without a neighbour at {view.distance_mm:g} mm",
            [key.name],
            "with three slices the nearest one stands in",
        )


def _check_box(key: KeySlice, box: Box, size_px: tuple[int, int], diagnostics: Diagnostics) -> None:
    """What of a box lies in its image."""
    width = min(box.x2, size_px[0]) - max(box.x1, 0)
    height = min(box.y2, size_px[1]) - max(box.y1, 0)
    if width <= 0 or height <= 0:
        what, advice = "boxes outside their image", "correct or remove them"
        diagnostics.add("fault", what, [f"{key.name} {box.edges}"], advice)
    elif min(width, height) < THINNEST_PX:
        what = f"boxes with less than {THINNEST_PX:g} pixel inside their image"
        advice = "correct or remove them"
        diagnostics.add("fault", what, [f"{key.name} {box.edges}"], advice)
    elif min(box.x1, box.y1) < 0 or box.x2 > size_px[0] or box.y2 > size_px[1]:
        what = "boxes that reach beyond their image"
        diagnostics.add("note", what, [key.name], "cut at its edge in training")


def _check_twins(
    keys: Sequence[KeySlice], images: Mapping[str, KeyImage], diagnostics: Diagnostics
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
                    "fault", "equal images in two splits", names, "testing on them is meaningless"
                )
            else:
                diagnostics.add("note", "equal images under two names", names)


def _check_emptiness(
    keys: Sequence[KeySlice],
    images: Mapping[str, KeyImage],
    needed: Sequence[str],
    diagnostics: Diagnostics,
) -> None:
    """Each split that is needed must have an image, and one that can be used."""
    for split in needed:
        own = [key for key in keys if key.split == split]
        left = [key for key in without_noisy(own) if images[key.name].usable]
        if not own:
            diagnostics.add(
                "fault",
                "no images in the chosen splits",
                [split],
                f"look at Train_Val_Test in {TABLE}; training needs train and val",
            )
        elif not left:
            diagnostics.add(
                "fault",
                "splits without a usable image",
                [f"{split}, whose {len(own)} images cannot be read or have noisy boxes only"],
                "get their files again",
            )


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
                "results are not comparable with published ones",
            )
