"""Boxes in COCO's format, for COCO's tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .tables import SeriesFindings

COCO = "boxes.json"


@contextmanager
def coco_writer(path: Path) -> Iterator[Callable[[SeriesFindings], None]]:
    """Write a file of COCO's, a series at a time: yields what adds one.

    Images are the slices that were looked at, annotations their boxes, each with its `score` and
    the number of its `finding`, null for none.
    """
    beside = path.with_suffix(".annotations")
    images, annotations = 0, 0
    with path.open("w", encoding="utf-8") as file, beside.open("w+", encoding="utf-8") as later:
        description = "boxes of a lesion detector, 0-based edges"
        about = {"info": {"description": description}, "categories": [{"id": 1, "name": "lesion"}]}
        file.write(json.dumps(about)[:-1] + ', "images": [')

        def add(one: SeriesFindings) -> None:
            nonlocal images, annotations
            height, width = one.size
            ids = {}
            for index in one.slices:
                ids[index] = images = images + 1
                file.write(",\n" * (images > 1))
                name = {"file_name": f"{one.key}/{index:03d}", "series": one.key, "index": index}
                file.write(json.dumps({"id": images, **name, "width": width, "height": height}))
            for row, number in enumerate(one.numbers().tolist()):
                annotations += 1
                x1, y1, x2, y2 = one.boxes.edges[row].tolist()
                box = {
                    "id": annotations,  # pycocotools takes 0 for no match
                    "image_id": ids[int(one.boxes.index[row])],
                    "category_id": 1,
                    "bbox": [round(v, 4) for v in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 4),
                    "iscrowd": 0,
                    "score": round(float(one.boxes.scores[row]), 6),
                    "finding": number or None,
                }
                later.write(",\n" * (annotations > 1) + json.dumps(box))

        yield add
        file.write('], "annotations": [')
        later.seek(0)
        for line in later:
            file.write(line)
        file.write("]}\n")
    beside.unlink()
