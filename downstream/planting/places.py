"""Where lesions fit in a CT volume, kind by kind.

No organ is segmented. One pass at about 3 mm finds where a lesion of each kind fits, by density,
homogeneity and neighbours:

* `nodule`: large air-like regions denser than air and walled by soft tissue: lung. Four of five are
  solid, the rest ground glass.
* `liver`: large homogeneous soft tissue, 0..180 HU, right of the midline, and not alike on both
  sides, as a brain and buttocks are. Masses are darker or brighter than their surroundings.
* `kidney`: compact homogeneous soft tissue behind the middle of the body, off the midline, bedded
  in fat. Masses as in the liver.
* `node`: fat inside the body's wall. Lymph nodes are as dense as the scan's soft tissue.

These are likenesses: muscle, heart or spleen pass for liver or kidney where they meet the rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ubr.weights.body import body_boxes

KINDS = ("nodule", "liver", "kidney", "node")
WORK_MM = 3.0
"""Block size of the pass that looks for places."""
ALIKE = 0.4
"""Share of a core whose mirror image across the midline is a core too, from which it is no liver.

In 102 heads, also with the skull taken off or made soft, it is 0.53 or more; in 24 livers at most
0.25.
"""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Places:
    """Where lesions fit in a volume; `find_places` finds them.

    step: voxels a block. room_mm: per kind `[z, y, x]` blocks, radius of the sphere that fits round
    the middle of the block. donor_mm: the same for any homogeneous soft tissue. soft_hu: its
    median. chest: `[z]` blocks, slices that show lung. blur_px: of the scan, in the slice.
    """

    step: tuple[int, int, int]
    block_mm: Spacing
    room_mm: dict[str, Floats]
    donor_mm: Floats
    soft_hu: float
    chest: Bools
    blur_px: float


def find_places(hu: NDArray[np.int16], spacing_mm: Spacing) -> Places:
    """One pass over a volume `[z, y, x]` of spacing (z, y, x), in blocks of about `WORK_MM`."""
    from scipy import ndimage

    step = tuple(
        max(1, min(round(WORK_MM / s), n)) for s, n in zip(spacing_mm, hu.shape, strict=True)
    )
    block = tuple(s * n for s, n in zip(spacing_mm, step, strict=True))
    small = _block_mean(hu, step)
    in_box = np.zeros(small.shape, bool)
    for z, (y0, y1, x0, x1) in enumerate(body_boxes(hu, spacing_mm)[:: step[0]][: len(small)]):
        in_box[z, y0 // step[1] : y1 // step[1], x0 // step[2] : x1 // step[2]] = True

    lung = _lung(small, in_box, float(np.prod(block)) / 1000)
    body = ndimage.binary_opening((small > -400) & in_box, np.ones((1, 3, 3), bool)) | lung
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    mean, mean_of_squares = (
        ndimage.uniform_filter(small, 3),
        ndimage.uniform_filter(small * small, 3),
    )
    rough = np.sqrt(np.maximum(mean_of_squares - mean * mean, 0))
    trunk = body & ~_head(small, body, block)[:, None, None]
    soft = trunk & (small > 0) & (small < 180) & (rough < 15)
    soft_mm = _room(soft, block)
    fat = body & (small > -140) & (small < -60)
    chest = np.asarray(lung.sum((1, 2)) > 0.08 * body.sum((1, 2)))
    # After contrast medium kidneys are brighter and less even than other organs; what borders on
    # drunk contrast is bowel.
    drunk = ndimage.binary_dilation(small > 300, np.ones((1, 3, 3), bool), iterations=2)
    kidney = _kidney(trunk & (small > 0) & (small < 260) & ~drunk, body, fat, block)
    liver = _liver(soft_mm, body, block)
    # the liver does not lie high in the chest; where lungs still show, the spleen looks like a
    # kidney
    if chest.any():
        liver[: max(0, int(np.flatnonzero(chest)[-1] - 120 / block[0]))] = 0
        kidney[: int(np.flatnonzero(lung.any((1, 2)))[-1]) + 1] = 0
    return Places(
        (step[0], step[1], step[2]),
        (block[0], block[1], block[2]),
        {
            "nodule": _room(lung, block),
            "liver": liver,
            "kidney": kidney,
            "node": _room(fat & _within_wall(body, fat, block), block),
        },
        soft_mm,
        float(np.median(small[soft])) if soft.any() else 50.0,
        chest,
        _blur_px(hu),
    )


def _block_mean(hu: NDArray[np.int16], step: tuple[int, ...]) -> Floats:
    """Means of whole blocks; what is left over at the far ends is cut off."""
    z, y, x = (n // s for n, s in zip(hu.shape, step, strict=True))
    whole = hu[: z * step[0], : y * step[1], : x * step[2]].reshape(
        z, step[0], y, step[1], x, step[2]
    )
    return np.asarray(whole.mean((1, 3, 5), dtype=np.float32))


def _room(mask: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Distance (mm) from each block of the mask to the mask's edge; the volume's ends are edges
    too.
    """
    from scipy import ndimage

    room = np.zeros(mask.shape, np.float32)
    for where in ndimage.find_objects(mask.astype(np.int8)):  # one box, or none; beyond it is 0
        inside = np.pad(mask[where], 1)
        distance = ndimage.distance_transform_edt(inside, sampling=block_mm)[1:-1, 1:-1, 1:-1]
        room[where] = (distance - 0.5 * block_mm[1]).clip(0)
    return room


def _lung(small: Floats, in_box: Bools, block_cm3: float) -> Bools:
    """Air-like regions of at least 100 cm3 that are denser than air in the median and walled by
    tissue, not by air as foam and gaps are.

    What tissue encloses in a slice is judged apart from what lies open: a narrow field of view
    opens the lungs, arms touch the trunk.
    """
    from scipy import ndimage

    dark = ndimage.binary_opening(
        (small > -960) & (small < -600) & in_box, np.ones((1, 2, 2), bool)
    )
    closed = np.stack([ndimage.binary_fill_holes(plane) for plane in (small > -400) & in_box])
    lung = np.zeros_like(dark)
    for part in (dark & closed, dark & ~closed):
        labels, count = ndimage.label(part)
        size = np.bincount(labels.ravel(), minlength=count + 1) * block_cm3
        for i in np.flatnonzero(size[1:] >= 100) + 1:
            region = labels == i
            wall = small[ndimage.binary_dilation(region, iterations=2) & ~region]
            if (
                -900 < np.median(small[region]) < -650
                and (wall > -300).mean() > 1 / 3
                and (wall < -960).mean() < 0.04
            ):
                lung |= region
    return np.asarray(lung)


def _head(small: Floats, body: Bools, block_mm: tuple[float, ...]) -> Bools:
    """`[z]` slices in which bone encloses most of the body, and 60 mm around them.

    The brain is not among the organs that are meant here.
    """
    from scipy import ndimage

    inside_bone = np.array(
        [ndimage.binary_fill_holes(plane).sum() for plane in (small > 250) & body]
    )
    skull = inside_bone > 0.6 * np.maximum(body.sum((1, 2)), 1)
    return (
        np.asarray(ndimage.binary_dilation(skull, iterations=max(1, round(60 / block_mm[0]))))
        if skull.any()
        else skull
    )


def _within_wall(body: Bools, fat: Bools, block_mm: tuple[float, ...]) -> Bools:
    """What the trunk's muscles and bones enclose in each slice; skin is left off first, or it would
    enclose everything.
    """
    from scipy import ndimage

    disk = _disk(12, block_mm)
    wall = _erode(body, _disk(9, block_mm)) & ~fat
    wall = ndimage.binary_opening(wall, np.ones((1, 2, 2), bool))
    closed = ndimage.binary_closing(np.pad(wall, ((0, 0), (8, 8), (8, 8))), disk)[:, 8:-8, 8:-8]
    return _erode(np.stack([ndimage.binary_fill_holes(plane) for plane in closed]), disk)


def _erode(mask: Bools, element: Bools) -> Bools:
    """Erosion; the image's border counts as more of the same, since a narrow field of view cuts the
    body.
    """
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask, element, border_value=1))


def _disk(radius_mm: float, block_mm: tuple[float, ...]) -> Bools:
    """A disk in the slice, `[1, y, x]`."""
    n = [int(radius_mm // s) for s in block_mm[1:]]
    y, x = np.mgrid[-n[0] : n[0] + 1, -n[1] : n[1] + 1]
    return np.asarray((y * block_mm[1]) ** 2 + (x * block_mm[2]) ** 2 <= radius_mm**2)[None]


def _liver(soft_mm: Floats, body: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Room (mm) in cores of soft tissue on the patient's right.

    A core lies 9 mm below the surface and has at least 120 cm3. What has its like on the left is no
    liver: a brain that no skull shows to be one, or muscle.
    """
    from scipy import ndimage

    liver = np.zeros_like(soft_mm)
    labels, count = ndimage.label(soft_mm >= 9)
    for i, where in enumerate(ndimage.find_objects(labels, count), 1):
        core = labels[where] == i
        if core.sum() * np.prod(block_mm) >= 120e3:
            left, right = _across(body, where[0])
            if _alike(core, labels[where[0], where[1]] > 0, where[2].start, left + right - 1):
                continue
            core &= np.arange(where[2].start, where[2].stop) < (left + right) / 2
            liver[where][core] = soft_mm[where][core]
    return liver


def _alike(core: Bools, all_cores: Bools, start: int, ends: int) -> bool:
    """Whether the mirror image of a core, `[z, y, x]`, which begins at column `start`, mostly meets
    cores of the same rows. ends: column + column of its mirror image.
    """
    z, y, x = np.nonzero(core)
    mirrored = ends - (x + start)
    inside = (mirrored >= 0) & (mirrored < all_cores.shape[2])
    met = all_cores[z[inside], y[inside], mirrored[inside]]
    return bool(met.sum() > ALIKE * len(x))


def _kidney(tissue: Bools, body: Bools, fat: Bools, block_mm: tuple[float, ...]) -> Floats:
    """Room (mm) in what looks like a kidney in its slices: compact, 10..45 cm2, beside the spine,
    behind the middle, bedded in fat, and has at least 15 cm3 in all.

    The colon, which also lies in fat, is slimmer and further from the midline.
    """
    from scipy import ndimage

    kidney = np.zeros_like(tissue)
    # An opening in the slice parts the kidney from the muscle that it touches.
    opened = ndimage.binary_opening(tissue, _disk(7, block_mm))
    labels, count = ndimage.label(
        opened, np.pad(np.ones((1, 3, 3), bool), ((1, 1), (0, 0), (0, 0)))
    )
    for i, where in enumerate(ndimage.find_objects(labels, count), 1):
        region = labels[where] == i
        height, width = (region.shape[axis] * block_mm[axis] for axis in (1, 2))
        area = region.sum() * block_mm[1] * block_mm[2]
        if (
            not 1000 <= area <= 4500
            or area < 0.55 * height * width
            or max(height, width) > 2 * min(height, width)
        ):
            continue
        left, right = _across(body, where[0])
        rows = np.flatnonzero(body[where[0]].any((0, 2)))
        side = (where[2].start + where[2].stop - left - right) / 2 / (right - left)
        back = ((where[1].start + where[1].stop) / 2 - rows[0]) / (rows[-1] + 1 - rows[0])
        around = (where[0], *(slice(max(0, s.start - 3), s.stop + 3) for s in where[1:]))
        shell = (
            ndimage.binary_dilation(labels[around] == i, np.ones((1, 3, 3), bool), iterations=3)
            & ~tissue[around]
        )
        if (
            0.13 < abs(side) < 0.28
            and 0.42 < back < 0.8
            and fat[around][shell].mean() > 0.6
            and shell.sum() > 2.4 * region.sum() ** 0.5
        ):
            kidney[where] |= region
    labels, count = ndimage.label(kidney)
    large = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(block_mm) >= 15e3
    large[0] = False
    return _room(large[labels], block_mm)


def _across(body: Bools, slices: slice) -> tuple[int, int]:
    """First column of the body in these slices, and the one after its last."""
    columns = np.flatnonzero(body[slices].any((0, 1)))
    return int(columns[0]), int(columns[-1]) + 1


def _blur_px(hu: NDArray[np.int16]) -> float:
    """Standard deviation (pixels) of the scan's in-plane blur, from its steepest edges between air
    and tissue.

    A step of 1000 HU blurred by sigma is at most 1000 / (sigma * sqrt(2 pi)) HU a pixel steep. The
    part that pixels and central differences have in it is taken off: the lesion's partial volume
    brings its own.
    """
    slices = hu[:: max(1, len(hu) // 16)].astype(np.float32)
    if min(slices.shape[1:]) < 3:
        return 0.5
    steep = np.hypot(*np.gradient(slices, axis=(1, 2)))[(slices > -650) & (slices < -350)]
    if len(steep) < 100:
        return 0.5
    sigma = 1000 / (np.sqrt(2 * np.pi) * float(np.quantile(steep, 0.9)))
    return float(np.clip(np.sqrt(max(sigma**2 - 0.7**2, 0)), 0.4, 2.0))
