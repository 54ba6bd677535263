"""The check before training: every row and every key slice of a folder in DeepLesion's layout, and
what is wrong with them.

A fault is what would stop a training or make its result wrong: a row that cannot be read, an absent
or damaged image, a patient in two splits. A note is what one should know: a smaller set than the
official one, missing neighbours, boxes that reach beyond their slice (the official table has such).
The report names slices as the table does, and holds no path, no age and no sex.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deeplesion import (
    IMAGES,
    LESION_TYPES,
    SPLITS,
    TABLE,
    KeySlice,
    grouped,
    parse,
    table_rows,
    without_noisy,
)
from .slices import View, load_hu, plan, slice_path

OFFICIAL = {"train": (22496, 22919), "val": (4793, 4889), "test": (4831, 4927)}
"""Images and boxes of the whole data set, noisy ones included."""
NEIGHBOURS = View(channels=3)
"""The neighbours that are looked for: one at 2 mm on either side."""
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """What was found, how often, the first few places, and what to do."""

    what: str
    count: int
    examples: tuple[str, ...] = ()
    advice: str = ""

    def line(self) -> str:
        """One line."""
        places = (
            f": {'; '.join(self.examples)}{' ...' if self.count > len(self.examples) else ''}"
            if self.examples
            else ""
        )
        return f"{self.what} ({self.count}){places}{f' -> {self.advice}' if self.advice else ''}"


@dataclass(frozen=True)
class Report:
    """What a folder holds.

    counts: split -> images, boxes, and the same without noisy boxes. faults and notes: see the
    module. digest: of the table's bytes and of the pixels of all key slices that were read, so that
    two copies can be compared.
    """

    counts: dict[str, dict[str, int]]
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    digest: str

    @property
    def ok(self) -> bool:
        """Whether a training may start."""
        return not self.faults

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        lists = {
            kind: [
                {"what": f.what, "count": f.count, "examples": list(f.examples), "advice": f.advice}
                for f in found
            ]
            for kind, found in (("faults", self.faults), ("notes", self.notes))
        }
        official = {s: {"images": OFFICIAL[s][0], "boxes": OFFICIAL[s][1]} for s in self.counts}
        return {
            "ok": self.ok,
            "counts": self.counts,
            "official": official,
            **lists,
            "digest": self.digest,
        }

    def table(self) -> str:
        """Text: counts a split beside the official ones, then faults, then notes."""
        heads = ("split", "images", "boxes", "clean images", "clean boxes", "official")
        rows: list[tuple[str, ...]] = [heads]
        for split, n in self.counts.items():
            values = (str(n[k]) for k in ("images", "boxes", "images_clean", "boxes_clean"))
            rows.append((split, *values, f"{OFFICIAL[split][0]} / {OFFICIAL[split][1]}"))
        widths = [max(len(r[i]) for r in rows) for i in range(len(heads))]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows
        ]
        lines += [f"FAULT  {f.line()}" for f in self.faults] + [
            f"note   {f.line()}" for f in self.notes
        ]
        return "\n".join([*lines, "ready to train" if self.ok else "not ready to train"])


class _Findings:
    """Faults and notes as they come: (kind, what, advice) -> places."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[str]] = defaultdict(list)

    def add(self, kind: str, what: str, places: Iterable[str], advice: str = "") -> None:
        self._found[kind, what, advice].extend(places)

    def of(self, kind: str) -> tuple[Finding, ...]:
        return tuple(
            Finding(what, len(places), tuple(places[:EXAMPLES]), advice)
            for (k, what, advice), places in self._found.items()
            if k == kind and places
        )


@dataclass(frozen=True)
class _Read:
    """What reading a key slice's file gave:

    its (width, height) and digest, or why not; and how many channels lack a neighbour.
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
    """Read all rows and key slices of a folder and report.

    Args:
        folder: in DeepLesion's layout.
        splits: whose images are read; all that the table has where none. Rows are checked for all
            splits.
        coco: folder into which `<split>.json` are written: the readable images without noisy boxes,
            for COCO's tools.
        workers: threads that read images; one a core where none, at most 16.
        progress: show a bar on a terminal.

    Raises:
        ValueError: where there is no table or it is none of DeepLesion's, and for an unknown split.
    """
    folder = Path(folder)
    if unknown := sorted(set(splits or ()) - set(SPLITS)):
        raise ValueError(f"splits must be of {', '.join(SPLITS)}, got {unknown[0]!r}")
    findings = _Findings()
    keys = _rows(folder, findings)
    _patients(keys, findings)
    chosen = [k for k in keys if splits is None or k.split in splits]
    if not chosen:
        findings.add(
            "fault",
            "no images in the chosen splits",
            [", ".join(splits or SPLITS)],
            f"look at Train_Val_Test in {TABLE}",
        )
    read = dict(
        zip(
            (k.name for k in chosen),
            _read_all(folder / IMAGES, chosen, workers, progress),
            strict=True,
        )
    )
    _images(chosen, read, findings)
    _twins(chosen, read, findings)
    counts = _counts(chosen)
    for split, n in counts.items():
        if (n["images"], n["boxes"]) != OFFICIAL[split]:
            found = (
                f"{n['images']} of {OFFICIAL[split][0]} images, {n['boxes']} of "
                f"{OFFICIAL[split][1]} boxes"
            )
            findings.add(
                "note",
                f"split {split} is not the official one",
                [found],
                "numbers do not compare with published ones",
            )
    if coco is not None:
        _write_coco(coco, chosen, read)
    digest = hashlib.sha256((folder / TABLE).read_bytes())
    for name in sorted(read):
        digest.update(f"{name} {read[name].digest}".encode())
    return Report(counts, findings.of("fault"), findings.of("note"), digest.hexdigest())


def _rows(folder: Path, findings: _Findings) -> list[KeySlice]:
    """All rows that can be read, put together by image."""
    found = []
    for line, row in table_rows(folder):
        try:
            found.append((line, parse(row)))
        except ValueError as error:
            findings.add(
                "fault",
                "rows that cannot be read",
                [f"line {line}: {error}"],
                "correct or remove them",
            )
    keys, contradictions = grouped(found)
    findings.add("fault", "rows that contradict their image's first row", contradictions)
    repeated = [
        f"{k.name} {edges}"
        for k in keys
        for edges, n in Counter(b.edges for b in k.boxes).items()
        if n > 1
    ]
    findings.add("note", "boxes that stand in two rows", repeated, "each counts twice in recall")
    findings.add(
        "note",
        "boxes marked as noisy",
        [k.name for k in keys for b in k.boxes if b.noisy],
        "left out unless asked for",
    )
    return keys


def _patients(keys: list[KeySlice], findings: _Findings) -> None:
    """A patient belongs to one split, and a folder to the patient it is named by."""
    where: dict[int, set[str]] = defaultdict(set)
    for key in keys:
        where[int(key.folder.split("_")[0])].add(key.split)
        where[key.patient].add(key.split)
    leaks = [
        f"{patient:06d} in {' and '.join(s for s in SPLITS if s in found)}"
        for patient, found in where.items()
        if len(found) > 1
    ]
    findings.add("fault", "patients in more than one split", leaks, "a test on them says nothing")
    mixed = [
        f"{k.name} is said to be of patient {k.patient}"
        for k in keys
        if int(k.folder.split("_")[0]) != k.patient
    ]
    findings.add(
        "fault", "images in another patient's folder", mixed, "correct File_name or Patient_index"
    )


def _read_all(
    images: Path, keys: list[KeySlice], workers: int | None, progress: bool
) -> list[_Read]:
    from tqdm import tqdm

    listed = {
        f: frozenset(p.name for p in (images / f).glob("*.png")) for f in {k.folder for k in keys}
    }

    def read(key: KeySlice) -> _Read:
        filled = sum(
            c.filled for c in plan(key, NEIGHBOURS, lambda i: f"{i:03d}.png" in listed[key.folder])
        )
        path = slice_path(images, key.folder, key.index)
        if path.name not in listed[key.folder]:
            return _Read(absent=True, filled=filled)
        try:
            hu = load_hu(path)
        except ValueError as error:
            return _Read(error=str(error), filled=filled)
        return _Read(
            (hu.shape[1], hu.shape[0]), hashlib.sha256(hu.tobytes()).hexdigest(), filled=filled
        )

    # Pillow and hashlib let other threads run while they work.
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        return list(
            tqdm(
                pool.map(read, keys),
                total=len(keys),
                unit="image",
                disable=None if progress else True,
            )
        )


def _images(keys: list[KeySlice], read: dict[str, _Read], findings: _Findings) -> None:
    """What the files say, against the table."""
    for key in keys:
        got = read[key.name]
        if got.absent:
            findings.add(
                "fault",
                "absent images",
                [key.name],
                "get their archives, or train without them: --unreadable skip",
            )
        if got.error:
            findings.add("fault", "images that cannot be read", [got.error])
        if not got.ok:
            continue
        if got.size_px != key.size_px:
            places = [
                f"{key.name} is {got.size_px[0]} x {got.size_px[1]}, Image_size {key.size_px[0]} "
                f"x {key.size_px[1]}"
            ]
            findings.add(
                "fault",
                "images of another size than in the table",
                places,
                "boxes are in pixels of the table's size",
            )
        for box in key.boxes:
            if box.x2 <= 0 or box.y2 <= 0 or box.x1 >= got.size_px[0] or box.y1 >= got.size_px[1]:
                findings.add(
                    "fault",
                    "boxes outside their image",
                    [f"{key.name} {box.edges}"],
                    "correct or remove them",
                )
            elif min(box.x1, box.y1) < 0 or box.x2 > got.size_px[0] or box.y2 > got.size_px[1]:
                findings.add(
                    "note",
                    "boxes that reach beyond their image",
                    [key.name],
                    "cut at its edge in training",
                )
        if got.filled:
            findings.add(
                "note",
                "images without a neighbour at 2 mm",
                [key.name],
                "with three slices the nearest one stands in",
            )


def _twins(keys: list[KeySlice], read: dict[str, _Read], findings: _Findings) -> None:
    """Images that are equal pixel by pixel."""
    same: dict[str, list[KeySlice]] = defaultdict(list)
    for key in keys:
        if read[key.name].ok:
            same[read[key.name].digest].append(key)
    for twins in same.values():
        if len(twins) > 1:
            names = [" = ".join(k.name for k in twins)]
            if len({k.split for k in twins}) > 1:
                findings.add(
                    "fault", "equal images in two splits", names, "a test on them says nothing"
                )
            else:
                findings.add("note", "equal images under two names", names)


def _counts(keys: list[KeySlice]) -> dict[str, dict[str, int]]:
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


def _write_coco(out: Path, keys: list[KeySlice], read: dict[str, _Read]) -> None:
    """`<split>.json` a split. An image's id is its place in `read_table` for the split, as
    `dataset.DeepLesion` counts.
    """
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        own = without_noisy(k for k in keys if k.split == split)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, key in enumerate(own):
            if not read[key.name].ok:
                continue
            width, height = read[key.name].size_px
            images.append(
                {"id": image_id, "file_name": f"{key.name}.png", "width": width, "height": height}
            )
            for box in key.boxes:
                w, h = box.x2 - box.x1, box.y2 - box.y1
                annotations.append(
                    {
                        "id": len(annotations) + 1,  # pycocotools takes 0 for no match
                        "image_id": image_id,
                        "category_id": 1,
                        "bbox": [round(v, 4) for v in (box.x1, box.y1, w, h)],
                        "area": round(w * h, 4),
                        "iscrowd": 0,
                        "lesion_type": box.lesion_type,
                    }
                )
        if not images:
            continue
        text = json.dumps(
            {
                "info": {
                    "description": f"DeepLesion {split}, boxes 0-based, noisy ones left out",
                    "lesion_types": {-1: "unknown", **LESION_TYPES},
                },
                "images": images,
                "annotations": annotations,
                "categories": [{"id": 1, "name": "lesion"}],
            }
        )
        (out / f"{split}.json").write_text(text, encoding="utf-8")
