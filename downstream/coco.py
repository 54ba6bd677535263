"""Annotations in COCO's format, for COCO's tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ubr.pretrain.data.deeplesion.table import LESION_TYPES, SPLITS, KeySlice, without_noisy
from ubr.weights.common import disk


def write_coco(
    out: Path, keys: Sequence[KeySlice], sizes_px: Mapping[str, tuple[int, int]]
) -> None:
    """Write one `<split>.json` per split, without noisy boxes.

    An image's id is its place in `read_table` for the split, as `dataset.DeepLesion` counts.

    Args:
        out: folder of the files.
        keys: key slices, in the order of the table.
        sizes_px: (width, height) by name of the images that can be read; others are left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, key in enumerate(without_noisy(k for k in keys if k.split == split)):
            if key.name not in sizes_px:
                continue
            width, height = sizes_px[key.name]
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
        if images:
            data = {
                "info": {
                    "description": f"DeepLesion {split}, boxes 0-based, noisy ones left out",
                    "lesion_types": {-1: "unknown", **LESION_TYPES},
                },
                "images": images,
                "annotations": annotations,
                "categories": [{"id": 1, "name": "lesion"}],
            }
            disk.write_text(out / f"{split}.json", json.dumps(data))
