"""Where the body is: a bounding box in every axial slice, and one for a whole series.

The box is part of the input contract: pixels outside the body cost time and show tables, arms and
blankets. It is computed here, from the pixels alone, for pretraining, scoring and detectors alike.

1. Pixels are averaged to about 4 mm, which removes wires and tubes. Soft tissue, fat and bone are
   what lies above -400 HU.
2. A morphological opening removes what is thinner than about 12 mm: clothing, blankets, the shell
   of the table.
3. Lung is added back: large dark regions whose median is denser than air. Without it, a field of
   view inside the chest would break into pieces.
4. Each slice is split into connected components. The body is the largest component whose middle
   half meets the patient's midline; this leaves out arms beside it and the table below it. If no
   component does (thighs, raised arms above the vertex), the body is every component at least half
   as large as the largest.
5. The box is drawn with a margin of one averaged pixel, because the opening rounds off noses and
   skin folds.

A slice without a body (only air or table) has the box (0, 0, 0, 0). Arms that touch the trunk stay
in the box.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .components import components

Number = TypeVar("Number", np.int32, np.float32)

THRESHOLD_HU = -400
WORK_MM = 4.0
"""In-plane pixel size of the averaged image."""
SMALLEST_CM2 = 6.0
"""Components smaller than this are no body."""
OUTSIDE_HU = -880
"""Mattresses have medians up to -900 HU; lungs lie above -870 HU, except in severe emphysema."""
SMALLEST_LUNG_CM2 = 15.0


def body_boxes(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> NDArray[np.int16]:
    """The body's bounding box in each slice.

    Args:
        hu: `[z, y, x]` Hounsfield units.
        spacing_mm: (z, y, x).

    Returns:
        `[z, 4]` int16: y0, y1, x0, x1 in pixels, half-open; all zero where a slice holds no body.
    """
    step_y, step_x = (max(1, round(WORK_MM / s)) for s in spacing_mm[1:])
    small = _block_mean(hu, step_y, step_x)
    block_cm2 = step_y * spacing_mm[1] * step_x * spacing_mm[2] / 100
    mask = np.pad(small > THRESHOLD_HU, ((0, 0), (2, 2), (2, 2)), mode="edge")
    mask = _opened(mask)[:, 2:-2, 2:-2]
    mask |= _lung(small, mask, SMALLEST_LUNG_CM2 / block_cm2)
    found = components(mask)
    boxes = np.zeros((len(hu), 4), np.int16)
    if not found.count:
        return boxes
    area_cm2: NDArray[np.float64] = found.areas() * np.float64(block_cm2)
    parts = found.boxes()
    midline = _midline(parts, area_cm2)
    for z in range(len(hu)):
        here = np.flatnonzero((parts[:, 0] == z) & (area_cm2 >= SMALLEST_CM2))
        if not len(here):
            continue
        here = here[area_cm2[here] >= 0.25 * area_cm2[here].max()]
        left, right = parts[here, 3], parts[here, 4]
        edge = (right - left) / 4  # a thigh beside the midline may just reach it
        central = here[(left + edge <= midline) & (midline < right - edge)]
        if len(central):
            keep = central[[np.argmax(area_cm2[central])]]
        else:
            keep = here[area_cm2[here] >= 0.5 * area_cm2[here].max()]
        y0, x0 = parts[keep][:, [1, 3]].min(0)
        y1, x1 = parts[keep][:, [2, 4]].max(0)
        boxes[z] = ((y0 - 1) * step_y, (y1 + 1) * step_y, (x0 - 1) * step_x, (x1 + 1) * step_x)
    return boxes.clip(0, np.repeat(hu.shape[1:], 2).astype(np.int16))


def series_box(boxes: NDArray[np.int16]) -> tuple[int, int, int, int]:
    """One crop (y0, y1, x0, x1) for a whole series.

    The union of the slices' boxes without the outermost 2 % on each side; all zero if no slice
    holds a body.
    """
    body = boxes[boxes[:, 1] > 0]
    if not len(body):
        return (0, 0, 0, 0)
    y0, x0 = np.percentile(body[:, [0, 2]], 2, axis=0, method="lower")
    y1, x1 = np.percentile(body[:, [1, 3]], 98, axis=0, method="higher")
    return (int(y0), int(y1), int(x0), int(x1))


def showing(boxes: NDArray[np.int16], slices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the slices that show a body; all of them if none does.

    boxes: `[z, 4]`, of all slices. slices: indices into them.
    """
    found = slices[boxes[slices, 1] > 0]
    return found if len(found) else slices


def shown_boxes(boxes: NDArray[np.int16]) -> NDArray[np.int16]:
    """The part of each slice that belongs to the body, `[z, 4]` like `boxes`.

    It is the union of the slice's own box and those of the two adjacent slices, so that a box that
    is too small in a single slice cuts nothing off.
    """
    sign = np.array([1, -1, 1, -1], np.int16)  # the union is then a minimum
    found = boxes[:, 1:2] > 0
    own = np.where(found, boxes * sign, np.iinfo(np.int16).max)
    beside = np.concatenate([own[:1], own, own[-1:]])
    lowest = np.minimum(own, np.minimum(beside[:-2], beside[2:]))
    return np.where(found, lowest * sign, 0).astype(np.int16)


def _block_mean(hu: NDArray[np.int16], step_y: int, step_x: int) -> NDArray[np.float32]:
    """Means over blocks of step_y x step_x pixels; the last block is padded with the edge."""
    # Whole rows are added, then whole columns: five times as fast as `mean` over both axes.
    rows = _sums(hu.swapaxes(1, 2), step_y, np.int32).swapaxes(1, 2)
    return _sums(rows, step_x, np.float32) / np.float32(step_y * step_x)


def _sums(values: NDArray[Any], step: int, dtype: type[Number]) -> NDArray[Number]:
    """Sums over `step` values along the last axis; the last value stands for those beyond it.

    Nothing is padded: that would copy all of a series.
    """
    total = values[..., ::step].astype(dtype)
    for k in range(1, step):
        part = values[..., k::step]
        total[..., : part.shape[-1]] += part
        if part.shape[-1] < total.shape[-1]:
            total[..., -1] += values[..., -1]
    return total


def _lung(
    small: NDArray[np.float32], tissue: NDArray[np.bool_], smallest: float
) -> NDArray[np.bool_]:
    """Regions without tissue, of at least `smallest` blocks, whose median is denser than air."""
    found = components(~tissue)
    size, outside = found.areas(), found.areas(small < OUTSIDE_HU)
    return found.pixels((size >= smallest) & (outside < size / 2))


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An opening by 3 x 3 pixels; outside of the slices nothing is set."""
    eroded = _of_three(mask, np.logical_and)
    return _of_three(np.pad(eroded, ((0, 0), (2, 2), (2, 2))), np.logical_or)


def _of_three(mask: NDArray[np.bool_], rule: np.ufunc) -> NDArray[np.bool_]:
    """A rule of each pixel and its eight neighbours; one pixel less on each side."""
    rows = rule(rule(mask[:, :-2], mask[:, 1:-1]), mask[:, 2:])
    found: NDArray[np.bool_] = rule(rule(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    return found


def _midline(parts: NDArray[np.int64], area_cm2: NDArray[np.float64]) -> float:
    """Column of the patient's midline, in averaged pixels.

    The area-weighted median of the middles of each slice's largest component.
    """
    middle = (parts[:, 3] + parts[:, 4]) / 2
    largest = np.zeros(parts[:, 0].max() + 1)
    np.maximum.at(largest, parts[:, 0], area_cm2)
    main = area_cm2 == largest[parts[:, 0]]
    order = np.argsort(middle[main])
    weight = area_cm2[main][order].cumsum()
    return float(middle[main][order][np.searchsorted(weight, weight[-1] / 2)])
